"""The features of who buys next do not leak: changing the future changes no feature.

The tests delete, change, move and double what became known at or after a midnight, of all shoppers.
Every row of `purchase_examples` up to that midnight must stay the same, bit for bit, except for the
label. The SQL that dbt compiled runs in memory, on tables that replace the staging views.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import pytest
from conftest import Place

from ml.jobs.audit import IMPLAUSIBLE_AUC, separation

pytestmark = pytest.mark.slow

START = datetime(2024, 1, 1)
DAYS, SHOPPERS, ROBOT = 60, 30, 7
HORIZONS = (1, 7)  # in days
TYPES = ("view", "search", "cart", "remove", "checkout", "purchase")

# `midnight` is the cutoff under attack.
PAST = "from landed.events where known_at < getvariable('midnight')"
FUTURE = "from landed.events where known_at >= getvariable('midnight')"

WAYS = {
    "deleted": PAST,
    # Each event becomes another shopper's event of another type, and comes in later.
    "changed": f"""
        {PAST} union all by name
        select * replace (
            (user_id + 1) % {SHOPPERS} as user_id,
            case event_type when 'purchase' then 'view' when 'view' then 'checkout'
                else 'purchase' end as event_type,
            known_at + interval 5 hours as known_at,
            event_value * 3 as event_value,
            session_id || '-other' as session_id
        ) {FUTURE}
    """,
    "doubled": f"""
        from landed.events union all select * replace (event_id || 'b' as event_id) {FUTURE}
    """,
    # In the second of the cutoff: the first that is not the past.
    "moved to the midnight": f"""
        {PAST} union all by name
        select * replace (
            getvariable('midnight') as occurred_at, getvariable('midnight') as known_at
        ) {FUTURE}
    """,
}

# The number of a cutoff and the period count back from the newest event, so they are no features.
NO_FEATURES = "cutoff, period, label"


def made_up_events() -> list[tuple[Any, ...]]:
    """Visits with events in the first and the last second of a day, and late ones; and a robot."""
    rng = np.random.default_rng(0)
    events: list[tuple[Any, ...]] = []
    for user in range(SHOPPERS):
        pace = rng.uniform(0.1, 0.6)
        for day in range(int(rng.integers(0, 20)), DAYS):
            if rng.random() > pace:
                continue
            second = int(rng.choice([0, 86_399, *rng.integers(0, 86_400, 6)]))
            at = START + timedelta(days=day, seconds=second)
            for _ in range(int(rng.integers(1, 6))):
                late = timedelta(hours=int(rng.integers(1, 47))) if rng.random() < 0.1 else None
                kind = str(rng.choice(TYPES, p=(0.4, 0.1, 0.2, 0.05, 0.1, 0.15)))
                product = int(rng.integers(0, 9)) if kind != "search" else None
                value = float(rng.integers(1, 999)) / 100
                row = (user, at, at + (late or timedelta()), kind, product, f"{user}-{day}", value)
                events.append((f"e{len(events)}", *row))
                at += timedelta(seconds=int(rng.integers(0, 900)))
    robot_at = START + timedelta(days=30, hours=9)
    robot = [(ROBOT, robot_at, robot_at, "view", 1, "robot", 1.0) for _ in range(1001)]
    end = START + timedelta(days=DAYS)
    numbered = [(f"r{number}", *row) for number, row in enumerate(robot)]
    return [event for event in (*events, *numbered) if event[3] < end]


class Shop:
    """The models from staging to `purchase_examples`, compiled by dbt, on an in-memory database."""

    def __init__(self, project: Place) -> None:
        models = project.compiled("purchase_examples")
        self.models = {name: sql for name, sql in models.items() if not name.startswith("stg_")}
        self.con = duckdb.connect()
        self.con.execute("attach ':memory:' as restock; use restock; set threads = 2")
        self.con.execute("create schema landed; create schema before")
        self.con.execute("create type product_id_type as bigint")
        self.con.execute(
            "create table landed.events (event_id varchar, user_id bigint, occurred_at timestamp, "
            "known_at timestamp, event_type varchar, product_id bigint, session_id varchar, "
            "event_value double)"
        )
        self.con.executemany(
            "insert into landed.events values (?, ?, ?, ?, ?, ?, ?, ?)", made_up_events()
        )

    def build(
        self, events: str = "from landed.events", *, orders: bool, orders_too: bool = False
    ) -> None:
        """Build all models from events; with `orders`, the purchases are orders instead."""
        self.con.execute(f"create or replace table logged as {events}")
        self.con.execute(
            "create or replace table stg_order_log__events as from logged "
            f"where event_type <> 'purchase' or not {orders}"
        )
        self.con.execute(
            f"""
            create or replace table stg_order_log__orders as
            select
                event_id as order_id, user_id,
                row_number() over (partition by user_id order by known_at, event_id)
                    as order_number,
                0 as order_dow, 0 as order_hour, 0 as days_since_prior_order, false as is_open,
                known_at as ordered_at
            from logged
            where event_type = 'purchase' and {orders or orders_too}
            """
        )
        self.con.execute(
            """
            create or replace table stg_order_log__order_items as
            select
                order_id, unnest(range(1 + length(order_id) % 3)) as product_id,
                1 as cart_position, cast(length(order_id) as decimal(18, 4)) as sales_value
            from stg_order_log__orders
            """
        )
        self.con.execute(
            "create or replace table stg_order_log__products as select 1::bigint as product_id, "
            "'Milk' as product_name, 'milk' as aisle, 'food' as department"
        )
        for name, sql in self.models.items():
            self.con.execute(f"create or replace table main.{name} as {sql}")

    def keep(self) -> None:
        self.con.execute(
            "create or replace table before.purchase_examples as from purchase_examples"
        )

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.con.execute(sql).fetchall()

    def count(self, sql: str) -> int:
        ((count,),) = self.con.execute(f"select count(*) from ({sql})").fetchall()
        return count

    def compared(self, where: str) -> tuple[int, int]:
        """Count the moments that both builds have, and those of them that differ."""
        old, new = (
            f"""
            select {times} as times, * exclude ({NO_FEATURES})
            from {schema}.purchase_examples
            semi join {other}.purchase_examples using (horizon_days, cutoff_at, user_id)
            where {where}
            """
            for times, schema, other in ((1, "before", "main"), (-1, "main", "before"))
        )
        differ = f"""
            select user_id from (
                select * exclude (times), sum(times) as total
                from ({old} union all {new}) group by all
            )
            where total <> 0
        """
        return self.count(old), self.count(differ)

    def midnights(self) -> list[datetime]:
        return [
            at
            for (at,) in self.con.execute(
                "select distinct cutoff_at from before.purchase_examples order by all desc"
            ).fetchall()
        ]


def attack(
    shop: Shop, midnight: datetime, ways: tuple[str, ...] = tuple(WAYS), **build: bool
) -> None:
    """Change what became known at or after a midnight; no feature up to it may change.

    Features of later midnights must change; otherwise the attack had no effect.
    """
    shop.con.execute("set variable midnight = ?::timestamp", [midnight])
    for way in ways:
        shop.build(WAYS[way], **build)
        kept, changed = shop.compared("cutoff_at <= getvariable('midnight')")
        assert kept > 0, way
        assert changed == 0, f"features changed when future events were {way}"
        # Without its future, a midnight is now: serving sees what training saw.
        assert way != "deleted" or shop.compared("cutoff_at = getvariable('midnight')")[0] > 0
        later, changed = shop.compared("cutoff_at > getvariable('midnight')")
        assert later == 0 or changed > 0, way


@pytest.fixture(scope="module")
def shop(project: Callable[[str], Place]) -> Iterator[Shop]:
    shop = Shop(project("order_log"))
    yield shop
    shop.con.close()


@pytest.mark.parametrize("orders", [False, True])
def test_purchase_features_do_not_leak(shop: Shop, orders: bool) -> None:
    shop.build(orders=orders)
    shop.keep()
    midnights = shop.midnights()
    for midnight in (midnights[0], midnights[1], midnights[len(midnights) // 2], midnights[-3]):
        attack(shop, midnight, orders=orders)


def test_other_shoppers_change_no_purchase_feature(shop: Shop) -> None:
    """Others come and go, also in the past: there is nothing in the features but the shopper's."""
    shop.build(orders=False)
    shop.keep()
    shop.build("from landed.events where user_id % 2 = 0", orders=False)
    kept, changed = shop.compared("true")
    assert kept > 200
    assert changed == 0


