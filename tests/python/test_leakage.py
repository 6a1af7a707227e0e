"""Features do not leak: changing the future changes no feature.

The tests delete, replace, move and add orders at or after a cutoff. Every feature row of that
cutoff must stay the same, bit for bit, and the labels must change.

The tests change the tables that replace the staging views, because the intake rejects files that
have an order without lines. The SQL that dbt compiled runs on these tables in memory.
`test_dbt_builds_the_features_that_these_tests_check` checks that it matches what dbt builds.
"""

import csv
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pytest
from conftest import ROOT, SHARED_INSTACART, Place, needs_shared_data
from hypothesis import given
from hypothesis import settings as testing
from hypothesis import strategies as st

from ml import sources
from ml.jobs.evaluate import evaluate
from ml.jobs.promotion import promote
from ml.jobs.train import train
from ml.modelling import metrics
from ml.progress import silent
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse import connection, examples
from ml.warehouse.dbt_plugin import define_landed
from ml.warehouse.feature_list import features
from ml.warehouse.sampling import HELD_CUTOFFS

pytestmark = pytest.mark.slow

# `place` is the distance of an order from its shopper's target: 0 is the target, negative is the
# past. It is computed from the orders alone, so that a wrong `targets` model is detected.
PLACED = """
    create or replace view placed as
    select
        *,
        order_number - 1 + getvariable('cutoff')
            - count(*) filter (where not is_open) over (partition by user_id) as place
    from landed.orders
"""
PAST_ITEMS = "from landed.items semi join (from placed where place < 0) using (order_id)"

DELETED = PAST_ITEMS

# Each basket becomes all other products that its shopper ever bought, so every label is inverted.
INVERTED = f"""
    {PAST_ITEMS}
    union all by name
    select order_id, product_id, 1 as cart_position
    from (from placed where place >= 0)
    inner join (
        select distinct user_id, product_id
        from landed.items inner join landed.orders using (order_id)
    ) using (user_id)
    anti join landed.items using (order_id, product_id)
"""

# Each line gets another product of the catalogue.
RANDOM = f"""
    {PAST_ITEMS}
    union all by name
    select distinct on (order_id, product_id) order_id, catalogue.product_id, cart_position
    from (from landed.items semi join (from placed where place >= 0) using (order_id)) as items
    inner join catalogue as old on items.product_id = old.product_id
    inner join catalogue
        on catalogue.place = (old.place + 1 + hash(order_id, old.place) % (old.n - 1)) % old.n
"""
CATALOGUE = """
    create or replace view catalogue as
    select product_id, row_number() over (order by product_id) - 1 as place, count(*) over () as n
    from (select distinct product_id from landed.items)
"""

# Orders after the target move to other times. The target keeps its time, which is known context.
RESCHEDULED = """
    select
        * exclude (place) replace (
            case when place > 0 then (order_dow + 3) % 7 else order_dow end as order_dow,
            case when place > 0 then 23 - order_hour else order_hour end as order_hour,
            case when place > 0 then 2 * days_since_prior_order + 11 else days_since_prior_order end
                as days_since_prior_order
        )
    from placed
"""

# From a day on, every promotion stops, and every product that was not on offer is.
OTHER_PROMOTIONS = """
    select * from landed.promotions where starts_on <= date '{day}'
    union all by name
    select distinct product_id, 'mailer' as kind, date '{day}' + 1 as starts_on,
        date '2100-01-01' as ends_on, 1 as promotion_count
    from landed.items
"""

# Every shopper gets one more order, with every product that they ever bought: the open order is
# closed, and shoppers without one get a new order on another weekday.
NEXT_ORDER = """
    create or replace table next_orders as
    select
        'next-' || user_id as made_up_id,
        case when is_open then order_id end as open_id,
        user_id,
        case when is_open then order_number else order_number + 1 end as order_number,
        case when is_open then order_dow else (order_dow + 3) % 7 end as order_dow,
        order_hour,
        case when is_open then days_since_prior_order else 23 end as days_since_prior_order,
        ordered_at + to_days(23) as ordered_at
    from landed.orders
    where order_number = (
        select max(order_number) from landed.orders as own where own.user_id = orders.user_id
    )
"""

