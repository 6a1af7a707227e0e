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

from ml.modelling import purchase_metrics
from ml.modelling.purchase_list import ListRule
from ml.settings import Settings
from ml.warehouse.run_records import copy_history

LINES = shops.small(60)
DAY = datetime(2023, 3, 20)  # midnight: the orders before it are known at first
OUTCOMES = "select * from fct_list_outcomes order by cutoff_at"
WAITING = "select distinct batch_id, cutoff_at from ml.purchase_lists order by cutoff_at"


def known(folder: Path, until: datetime) -> tuple[str, ...]:
    """Write the orders before a time, and return the options that name them."""
    raw = shops.write(folder / "raw", [line for line in LINES if line[2] < until])
    return "--source", "order_log", "--raw-dir", str(raw)


@pytest.fixture(scope="session")
def first_day(once: Once) -> Place:
    """The place of a run, with a second list for ten days later. Tests must not change it."""

    def make(folder: Path) -> None:
        place = Place(folder)
        place.restock("run", *known(folder, DAY))
        later = f"{DAY + timedelta(days=10):%Y-%m-%d}"
        place.restock("score", "--task", "purchase", "--as-of", later, *known(folder, DAY))

    return Place(once("first_day", make))


@pytest.fixture(scope="session")
def days_later(once: Once, first_day: Place) -> Place:
    """The same, three days later: the first window has closed. Tests must not change it."""

    def make(folder: Path) -> None:
        shutil.copytree(first_day.folder, folder, dirs_exist_ok=True, symlinks=True)
        Place(folder).restock("run", *known(folder, DAY + timedelta(days=3)))

    return Place(once("days_later", make))


def buyers(start: datetime) -> set[object]:
    """The shoppers with an order in the 24 hours from a midnight, from the raw lines."""
    return {line[0] for line in LINES if start <= line[2] < start + timedelta(days=1)}