def test_a_robot_changes_no_feature_of_others(shop: Shop) -> None:
    shop.build(orders=False)
    shop.keep()
    shop.build(
        f"""
        from landed.events union all by name
        select 'x' || range as event_id, {SHOPPERS} as user_id, 'view' as event_type,
            timestamp '{START}' + to_seconds(864000 + range / 2) as occurred_at,
            occurred_at as known_at, range % 9 as product_id, 'x' as session_id, 1 as event_value
        from range(100000)
        """,
        orders=False,
    )
    assert shop.count(f"from moments where user_id = {SHOPPERS} and is_robot") > 0
    kept, changed = shop.compared("true")
    assert kept == shop.count("from before.purchase_examples")
    assert changed == 0


def test_a_clock_eight_hours_ahead_changes_only_hours(shop: Shop) -> None:
    """As for a log in UTC of a shop at -8 hours, whose shoppers come before 16:00."""
    early = "from landed.events where hour(occurred_at) < 16 and hour(known_at) < 16"
    shop.build(early, orders=False)
    shop.keep()
    later = ", ".join(f"{at} + interval 8 hours as {at}" for at in ("occurred_at", "known_at"))
    shop.build(f"select * replace ({later}) {early}", orders=False)
    columns = [name for name, *_ in shop.rows("describe purchase_examples")]
    (differ,) = shop.rows(
        f"""
        select {", ".join(f"count_if(old.{c} is distinct from new.{c})" for c in columns)}
        from before.purchase_examples as old
        full join purchase_examples as new using (horizon_days, cutoff_at, user_id)
        """
    )
    assert {name for name, count in zip(columns, differ, strict=True) if count} == {
        f"hours_since_{what}" for what in ("purchase", "event", "view", "cart", "checkout")
    }