# Pairs of orders whose numbers contradict their times.
RUNS_BACKWARDS = """
    from landed.orders as one inner join landed.orders as other using (user_id)
    where one.order_number < other.order_number and one.ordered_at > other.ordered_at
"""


class World:
    """The models from staging to `examples` and `pair_sequences`, compiled by dbt, in memory."""

    def __init__(self, source: str, project: Place, folder: Path) -> None:
        self.settings = Place(folder).settings(source=source, raw_dir=folder / "raw")
        self.models = project.compiled("examples", "pair_sequences")
        self.staging, self.features = (
            [name for name in self.models if [*(ROOT / "models" / layer).rglob(f"{name}.sql")]]
            for layer in ("staging", "features")
        )
        self.con = duckdb.connect()
        self.con.execute("attach ':memory:' as restock; use restock; set threads = 2")
        self.con.execute("create schema landed; create schema before")

    def _staged(self, entity: str) -> str:
        (name,) = (name for name in self.staging if name.endswith(f"__{entity}"))
        return name

    def _build(self, models: dict[str, str]) -> None:
        for name, sql in models.items():
            self.con.execute(f"create or replace table main.{name} as {sql}")

    def count(self, sql: str) -> int:
        ((count,),) = self.con.execute(f"select count(*) from ({sql})").fetchall()
        return count

    def land(self, raw: Path, only: str = "true") -> None:
        """Build from raw files, for shoppers that meet `only`, and keep a copy of the features."""
        sources.land(self.settings.source, raw, self.settings.landing)
        define_landed(self.con, self.settings.landing)
        self._build({name: self.models[name] for name in self.staging})
        self.con.execute(f"create or replace table landed.orders as from {self._staged('orders')}")
        self.con.execute(f"delete from landed.orders where not ({only})")
        self.con.execute(
            f"create or replace table landed.items as from {self._staged('order_items')} "
            "semi join landed.orders using (order_id)"
        )
        self.con.execute(
            f"create or replace table landed.promotions as from {self._staged('promotions')}"
        )
        self.con.execute("set variable cutoff = 0")
        self.con.execute(PLACED)
        self.con.execute(CATALOGUE)
        self.rebuild()
        for name in (*self.features, "targets"):
            self.con.execute(f"create or replace table before.{name} as from main.{name}")

    @property
    def cutoffs(self) -> range:
        ((oldest,),) = self.con.execute("select max(cutoff) from before.examples").fetchall()
        return range(oldest + 1)

    def rebuild(
        self,
        orders: str = "from landed.orders",
        items: str = "from landed.items",
        promotions: str = "from landed.promotions",
    ) -> None:
        """Build every model above staging from other orders, items and promotions."""
        stand_ins = {
            self._staged("orders"): orders,
            self._staged("order_items"): items,
            self._staged("promotions"): promotions,
        }
        rest = {name: sql for name, sql in self.models.items() if name not in self.staging}
        self._build(stand_ins | rest)

    def changed(self, table: str, where: str, later: int = 0) -> int:
        """Count rows that occur more or less often than before, comparing all but the label.

        `later` is the number of cutoffs by which each order has moved since.
        """
        label = "label, " if table == "examples" else ""
        # The source of the context (open order or past order) is not a feature.
        source = "context_source, " if table == "examples" and later else ""
        columns = f"* exclude ({label}{source}cutoff)"
        return self.count(
            f"""
            select * exclude (times) from (
                select 1 as times, cutoff, {columns} from before.{table}
                union all
                select -1 as times, cutoff - {later} as cutoff, {columns} from main.{table}
            )
            where {where}
            group by all
            having sum(times) <> 0
            """
        )

    def labels(self, cutoff: int) -> dict[tuple[bool, bool], int]:
        """Count the pairs of a cutoff by their labels before and after the change."""
        return {
            (old, new): count
            for old, new, count in self.con.execute(
                """
                select old.label, new.label, count(*)
                from before.examples as old
                inner join examples as new using (cutoff, user_id, product_id)
                where cutoff = ?
                group by all
                """,
                [cutoff],
            ).fetchall()
        }


