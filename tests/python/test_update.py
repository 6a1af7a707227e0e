"""An update run gives the same tables as a full build with the same model."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import Place
from days import DELIVERED, LEAVER, NEW_PRODUCT, NEWCOMER
from test_run import RANKS_HAVE_TIES_OR_HOLES, SAME

from ml.errors import RestockError
from ml.jobs import update as update_job
from ml.jobs.score import score
from ml.jobs.update import AT_CUTOFF_0, OF_SHOPPERS
from ml.progress import silent
from ml.settings import Settings
from ml.warehouse.population import TABLES as POPULATION

pytestmark = pytest.mark.slow

COUNT = "select count(*) from fct_predictions"
OF_PREDICTIONS = (
    *("fct_predictions", "fct_discoveries", "pair_reasons", "fct_recommendations", "fct_baskets"),
    *("fct_expected_shoppers", "fct_shoppers", "fct_aisle_returns", "fct_product_trends"),
)


def update(place: Place, settings: Settings) -> dict[str, Any]:
    """Update the published warehouse of a place into a new warehouse beside it."""
    new = replace(settings, warehouse=place.folder / "new" / place.warehouse.name)
    return update_job.update(new, silent, published=place.warehouse)


def test_scores_only_shoppers_with_new_orders(incremented: Place) -> None:
    summary = json.loads((incremented.folder / "summary.json").read_text())
    assert list(summary) == ["fetch", "update", "index", "report"]
    assert summary["update"]["shoppers"] == DELIVERED + 2
    theirs = incremented.query(
        "select count(*) from fct_predictions semi join ml.scored_shoppers "
        "on fct_predictions.user_id = scored_shoppers.user_id and is_since_training"
    )
    assert theirs == [(summary["update"]["rows"],)]


def test_tables_equal_those_of_a_full_build(
    incremented: Place, place: Place, next_day: Path
) -> None:
    """The full build reads the new raw files, with the older model and population."""
    place.dbt(*("run", "--select", "+examples", "dim_users", "tag:grading"), raw_dir=next_day)
    with duckdb.connect(str(place.warehouse)) as con:
        con.execute(f"attach '{incremented.warehouse}' as older (read_only)")
        for table in POPULATION:
            con.execute(f"delete from {table}")
            con.execute(f"insert into {table} by name select * from older.{table}")
        # It comes from the evaluation, which an update keeps.
        con.execute("create table aisle_effects as from older.aisle_effects")
    place.dbt(*("run", "--select", "+examples", "--exclude", "tag:population"), raw_dir=next_day)
    shutil.copytree(
        incremented.model,
        place.model,
    )
    score(place.settings(raw_dir=next_day), silent)
    read = ("shopper_rhythms", "segment_bounds")
    place.dbt("run", "--select", *read, *OF_PREDICTIONS, raw_dir=next_day)
    assert place.query(SAME) == incremented.query(SAME)
    for table in OF_SHOPPERS:
        everything = f"select * from {table} order by all"
        assert place.query(everything) == incremented.query(everything), table
    for table in AT_CUTOFF_0:
        now = f"select * from {table} where cutoff = 0 order by all"
        assert place.query(now) == incremented.query(now), table
    for table in OF_PREDICTIONS:
        rows = f"select * exclude (batch_id) from {table} order by all"
        assert place.query(rows) == incremented.query(rows), table


def test_a_deleted_shopper_leaves_no_rows(incremented: Place, published: Place) -> None:
    tables = [
        name
        for (name,) in published.query(
            "select distinct table_schema || '.' || table_name from information_schema.columns "
            "where column_name = 'user_id' and table_name not like 'stg_%'"
        )
    ]

    def found(place: Place) -> set[str]:
        theirs = f"where user_id = {LEAVER}"
        return {name for name in tables if place.query(f"select 1 from {name} {theirs} limit 1")}

    # Before the update, the shopper is in all kinds of tables, and at past cutoffs.
    assert {"main.fct_orders", "main.pair_totals", "ml.predictions"} <= found(published)
    assert published.query(
        f"select count(*) > 0 from targets where user_id = {LEAVER} and cutoff > 0"
    )
    assert found(incremented) == set()


def test_scores_new_products_and_shoppers_but_no_deleted_shopper(incremented: Place) -> None:
    scored = "select count(*) > 0 from fct_predictions where"
    assert incremented.query(f"{scored} product_id = {NEW_PRODUCT}") == [(True,)]
    assert incremented.query(f"{scored} user_id = {NEWCOMER}") == [(True,)]
    assert incremented.query(f"{scored} user_id = {LEAVER}") == [(False,)]
    assert incremented.query(RANKS_HAVE_TIES_OR_HOLES) == []


def test_all_predictions_are_in_the_newest_batch(incremented: Place) -> None:
    ((batch, rows),) = incremented.query(
        "select batch_id, rows from ml.batches order by started_at desc limit 1"
    )
    assert incremented.query("select batch_id, count(*) from fct_predictions group by 1") == [
        (batch, rows)
    ]
    assert incremented.query("select count(*) from ml.batches") == [(2,)]
    assert incremented.query("select distinct batch_id from fct_discoveries") == [(batch,)]
    assert batch in (incremented.folder / "pages/index.html").read_text()


def test_the_history_has_the_kpis_of_both_batches(incremented: Place, published: Place) -> None:
    """The pairs are those of the update; the AUC is that of the model, which stays."""
    changes = {
        kpi: (before, now)
        for kpi, before, now in incremented.query(
            "select kpi, previous_value, value from rpt_kpi_changes"
        )
    }
    counts = [place.query(COUNT)[0][0] for place in (published, incremented)]
    assert changes["pairs"] == tuple(counts) and counts[0] != counts[1]
    assert changes["auc"][0] == changes["auc"][1] > 0.5
    assert published.query("select 1 from rpt_history where kpi = 'verdict'") != []
    batches = "select batch_id, finished_at from ml.batches order by all"
    for place in (published, incremented):
        of_history = "select distinct batch_id, finished_at from rpt_history order by all"
        assert place.query(of_history) == place.query(batches)


def test_training_and_test_examples_do_not_change(incremented: Place, published: Place) -> None:
    """Otherwise the published metrics would no longer match their test orders."""
    for table in ("targets", "pair_totals"):
        learned = f"select * from {table} where cutoff > 0 and user_id <> {LEAVER} order by all"
        assert incremented.query(learned) == published.query(learned), table
    assert incremented.query("select pair_count from rpt_test_summary") == published.query(
        "select pair_count from rpt_test_summary"
    )


def test_a_run_without_new_orders_changes_nothing(
    incremented: Place, place: Place, next_day: Path
) -> None:
    shutil.copytree(incremented.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    again = place.restock("run", "--source", "instacart", "--raw-dir", next_day)
    assert list(again) == ["fetch", "update"]
    assert again["update"]["note"] == "0 of 300 shoppers have new or changed orders"
    assert place.warehouse.resolve().relative_to(place.folder) == (
        incremented.warehouse.resolve().relative_to(incremented.folder)
    )
    last = place.restock("status")["last_run"]
    assert last["outcome"] == "nothing new" and last["decision"] == "kept"
    assert [step["step"] for step in last["steps"]] == ["fetch", "update"]


def test_earlier_runs_are_in_the_warehouse(incremented: Place) -> None:
    """A run is recorded at its end, so the next one loads it."""
    assert incremented.query("select outcome, decision from ml.runs") == [("published", "first")]
    steps = incremented.query(
        "select step, rows > 0, seconds > 0 from ml.run_steps order by position"
    )
    assert [step for step, _, _ in steps] == [
        *("fetch", "build", "train", "evaluate", "score", "audit", "index", "report")
    ]
    assert all(rows and seconds for _, rows, seconds in steps)


def test_many_changed_shoppers_require_a_full_run(
    incremented: Place, place: Place, next_day: Path
) -> None:
    """Shoppers count who changed in any run since the newest model was trained."""
    shutil.copytree(incremented.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    assert not update(place, place.settings(raw_dir=next_day))["is_full_run"]
    shutil.rmtree(place.folder / "new")
    with duckdb.connect(str(place.warehouse)) as con:
        con.execute("update ml.scored_shoppers set is_since_training = true where user_id <= 30")
    found = update(place, place.settings(raw_dir=next_day))
    assert found["is_full_run"] and found["rules"] == ["changed_shoppers_share"]
    assert found["note"] == "full run: changed_shoppers_share is 0.1033 (threshold 0.1)"


@pytest.mark.parametrize(
    ("setting", "value", "because"),
    [
        ("model", "logistic_regression", "settings"),
        ("source", "order_log", "settings"),
    ],
)
def test_changed_settings_require_a_full_run(
    setting: str, value: str, because: str, incremented: Place, place: Place, next_day: Path
) -> None:
    shutil.copytree(incremented.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    other: Any = {setting: value}
    found = update(place, replace(place.settings(raw_dir=next_day), **other))
    assert found["is_full_run"] and because in found["note"]
    assert place.query(SAME) == incremented.query(SAME)


def test_another_scoring_date_scores_everyone_with_the_same_model(
    incremented: Place, place: Place, next_day: Path
) -> None:
    shutil.copytree(incremented.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    found = update(place, replace(place.settings(raw_dir=next_day), as_of_days="9"))
    assert not found["is_full_run"] and "the scoring date" in found["note"]
    assert found["rows"] == len(incremented.query(SAME)) and found["shoppers"] == 300


def test_a_model_that_must_stay_scores_no_other_source(incremented: Place, next_day: Path) -> None:
    other = replace(incremented.settings(raw_dir=next_day), source="order_log")
    with pytest.raises(RestockError, match="learned from instacart"):
        update_job.update(other, silent, published=incremented.warehouse, kept_because="a test")