@pytest.mark.slow
def test_a_list_is_graded_when_its_window_has_closed(first_day: Place, days_later: Place) -> None:
    """The graded row is what numpy makes of the list as it was published, to nine digits."""
    first, later = first_day.query(WAITING)
    assert (first[1], later[1]) == (DAY, DAY + timedelta(days=10))
    assert first_day.query(OUTCOMES) == []
    newest = days_later.query(WAITING)
    assert [cutoff for _, cutoff in newest] == [DAY + timedelta(days=3), later[1]]
    assert later in newest, "the list whose window is open waits"

    published = first_day.query(
        "select user_id, purchase_probability, is_targeted, is_held_out from ml.purchase_lists "
        f"where batch_id = '{first[0]}' order by user_id"
    )
    users, *columns = zip(*published, strict=True)
    p, targeted, held_out = (np.array(column) for column in columns)
    bought = np.isin(users, list(buyers(DAY)))
    assert bought.any() and not bought.all() and targeted.any() and held_out.any()
    listed = ListRule(recall=0.95).choose(p)
    assert (listed.is_targeted == targeted).all()
    metrics = purchase_metrics.evaluate(
        p, bought.astype(int), np.zeros(len(p)), np.arange(len(p) + 1), replicates=2
    )
    (graded,) = rows(days_later, OUTCOMES)
    assert graded["batch_id"] == first[0]
    assert graded["cutoff_at"] == DAY and graded["window_end_at"] == DAY + timedelta(days=1)
    expected = {
        "shopper_count": len(p),
        "buyer_count": bought.sum(),
        "expected_buyers": p.sum(),
        "targeted_count": targeted.sum(),
        "targeted_buyer_count": (targeted & bought).sum(),
        "targeted_expected_buyers": p[targeted].sum(),
        "expected_recall_share": listed.expected_recall,
        "observed_recall_share": (targeted & bought).sum() / bought.sum(),
        "expected_precision_share": listed.expected_precision,
        "observed_precision_share": bought[targeted].mean(),
        "log_loss": metrics["log_loss"].value,
        "held_out_count": held_out.sum(),
        "held_out_buyer_count": (held_out & bought).sum(),
        "held_out_targeted_count": (held_out & targeted).sum(),
        "held_out_targeted_buyer_count": (held_out & targeted & bought).sum(),
    }
    assert {name: graded[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    ((model,),) = first_day.query(
        f"select model_version from ml.purchase_batches where batch_id = '{first[0]}'"
    )
    assert graded["model_version"] == model


def rows(place: Place, sql: str) -> list[dict[str, Any]]:
    with duckdb.connect(str(place.warehouse), read_only=True) as con:
        table = con.execute(sql).to_arrow_table()
    return table.to_pylist()


@pytest.mark.slow
def test_the_same_orders_again_grade_nothing_twice(days_later: Place, place: Place) -> None:
    shutil.copytree(days_later.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    before, waiting = place.query(OUTCOMES), place.query(WAITING)
    summary = place.restock("run", *known(place.folder, DAY + timedelta(days=3)))
    assert "train" not in summary, "this run was to be a small one"
    assert place.query(OUTCOMES) == before
    again = place.query(WAITING)
    assert [cutoff for _, cutoff in again] == [cutoff for _, cutoff in waiting]
    assert again[0] != waiting[0], "the newer list for the same window took its place"
    assert place.query("select distinct batch_id from fct_purchase_propensity") == [again[0][:1]]


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


@pytest.mark.slow
def test_list_sizes_are_those_of_the_rule(complete_journey: Place) -> None:
    probability = np.array(
        [p for (p,) in complete_journey.query("select purchase_probability from ml.purchase_lists")]
    )
    days = days_of_test(complete_journey)
    found = rows(complete_journey, "select * from rpt_list_sizes order by recall_share")
    assert [round(100 * row["recall_share"]) for row in found] == list(range(50, 101))
    for row in found:
        rule = ListRule(recall=row["recall_share"])
        now = rule.choose(probability)
        assert row["list_count"] == now.is_targeted.sum()
        assert row["precision_share"] == pytest.approx(now.expected_precision, rel=1e-9)
        on = [rule.choose(p).is_targeted for p, _ in days]
        hits = np.array([bought[chosen].sum() for chosen, (_, bought) in zip(on, days, strict=True)])
        all_buyers = np.array([bought.sum() for _, bought in days])
        assert row["test_recall_share"] == pytest.approx(hits.sum() / all_buyers.sum(), rel=1e-9)
        assert row["test_worst_day_recall_share"] == pytest.approx(min(hits / all_buyers), rel=1e-9)
        size = sum(chosen.sum() for chosen in on)
        assert row["test_list_share"] == pytest.approx(size / sum(map(len, on)), rel=1e-9)


def days_of_test(place: Place) -> list[tuple[Any, Any]]:
    """Probabilities and purchases of each test day."""
    table = rows(
        place,
        "select cutoff_at, purchase_probability, label from ml.purchase_test_predictions "
        "inner join purchase_examples using (user_id, cutoff_at) order by cutoff_at, user_id",
    )
    day, p, bought = (np.array([row[name] for row in table]) for name in table[0])
    return [(p[day == midnight], bought[day == midnight]) for midnight in np.unique(day)]


@pytest.mark.slow
def test_list_gains_are_those_of_the_rule(complete_journey: Place) -> None:
    probability = np.array(
        [p for (p,) in complete_journey.query("select purchase_probability from ml.purchase_lists")]
    )
    days = days_of_test(complete_journey)
    p, bought = (np.concatenate(columns) for columns in zip(*days, strict=True))
    for row in rows(complete_journey, "select * from rpt_list_gains"):
        cost = row["cost_share"]
        now = ListRule(cost=cost, gain=1).choose(probability)
        assert row["list_count"] == now.is_targeted.sum()
        assert row["gain_per_1000"] == pytest.approx(now.expected_gain_per_1000, rel=1e-9)
        earned = 1000 * (bought[p > cost] - cost).sum() / len(p)
        assert row["test_gain_per_1000"] == pytest.approx(earned, rel=1e-9)
        everyone = 1000 * (bought - cost).mean()
        assert row["test_everyone_gain_per_1000"] == pytest.approx(everyone, rel=1e-9)


@pytest.mark.slow
def test_the_figures_of_test_days_are_those_of_the_evaluation(complete_journey: Place) -> None:
    figures = dict(
        complete_journey.query(
            "select metric, value from ml.purchase_metrics "
            "where segment = 'all' and model_name = 'gradient_boosting'"
        )
    )
    found = rows(complete_journey, "select * from rpt_purchase_days order by cutoff_at")
    for row, (p, bought) in zip(found, days_of_test(complete_journey), strict=True):
        assert row["auc"] == pytest.approx(roc_auc_score(bought, p), rel=1e-9)
        assert row["buyer_count"] == bought.sum() and row["shopper_count"] == len(p)
    total = {name: sum(row[name] for row in found) for name in found[0] if name.endswith("_count")}
    recall = total["list_buyer_count"] / total["buyer_count"]
    assert recall == pytest.approx(figures["list_recall"], abs=1e-3)
    assert min(row["recall_share"] for row in found) == pytest.approx(
        figures["list_worst_day_recall"], abs=1e-3
    )
    size = total["list_count"] / total["shopper_count"]
    assert size == pytest.approx(figures["list_size_share"], abs=1e-3)
    deciles = rows(complete_journey, "select * from rpt_purchase_lift order by decile")
    assert deciles[0]["lift_ratio"] == pytest.approx(figures["lift_top_tenth"], rel=5e-3)
    assert deciles[0]["captured_share"] == pytest.approx(figures["capture_top_tenth"], rel=5e-3)
    assert deciles[-1]["captured_so_far_share"] == pytest.approx(1)
    assert sum(decile["buyer_count"] for decile in deciles) == total["buyer_count"]