# The changes made to items and orders at or after the cutoff, by name.
WAYS: dict[str, dict[str, str]] = {
    "deleted": {"items": DELETED},
    "inverted": {"items": INVERTED},
    "randomized": {"items": RANDOM, "orders": RESCHEDULED},
}


def attack(world: World, cutoff: int, ways: Iterable[str] = WAYS) -> None:
    """Change the orders at or after a cutoff and check that no feature up to it changes.

    Labels of the cutoff and features of the next one must change; otherwise the attack had no
    effect.
    """
    world.con.execute(f"set variable cutoff = {cutoff}")
    for way in ways:
        world.rebuild(**WAYS[way])
        for table in world.features:
            assert world.changed(table, f"cutoff >= {cutoff}") == 0, (
                f"{table} changed when future orders were {way}"
            )
        if cutoff > 0:
            labels = world.labels(cutoff)
            assert (True, False) in labels
            assert way != "deleted" or not any(new for _, new in labels)
            assert way != "inverted" or all(old != new for old, new in labels)
            assert world.changed("feat_user_products", f"cutoff = {cutoff - 1}") > 0, way


def let_the_next_order_come(world: World) -> None:
    """Give every shopper one more order, which moves earlier orders one cutoff back."""
    world.con.execute("set variable cutoff = 0")
    world.con.execute(NEXT_ORDER)
    number = "cast(hash(made_up_id) >> 2 as bigint)"
    ((kind,),) = world.con.execute("select typeof(order_id) from landed.orders limit 1").fetchall()
    order_id = f"coalesce(open_id, {number if kind == 'BIGINT' else 'made_up_id'})"
    world.rebuild(
        orders=f"""
            from landed.orders where not is_open
            union all by name
            select {order_id} as order_id, false as is_open, * exclude (made_up_id, open_id)
            from next_orders
        """,
        items=f"""
            from landed.items
            union all by name
            select distinct {order_id} as order_id, product_id, 1 as cart_position
            from next_orders
            inner join landed.orders using (user_id)
            inner join landed.items on orders.order_id = items.order_id
        """,
    )


def wrong_labels(world: World) -> int:
    """Count labels that disagree with the products of the target order, at every cutoff."""
    world.con.execute("set variable cutoff = 0")
    return world.count(
        """
        from before.examples
        left join (
            select -place as cutoff, user_id, product_id, true as is_bought
            from placed inner join landed.items using (order_id)
        ) using (cutoff, user_id, product_id)
        where cutoff > 0 and label <> coalesce(is_bought, false)
        """
    )


# ---------------------------------------------------------------------------------------------
# Generated order histories.


@dataclass(frozen=True)
class Order:
    """The hours since the previous order, and the products, which may repeat."""

    gap_hours: int
    products: list[int]


@dataclass(frozen=True)
class Shopper:
    orders: list[Order]
    last_is_open: bool


orders = st.builds(
    Order,
    # 0 gives two orders the same time.
    gap_hours=st.sampled_from([0, 0, 5, 24, 7 * 24, 40 * 24]),
    products=st.lists(st.integers(0, 6), min_size=1, max_size=5),
)
shoppers = st.builds(
    Shopper, orders=st.lists(orders, min_size=1, max_size=8), last_is_open=st.booleans()
)
# This shopper guarantees a label to change at cutoffs 1 to 4.
FAITHFUL = Shopper([Order(24, [1]), *[Order(72, [0])] * 6], last_is_open=False)
TYPICAL = [FAITHFUL, Shopper([Order(24, [0, 1, 2]), Order(0, [1]), *[Order(48, [1, 3])] * 4], True)]
histories = st.lists(shoppers, max_size=5).map(lambda drawn: [FAITHFUL, *drawn])
small = testing(
    max_examples=10,
    derandomize=True,
    deadline=None,
)