def test_orders_mapped_to_checkouts_leak_nothing_unless_they_come_early(shop: Shop) -> None:
    """A wrong row in event_types.csv makes checkouts of the orders.

    At the time of its order, a checkout is after the cutoff. If the orders have later times, as of
    delivery, it is before, and the single-column AUC of the audit shows it.
    """
    for before, is_noticed in (("0 hours", False), ("1 day", True)):
        shop.build(
            f"""
            from landed.events where event_type <> 'checkout' union all by name
            select * replace (
                event_id || 'c' as event_id, 'checkout' as event_type,
                known_at - interval {before} as occurred_at,
                known_at - interval {before} as known_at
            ) from landed.events where event_type = 'purchase'
            """,
            orders=True,
        )
        rows = shop.con.execute(
            "select * from purchase_examples where horizon_days = 1 and period is not null "
            "order by user_id, cutoff"
        ).fetchnumpy()
        offsets = np.append(np.unique(rows["user_id"], return_index=True)[1], len(rows["label"]))
        checkouts, label = rows["checkout_1_day_count"], rows["label"].astype(np.int8)
        auc = separation(checkouts.astype(np.float32), label, offsets)
        assert (auc > IMPLAUSIBLE_AUC) == is_noticed, before


def test_purchase_features_are_the_same_in_any_order_of_the_rows(shop: Shop) -> None:
    shop.build(orders=False)
    shop.keep()
    shop.build("from landed.events order by hash(event_id)", orders=False)
    kept, changed = shop.compared("true")
    assert kept == shop.count("from before.purchase_examples")
    assert changed == 0


