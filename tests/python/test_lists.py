"""Published lists are graded once their window has closed, and the page's figures are true."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import shops
from conftest import Once, Place
from sklearn.metrics import roc_auc_score
from test_audit import PREDICTABLE, options

from ml.jobs.purchase import GRADE, GRADE_DEMAND, SETTLE
from ml.jobs.score import score
from ml.jobs.task import PURCHASES
from ml.modelling import purchase_metrics
from ml.modelling.purchase_list import ListRule
from ml.progress import silent
from ml.settings import Settings
from ml.warehouse.run_records import copy_history

pytestmark = pytest.mark.slow

DAY, PACE = timedelta(days=1), timedelta(minutes=10)
LISTED = "select * exclude (batch_id) from ml.purchase_lists where batch_id = ? order by user_id"


@pytest.fixture(scope="session")
def first_day(once: Once) -> Place:
    """The place of a run on a shop of deliveries. Tests must not change it."""
    return Place(once("deliveries", PREDICTABLE["deliveries"]))


def newest_list(place: Place) -> tuple[str, datetime]:
    """The batch of the newest list, and its cutoff."""
    ((batch, cutoff),) = place.query(
        "select distinct batch_id, cutoff_at from fct_purchase_propensity"
    )
    return batch, cutoff


@pytest.fixture(scope="session")
def days_later(once: Once, first_day: Place) -> Place:
    """The same, when each third shopper has bought again, the last of them a day later."""

    def make(folder: Path) -> None:
        shutil.copytree(first_day.folder, folder, dirs_exist_ok=True, symlinks=True)
        place = Place(folder)
        _, cutoff = newest_list(place)
        lines = shops.deliveries()
        for user in range(3, 151, 3):
            lines.append((user, f"new-{user}", cutoff + user * PACE, 1))
        shops.write(folder / "raw", lines)
        summary = place.restock("run", *options(place))
        assert "train" in summary, "a third of the shoppers changed"

    return Place(once("days_later", make))


def rows(place: Place, sql: str) -> list[dict[str, Any]]:
    with duckdb.connect(str(place.warehouse), read_only=True) as con:
        return con.sql(sql).to_arrow_table().to_pylist()


def test_a_list_is_graded_when_its_window_has_closed(first_day: Place, days_later: Place) -> None:
    """The graded row is what numpy makes of the list as it was published, to nine digits."""
    batch, cutoff = newest_list(first_day)
    assert first_day.query("select * from fct_list_outcomes") == []
    users, p, targeted, held_out = (
        np.array(column)
        for column in zip(
            *first_day.query(
                "select user_id, purchase_probability, is_targeted, is_held_out "
                "from fct_purchase_propensity order by user_id"
            ),
            strict=True,
        )
    )
    bought = (users % 3 == 0) & (users * PACE < DAY)
    listed = ListRule(recall=0.95).choose(p)
    metrics = purchase_metrics.evaluate(
        p, bought.astype(int), np.zeros(len(p)), np.arange(len(p) + 1), replicates=2
    )
    expected = {
        "shopper_count": len(p),
        "buyer_count": bought.sum(),
        "expected_buyers": p.sum(),
        "targeted_count": listed.is_targeted.sum(),
        "targeted_buyer_count": bought[targeted].sum(),
        "targeted_expected_buyers": p[targeted].sum(),
        "expected_recall_share": listed.expected_recall,
        "observed_recall_share": bought[targeted].sum() / bought.sum(),
        "expected_precision_share": listed.expected_precision,
        "observed_precision_share": bought[targeted].mean(),
        "log_loss": metrics["log_loss"].value,
        "held_out_count": held_out.sum(),
        "held_out_buyer_count": bought[held_out].sum(),
        "held_out_targeted_count": (held_out & targeted).sum(),
        "held_out_targeted_buyer_count": bought[held_out & targeted].sum(),
    }
    assert 0 < expected["targeted_buyer_count"] < expected["buyer_count"] == 47
    (graded,) = rows(days_later, "select * from fct_list_outcomes")
    assert {name: graded[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert (graded["batch_id"], graded["cutoff_at"]) == (batch, cutoff)
    assert graded["window_end_at"] == cutoff + DAY
    assert first_day.query("select batch_id, model_version from ml.purchase_batches") == [
        (batch, graded["model_version"])
    ]


def test_only_the_newest_list_of_an_open_window_waits(days_later: Place, place: Place) -> None:
    """A closed list is graded once, however often the same day is scored."""
    shutil.copy(days_later.warehouse, place.warehouse)
    batch, _ = newest_list(days_later)
    waiting = "select distinct batch_id from ml.purchase_lists order by 1"
    graded = "select batch_id from fct_list_outcomes order by 1"
    first = days_later.query(graded)
    assert days_later.query(waiting) == [(batch,)]
    with duckdb.connect(str(place.warehouse)) as con:
        for name, days in {"closed": -9, "open": -1, "replaced": 0}.items():
            con.execute(
                "insert into ml.purchase_lists by name select * replace (? as batch_id, "
                "cutoff_at + ? as cutoff_at, window_end_at + ? as window_end_at) "
                "from ml.purchase_lists where batch_id = ?",
                [name, days * DAY, days * DAY, batch],
            )
        for _ in range(2):
            for statement in (*GRADE, *SETTLE):
                con.execute(statement)
            assert con.execute(waiting).fetchall() == [(batch,), ("open",)]
            assert con.execute(graded).fetchall() == [*first, ("closed",)]
        kept = con.execute(LISTED, [batch]).fetchall()
    with duckdb.connect(str(days_later.warehouse), read_only=True) as con:
        assert con.execute(LISTED, [batch]).fetchall() == kept


def test_a_full_run_grades_the_orders_that_came(first_day: Place, days_later: Place) -> None:
    """Each third shopper bought product 1, which few of them had bought before."""
    pairs = {
        str(user): (count, bought)
        for user, count, bought in first_day.query(
            "select user_id, count(*), sum((product_id = 1)::integer) "
            "from fct_predictions group by user_id"
        )
    }
    assert {bought for _, bought in pairs.values()} == {0, 1}
    graded = days_later.query(
        "select user_id, pair_count, bought_units, order_id, model_version from fct_order_outcomes"
    )
    ((version,),) = first_day.query("select model_version from ml.batches")
    assert sorted(graded) == sorted(
        (str(user), *pairs[str(user)], f"new-{user}", version) for user in range(3, 151, 3)
    )
    assert days_later.query(
        "select model_version, is_production, order_count from rpt_live_summary"
    ) == [(version, True, 50)], "the model stays: so few test shoppers promote no challenger"


def test_a_forecast_is_graded_when_its_week_has_ended(days_later: Place, place: Place) -> None:
    """Two weeks ago is a week that has ended; it is graded once, and the newest forecast waits."""
    shutil.copy(days_later.warehouse, place.warehouse)
    awaited = "select * from ml.awaited_demand order by all"
    with duckdb.connect(str(place.warehouse)) as con:
        kept = con.execute(awaited).fetchall()
        assert len({row[5] for row in kept}) == 2, "a forecast of each run"
        newest = con.execute(
            "select level, count(*) from ml.awaited_demand semi join fct_demand using (cutoff_at) "
            "group by 1 order by 1"
        ).fetchall()
        assert (
            newest
            == con.execute(
                "select level, count(*) from fct_demand "
                "where level <> 'product' or expected_units >= 5 group by 1 order by 1"
            ).fetchall()
        )
        con.execute(
            "insert into ml.awaited_demand by name select * replace ("
            "cutoff_at - interval 14 days as cutoff_at, "
            "window_end_at - interval 14 days as window_end_at) "
            "from ml.awaited_demand semi join fct_demand using (cutoff_at)"
        )
        ((cutoff,),) = con.execute("select min(cutoff_at) from ml.awaited_demand").fetchall()
        for _ in range(2):
            for statement in GRADE_DEMAND:
                con.execute(statement)
            assert con.execute(awaited).fetchall() == kept
            graded = con.execute(
                "select level, product_id, observed_units, is_within, low_units, high_units "
                "from fct_demand_outcomes where cutoff_at = ? order by all",
                [cutoff],
            ).fetchall()
            assert len(graded) == sum(count for _, count in newest)
        sold = dict(
            con.execute(
                "select product_id::varchar, count(*) from fct_order_items "
                "inner join fct_orders using (order_id) "
                "where ordered_at >= ? and ordered_at < ? group by 1",
                [cutoff, cutoff + 7 * DAY],
            ).fetchall()
        )
        ((error, within),) = con.execute(
            "select error_share, within_share from rpt_demand_outcomes where level = 'department'"
        ).fetchall()
        ((expected,),) = con.execute(
            "select expected_units from ml.demand_outcomes where level = 'department'"
        ).fetchall()
    for level, product, observed, is_within, low, high in graded:
        assert observed == (sold.get(product, 0) if level == "product" else sum(sold.values()))
        assert is_within is (None if low is None else low <= observed <= high)
    assert error == pytest.approx(abs(sum(sold.values()) - expected) / sum(sold.values()), rel=1e-6)
    assert within in (None, 0, 1)


@pytest.mark.parametrize(("source", "kept"), [("order_log", 1), ("complete_journey", 0)])
def test_a_list_of_another_source_is_not_graded(tmp_path: Path, source: str, kept: int) -> None:
    old, new = tmp_path / "old.duckdb", tmp_path / "new.duckdb"
    for path in (old, new):
        with duckdb.connect(str(path)) as con:
            con.execute(
                """
                create schema ml;
                create table ml.deliveries (source varchar, recorded_at timestamp);
                create table ml.purchase_outcomes (batch_id varchar);
                create table ml.purchase_lists (batch_id varchar, user_id varchar);
                """
            )
    with duckdb.connect(str(old)) as con:
        con.execute(
            """
            insert into ml.deliveries values
                ('complete_journey', '2024-01-01'), ('order_log', '2024-01-02');
            insert into ml.purchase_outcomes values ('b1');
            insert into ml.purchase_lists values ('b2', '7');
            """
        )
    settings = Settings.load(source=source, warehouse=new)
    copy_history(Settings.load(source=source, warehouse=old), settings)
    with duckdb.connect(str(new)) as con:
        assert con.execute("from ml.purchase_outcomes").fetchall() == [("b1",)]
        assert len(con.execute("from ml.purchase_lists").fetchall()) == kept


def test_new_events_without_new_orders_make_a_new_list(days_later: Place, place: Place) -> None:
    shutil.copytree(days_later.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    batch, cutoff = newest_list(place)
    lines = [f"{user},{cutoff - timedelta(hours=30):%Y-%m-%d %H:%M:%S},view" for user in (3, 6, 9)]
    (place.folder / "raw" / "events.csv").write_text(
        "\n".join(["user_id,occurred_at,event_type", *lines, ""])
    )
    summary = place.restock("run", *options(place))
    assert summary["update"]["shoppers"] == 0 and "purchase score" in summary
    assert newest_list(place)[0] > batch
    assert place.query("select count(*) from fct_events where event_type = 'view'") == [(3,)]
    assert "purchase score" not in place.restock("run", *options(place))
    # The run has replaced the newest days and cutoff 0. A full build gives the same, and the same
    # model the same list.
    at_cutoff_0 = ("purchase_windows", "moments", "feat_moments")
    scored = ("fct_purchase_propensity", "fct_weekly_propensity")
    tables = {
        **{table: f"* from {table}" for table in ("fct_events", "user_days")},
        **{table: f"* from {table} where cutoff = 0" for table in at_cutoff_0},
        **{table: f"* exclude (batch_id) from {table}" for table in scored},
    }

    def built() -> dict[str, list[Any]]:
        return {
            table: place.query(f"select {columns} order by all")
            for table, columns in tables.items()
        }

    small = built()
    of_log: dict[str, Any] = {"source": "order_log", "raw_dir": place.folder / "raw"}
    place.dbt("run", "--select", "+purchase_examples", **of_log)
    for task in PURCHASES.values():
        score(place.settings(**of_log), silent, task)
    place.dbt("run", "--select", *scored, **of_log)
    assert built() == small


def probabilities(place: Place) -> Any:
    """The probabilities of the newest scores."""
    return np.array(
        [p for (p,) in place.query("select purchase_probability from fct_purchase_propensity")]
    )


def days_of_test(place: Place) -> list[tuple[Any, Any]]:
    """Probabilities and purchases of each test day."""
    table = rows(
        place,
        "select cutoff_at, purchase_probability, label from ml.purchase_test_predictions "
        "inner join purchase_examples using (user_id, cutoff_at) "
        "where horizon_days = 1 order by cutoff_at, user_id",
    )
    day, p, bought = (np.array([row[name] for row in table]) for name in table[0])
    return [(p[day == midnight], bought[day == midnight]) for midnight in np.unique(day)]


def test_list_sizes_are_those_of_the_rule(complete_journey: Place) -> None:
    probability = probabilities(complete_journey)
    days = days_of_test(complete_journey)
    found = rows(complete_journey, "select * from rpt_list_sizes order by recall_share")
    assert [round(100 * row["recall_share"]) for row in found] == list(range(50, 101))
    for row in found:
        rule = ListRule(recall=row["recall_share"])
        listed = rule.choose(probability)
        assert row["list_count"] == listed.is_targeted.sum()
        assert row["precision_share"] == pytest.approx(listed.expected_precision, rel=1e-9)
        on = [rule.choose(p).is_targeted for p, _ in days]
        hits = np.array(
            [bought[of_day].sum() for of_day, (_, bought) in zip(on, days, strict=True)]
        )
        buyers = np.array([bought.sum() for _, bought in days])
        assert row["test_recall_share"] == pytest.approx(hits.sum() / buyers.sum(), rel=1e-9)
        worst = min(hits[buyers > 0] / buyers[buyers > 0])  # the stores close on Christmas Day
        assert row["test_worst_day_recall_share"] == pytest.approx(worst, rel=1e-9)
        size = sum(of_day.sum() for of_day in on)
        assert row["test_list_share"] == pytest.approx(size / sum(map(len, on)), rel=1e-9)


def test_list_gains_are_those_of_the_rule(complete_journey: Place) -> None:
    probability = probabilities(complete_journey)
    days = days_of_test(complete_journey)
    p, bought = (np.concatenate(columns) for columns in zip(*days, strict=True))
    for row in rows(complete_journey, "select * from rpt_list_gains"):
        cost = row["cost_share"]
        listed = ListRule(cost=cost, gain=1).choose(probability)
        assert row["list_count"] == listed.is_targeted.sum()
        assert row["gain_per_1000"] == pytest.approx(listed.expected_gain_per_1000, rel=1e-9)
        earned = 1000 * (bought[p > cost] - cost).sum() / len(p)
        assert row["test_gain_per_1000"] == pytest.approx(earned, rel=1e-9)
        everyone = 1000 * (bought - cost).mean()
        assert row["test_everyone_gain_per_1000"] == pytest.approx(everyone, rel=1e-9)


def test_the_figures_of_test_days_are_those_of_the_evaluation(complete_journey: Place) -> None:
    figures = dict(
        complete_journey.query(
            "select metric, value from ml.purchase_metrics "
            "where segment = 'all' and model_name = 'gradient_boosting'"
        )
    )
    found = rows(complete_journey, "select * from rpt_purchase_days order by cutoff_at")
    for row, (p, bought) in zip(found, days_of_test(complete_journey), strict=True):
        if bought.any():
            assert row["auc"] == pytest.approx(roc_auc_score(bought, p), rel=1e-9)
        assert row["buyer_count"] == bought.sum() and row["shopper_count"] == len(p)
    total = {name: sum(row[name] for row in found) for name in found[0] if name.endswith("_count")}
    recall = total["list_buyer_count"] / total["buyer_count"]
    assert recall == pytest.approx(figures["list_recall"], abs=1e-3)
    assert min(row["recall_share"] for row in found if row["buyer_count"]) == pytest.approx(
        figures["list_worst_day_recall"], abs=1e-3
    )
    size = total["list_count"] / total["shopper_count"]
    assert size == pytest.approx(figures["list_size_share"], abs=1e-3)
    deciles = rows(complete_journey, "select * from rpt_purchase_lift order by decile")
    assert deciles[0]["lift_ratio"] == pytest.approx(figures["lift_top_tenth"], rel=5e-3)
    assert deciles[0]["captured_share"] == pytest.approx(figures["capture_top_tenth"], rel=5e-3)
    assert deciles[-1]["captured_so_far_share"] == pytest.approx(1)
    assert sum(decile["buyer_count"] for decile in deciles) == total["buyer_count"]