def write_order_log(folder: Path, history: list[Shopper], *, text_ids: bool = False) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lines = []
    for user, shopper in enumerate(history):
        time = datetime(2024, 1, 1, 9)
        for number, order in enumerate(shopper.orders):
            time += timedelta(hours=order.gap_hours)
            # Ids do not ascend with time, and they break ties between orders at the same time.
            order_id = user * 100 + number * 7 % 11
            lines += [(user, order_id, time, product) for product in order.products]
    prefix = "id-" if text_ids else ""
    with (folder / "order_lines.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("user_id", "order_id", "ordered_at", "product_id"))
        for user, order_id, time, product in lines:
            writer.writerow((f"{prefix}{user}", f"{prefix}{order_id}", time, f"{prefix}{product}"))
    return folder


def write_promotions(folder: Path) -> None:
    """Write promotions of a week each, from 1 January 2024 on, each week of another product."""
    with (folder / "promotions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("product_id", "from", "to", "store_id", "kind"))
        for week in range(4):
            first = datetime(2024, 1, 1) + timedelta(days=7 * week)
            days = (first.date(), (first + timedelta(days=6)).date())
            for store in range(week + 1):
                writer.writerow((week % 3, *days, store, "mailer"))
            writer.writerow((3, *days, 0, "display"))


def write_instacart(folder: Path, history: list[Shopper]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows: dict[str, list[tuple[Any, ...]]] = {
        "orders": [
            (
                *("order_id", "user_id", "eval_set", "order_number", "order_dow"),
                *("order_hour_of_day", "days_since_prior_order"),
            )
        ],
        "products": [("product_id", "product_name", "aisle_id", "department_id")]
        + [(product, f"Product {product}", product % 3, 1) for product in range(7)],
        "aisles": [("aisle_id", "aisle"), (0, "Fruit"), (1, "Milk"), (2, "Bread")],
        "departments": [("department_id", "department"), (1, "Food")],
    }
    for eval_set in ("prior", "train"):
        rows[f"order_products__{eval_set}"] = [
            ("order_id", "product_id", "add_to_cart_order", "reordered")
        ]
    for user, shopper in enumerate(history):
        hours = 9
        for number, order in enumerate(shopper.orders, 1):
            days = (hours + order.gap_hours) // 24 - hours // 24 if number > 1 else ""
            hours += order.gap_hours
            is_last = number == len(shopper.orders)
            eval_set = ("test" if shopper.last_is_open else "train") if is_last else "prior"
            order_id = user * 100 + number
            rows["orders"].append(
                (order_id, user, eval_set, number, hours // 24 % 7, hours % 24, days)
            )
            if eval_set != "test":
                basket = dict.fromkeys(order.products)
                rows[f"order_products__{eval_set}"] += [
                    (order_id, product, place, 0) for place, product in enumerate(basket, 1)
                ]
    for name, lines in rows.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(lines)
    return folder


@pytest.fixture(scope="module")
def order_log(
    project: Callable[[str], Place], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    world = World("order_log", project("order_log"), tmp_path_factory.mktemp("order_log"))
    yield world
    world.con.close()


@pytest.fixture(scope="module")
def instacart(
    project: Callable[[str], Place], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    world = World("instacart", project("instacart"), tmp_path_factory.mktemp("instacart"))
    yield world
    world.con.close()


@small
@given(history=histories, text_ids=st.booleans(), cutoff=st.sampled_from([0, 1, 2, 3, 4]))
def test_features_do_not_leak_in_generated_order_logs(
    order_log: World, history: list[Shopper], text_ids: bool, cutoff: int
) -> None:
    order_log.land(write_order_log(order_log.settings.raw_dir, history, text_ids=text_ids))
    assert order_log.count(RUNS_BACKWARDS) == 0
    assert wrong_labels(order_log) == 0
    attack(order_log, cutoff)


@small
@given(history=histories, cutoff=st.sampled_from([0, 1, 2, 3, 4]))
def test_features_do_not_leak_in_generated_open_orders(
    instacart: World, history: list[Shopper], cutoff: int
) -> None:
    instacart.land(write_instacart(instacart.settings.raw_dir, history))
    assert wrong_labels(instacart) == 0
    attack(instacart, cutoff)


def test_promotions_that_start_later_change_no_feature(order_log: World) -> None:
    """All that starts after a day is exchanged: targets up to that day must not notice."""
    raw = write_order_log(order_log.settings.raw_dir, TYPICAL)
    write_promotions(raw)
    order_log.land(raw)
    of_pairs = "feat_promotions", "examples"
    for day in ("2024-01-04", "2024-01-10", "2024-01-19"):
        order_log.rebuild(promotions=OTHER_PROMOTIONS.format(day=day))
        targets = "(select cutoff, user_id from before.targets where ordered_on {} date '{}')"
        known, later = (f"(cutoff, user_id) in {targets.format(sign, day)}" for sign in ("<=", ">"))
        for table in order_log.features:
            only = known if table in of_pairs else "true"
            assert order_log.changed(table, only) == 0, f"{table} changed with what follows {day}"
        for table in of_pairs:  # otherwise the attack had no effect
            assert order_log.changed(table, later) > 0, table
    assert order_log.count("from before.examples where context_mailer_count > 0") > 0
    assert order_log.count("from before.examples where context_mailer_count = 0") > 0


def test_a_new_order_does_not_change_past_features(order_log: World) -> None:
    """After a new order, the features of a cutoff are unchanged and belong to the next cutoff."""
    order_log.land(write_order_log(order_log.settings.raw_dir, TYPICAL))
    let_the_next_order_come(order_log)
    for table in order_log.features:
        assert order_log.changed(table, "cutoff in (1, 2, 3)", later=1) == 0, table
    assert order_log.changed("feat_users", "cutoff in (0, 1)", later=0) > 0


def test_a_planted_leak_is_detected(instacart: World) -> None:
    """The attack fails at every cutoff if the past includes the target order, even an open one."""
    instacart.land(write_instacart(instacart.settings.raw_dir, TYPICAL))
    sound = instacart.models["past_items"]
    leaky = sound.replace(
        "order_items.order_number < targets.order_number",
        "order_items.order_number <= targets.order_number",
    )
    assert leaky != sound
    instacart.models["past_items"] = leaky
    try:
        instacart.land(instacart.settings.raw_dir)
        for cutoff in instacart.cutoffs:
            with pytest.raises(AssertionError, match="changed when future orders were"):
                attack(instacart, cutoff)
    finally:
        instacart.models["past_items"] = sound


# ---------------------------------------------------------------------------------------------
# Complete data sets.


def test_features_do_not_leak_in_simulated_orders(instacart: World, instacart_files: Path) -> None:
    instacart.land(instacart_files)
    assert wrong_labels(instacart) == 0
    for cutoff in instacart.cutoffs:
        # The tests above cover deletion, which detects nothing more than these two. Both run at the
        # cutoffs for serving and evaluation; the cutoffs for training alternate.
        ways = ["inverted", "randomized"]
        attack(instacart, cutoff, ways if cutoff < 2 else ways[cutoff % 2 :][:1])


@needs_shared_data
def test_features_do_not_leak_in_real_orders(instacart: World) -> None:
    instacart.land(SHARED_INSTACART)
    assert wrong_labels(instacart) == 0
    # All combinations take a minute, so this covers the newest two cutoffs and the oldest.
    for cutoff, way in ((0, "inverted"), (1, "randomized"), (instacart.cutoffs[-1], "inverted")):
        attack(instacart, cutoff, [way])


def test_serving_and_training_see_the_same_features(
    instacart: World, instacart_files: Path
) -> None:
    """After the next order, the features of cutoff 0 reappear unchanged at cutoff 1.

    Only shoppers with an open order take part: the context of other next orders is unknown, and
    those shoppers' orders would change the product statistics.
    """
    has_open = "user_id in (select user_id from landed.orders where is_open)"
    instacart.land(instacart_files, only=has_open)
    oldest = instacart.cutoffs[-1]
    let_the_next_order_come(instacart)
    for table in instacart.features:
        assert instacart.changed(table, f"cutoff between 0 and {oldest - 1}", later=1) == 0, table
        # Instacart has no promotions, whose table is empty.
        if table != "feat_promotions":
            assert instacart.changed(table, "cutoff = 0", later=0) > 0, table


def test_dbt_builds_the_features_that_these_tests_check(
    instacart: World, instacart_files: Path, published: Place
) -> None:
    instacart.land(instacart_files)
    instacart.con.execute(f"attach '{published.warehouse}' as published (read_only)")
    try:
        for table in instacart.features:
            columns = ", ".join(
                name for name, *_ in instacart.con.execute(f"describe {table}").fetchall()
            )
            ours, theirs = (
                f"select {columns} from {catalog}.{table}"
                for catalog in ("restock", "published.main")
            )
            differ = f"({ours} except all {theirs}) union all ({theirs} except all {ours})"
            assert instacart.count(differ) == 0, table
    finally:
        instacart.con.execute("detach published")


# ---------------------------------------------------------------------------------------------
# Canaries: without anything to learn, models must show no skill.


def test_permuted_labels_cannot_be_predicted(
    published: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With shuffled labels, the 95% interval of the AUC contains 0.5 about 95% of the time."""
    monkeypatch.setenv("DBT_TARGET_PATH", str(published.target))
    settings = Settings.load(warehouse=published.warehouse)
    columns = features(settings)
    model, _ = versions.load_measured(settings.models, columns)
    with connection.connect(settings, read_only=True) as con:
        test = examples.read(con, columns, cutoffs=[1], splits=["test"])
    score = model.predict(test.X)
    rng = np.random.default_rng(0)

    def holds_a_half(label: npt.NDArray[np.int8]) -> bool:
        auc = metrics.evaluate(score, label, test.offsets, replicates=200)["auc"]
        return auc.low < 0.5 < auc.high

    assert not holds_a_half(test.label)
    # If each interval contains 0.5 with 95% probability, 4 or more of 20 miss it once in 60 runs,
    # and 6 or more once in 3,000 runs.
    assert sum(holds_a_half(rng.permutation(test.label)) for _ in range(20)) >= 15


def test_a_model_trained_on_permuted_labels_has_no_skill(
    published: Place, place: Place, instacart_files: Path
) -> None:
    """The real jobs train and evaluate on shuffled labels in every split.

    A job that evaluated on its training data would find the memorised noise.
    """
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    with duckdb.connect(str(place.warehouse)) as con:
        con.execute(
            """
            create table permuted as
            with numbered as (
                select
                    *,
                    row_number() over (order by cutoff, user_id, product_id) as own,
                    row_number() over (order by md5(cutoff || '-' || user_id || '-' || product_id))
                        as other
                from examples
                where cutoff > 0
            )
            select numbered.* exclude (own, other) replace (shuffled.label as label)
            from numbered inner join numbered as shuffled on numbered.own = shuffled.other
            """
        )
        con.execute("drop view examples; alter table permuted rename to examples")
    settings = place.settings(raw_dir=instacart_files)
    promote(settings, silent, version=train(settings, silent)["model"])
    evaluate(settings, silent)
    figures = dict(
        place.query(
            """
            select metric, value from ml.metrics
            where run_id = (select max(run_id) from ml.metrics)
                and model_name = 'gradient_boosting' and starts_with(metric, 'auc')
                and segment = 'all'
            """
        )
    )
    # The tolerance is twice the 95% interval: one false alarm in 10,000 runs instead of in 20.
    assert abs(figures["auc"] - 0.5) < figures["auc_high"] - figures["auc_low"]


def test_each_job_reads_only_its_own_shoppers(
    published: Place, place: Place, instacart_files: Path
) -> None:
    ((learned, held, tested),) = published.query(
        f"""
        select
            count(*) filter (split = 'train'),
            count(*) filter (split = 'validation' and cutoff <= {HELD_CUTOFFS}),
            count(*) filter (split = 'test' and cutoff = 1)
        from examples where cutoff > 0
        """
    )
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    settings = place.settings(raw_dir=instacart_files, training_rows=1_000_000)
    candidate = train(settings, silent)["model"]
    card = json.loads((place.model.parent / candidate / "model.json").read_text())
    assert card["training_pairs"] == learned
    assert card["calibration_pairs"] == held
    assert published.query(
        "select distinct value from ml.metrics where metric = 'pairs' and segment = 'all'"
    ) == [(tested,)]
    assert (
        published.query(
            """
            select user_id, product_id from examples where split = 'test' and cutoff = 1
            except select user_id, product_id from ml.test_predictions
            """
        )
        == []
    )