@pytest.mark.parametrize("orders", [False, True])
def test_purchase_labels_are_the_purchases_of_the_window(shop: Shop, orders: bool) -> None:
    """Worked out for each row, without the models: from midnight on, for so many whole hours."""
    shop.build(orders=orders)
    # An order happens when it is known.
    at = "known_at" if orders else "occurred_at"
    wrong = f"""
        from purchase_examples
        where label is distinct from case when cutoff > 0 then (
            select count(*) > 0 from landed.events
            where events.user_id = purchase_examples.user_id
                and event_type = 'purchase'
                and floor(epoch({at} - cutoff_at) / 3600) between 0 and 24 * horizon_days - 1
        ) end
    """
    assert shop.count(wrong) == 0
    assert shop.rows(
        "select distinct horizon_days, label from purchase_examples order by all nulls last"
    ) == [(days, label) for days in HORIZONS for label in (False, True, None)]


def test_purchases_are_counted_once(shop: Shop) -> None:
    once = shop.count("from landed.events where event_type = 'purchase'")
    # The last log has no orders of its own: the intake has made them from its purchases.
    for orders, orders_too in ((False, False), (True, False), (False, True)):
        shop.build(orders=orders, orders_too=orders_too)
        assert shop.rows("select sum(purchase_count) from user_days") == [(once,)]
        assert shop.count("from fct_events where event_type <> 'purchase'") == shop.count(
            "from landed.events where event_type <> 'purchase'"
        )


@pytest.mark.parametrize("days", HORIZONS)
def test_periods_do_not_overlap(shop: Shop, days: int) -> None:
    shop.build(orders=False)
    periods = shop.rows(
        f"""
        select period, min(cutoff_at), max(window_end_at), count(distinct cutoff_at)
        from purchase_examples where cutoff > 0 and horizon_days = {days}
        group by period order by max(cutoff_at)
        """
    )
    assert [period for period, *_ in periods] == ["train", "validation", "test"]
    for (_, _, end, _), (_, start, *_) in pairwise(periods):
        assert end <= start
    # The log covers 58 days after the first, or 8 weeks: a fifth and a tenth, but at least one.
    counts = {period: count for period, _, _, count in periods}
    assert counts == (
        {"test": 11, "validation": 5, "train": 42}
        if days == 1
        else {"test": 1, "validation": 1, "train": 6}
    )


def test_a_window_that_was_not_seen_to_its_end_has_no_label(shop: Shop) -> None:
    """The log ends at noon; and then in the last second before, and at, a midnight."""
    cut = START + timedelta(days=50)
    for end in (timedelta(hours=12), timedelta(seconds=-1), timedelta()):
        shop.build(
            f"""
            from landed.events where known_at < timestamp '{cut}' - interval 1 day
            union all by name
            select 'last' as event_id, 0 as user_id, 'view' as event_type,
                timestamp '{cut + end}' as occurred_at, timestamp '{cut + end}' as known_at
            """,
            orders=False,
        )
        whole_day = cut if end >= timedelta() else cut - timedelta(days=1)
        newest = "select max(window_end_at) from purchase_examples where cutoff > 0"
        assert shop.rows(f"{newest} group by horizon_days") == [(whole_day,)] * len(HORIZONS)
        now = cut + timedelta(days=1 if end >= timedelta() else 0)
        assert shop.rows("select distinct cutoff_at from moments where cutoff = 0") == [(now,)]


def test_robots_are_marked_from_the_next_midnight_on(shop: Shop) -> None:
    shop.build(orders=False)
    assert shop.rows(
        "select user_id, min(cutoff_at) from moments where is_robot group by user_id"
    ) == [(ROBOT, START + timedelta(days=31))]
    assert shop.count(f"from moments where user_id = {ROBOT} and not is_robot") > 0


def test_a_source_without_dates_has_no_moments(published: Place) -> None:
    for table in (
        *("fct_events", "user_days", "purchase_windows", "moments", "feat_moments"),
        "purchase_examples",
    ):
        assert published.query(f"select count(*) from {table}") == [(0,)], table
