"""A run on new orders of a few shoppers gives what a full run gives with the same model."""

import json
import shutil
from pathlib import Path

import duckdb
import pytest
from conftest import Place
from test_run import RANKS_HAVE_TIES_OR_HOLES, SAME

from ml.increment import AT_CUTOFF_0, OF_SHOPPERS, POPULATION
from ml.settings import ROOT

pytestmark = pytest.mark.slow

COMEBACKS, NEWCOMER, LEAVER, NEW_PRODUCT = 5, 300, 299, 999_999


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory, instacart_files: Path) -> tuple[Path, Path]:
    """The raw files of a day and of the next one.

    In between a few shoppers order again, one comes for the first time, one asks to be forgotten,
    and a product is bought that nobody knew.
    """
    before, after = (tmp_path_factory.mktemp(day) for day in ("before", "after"))
    for folder in (before, after):
        shutil.copytree(instacart_files, folder, dirs_exist_ok=True)
    with duckdb.connect() as con:
        con.execute(f"create table orders as from '{instacart_files}/orders.csv'")
        con.execute(f"create table lines as from '{instacart_files}/order_products__train.csv'")
        con.execute(f"create table prior as from '{instacart_files}/order_products__prior.csv'")
        con.execute(
            f"""
            create table came as
            select order_id from orders where user_id = {NEWCOMER}
            union
            (
                select order_id from orders
                where eval_set = 'train' and user_id < {LEAVER}
                order by user_id limit {COMEBACKS}
            )
            """
        )
        con.execute(f"create table left_us as select order_id from orders where user_id = {LEAVER}")
        con.execute(
            f"insert into lines select order_id, {NEW_PRODUCT}, 999, 0 from came "
            "semi join (select * from orders where eval_set = 'train') using (order_id) limit 1"
        )
        for folder, gone in ((before, "came"), (after, "left_us")):
            for table, name in (
                ("orders", "orders"),
                ("lines", "order_products__train"),
                ("prior", "order_products__prior"),
            ):
                con.execute(
                    f"copy (select * from {table} anti join {gone} using (order_id)) "
                    f"to '{folder}/{name}.csv'"
                )
    return before, after


@pytest.fixture(scope="module")
def incremented(tmp_path_factory: pytest.TempPathFactory, days: tuple[Path, Path]) -> Place:
    """A full run on the first day, and then a run on the next."""
    place = Place(tmp_path_factory.mktemp("incremented"))
    for day in days:
        summary = place.restock("run", "--source", "instacart", "--raw-dir", day)
        (place.folder / "summary.json").write_text(json.dumps(summary))
    return place


def test_only_the_shoppers_with_new_orders_are_scored(incremented: Place) -> None:
    summary = json.loads((incremented.folder / "summary.json").read_text())
    assert list(summary) == ["fetch", "update", "report"]
    assert summary["update"]["shoppers"] == COMEBACKS + 2
    theirs = incremented.query(
        "select count(*) from fct_predictions semi join ml.scored_shoppers "
        "on fct_predictions.user_id = scored_shoppers.user_id and is_since_training"
    )
    assert theirs == [(summary["update"]["rows"],)]


def test_the_table_is_that_of_a_full_run(
    incremented: Place, place: Place, days: tuple[Path, Path]
) -> None:
    """Everything built anew from the raw files; only model and population are the older ones."""
    arguments = ("--source", "instacart", "--raw-dir", days[1])
    place.restock("build", *arguments)
    with duckdb.connect(str(place.warehouse)) as con:
        con.execute(f"attach '{incremented.warehouse}' as older (read_only)")
        for table in POPULATION:
            con.execute(f"delete from {table}")
            con.execute(f"insert into {table} by name select * from older.{table}")
    place.call(
        *("dbt", "run", "--select", "+examples", "--exclude", "tag:population"),
        RESTOCK_SOURCE="instacart",
        RESTOCK_RAW_DIR=str(days[1]),
    ).check_returncode()
    shutil.copytree(incremented.folder / "models/production", place.folder / "models/production")
    place.restock("score", *arguments)
    assert place.query(SAME) == incremented.query(SAME)
    for table in OF_SHOPPERS:
        everything = f"select * from {table} order by all"
        assert place.query(everything) == incremented.query(everything), table
    for table in AT_CUTOFF_0:
        now = f"select * from {table} where cutoff = 0 order by all"
        assert place.query(now) == incremented.query(now), table
    for table in ("fct_baskets", "fct_demand", "fct_shoppers"):
        rows = f"select * exclude (batch_id) from {table} order by all"
        assert place.query(rows) == incremented.query(rows), table


def test_new_products_and_shoppers_are_scored_and_gone_ones_are_not(incremented: Place) -> None:
    scored = "select count(*) > 0 from fct_predictions where"
    assert incremented.query(f"{scored} product_id = {NEW_PRODUCT}") == [(True,)]
    assert incremented.query(f"{scored} user_id = {NEWCOMER}") == [(True,)]
    assert incremented.query(f"{scored} user_id = {LEAVER}") == [(False,)]
    assert incremented.query(RANKS_HAVE_TIES_OR_HOLES) == []


def test_the_batch_is_published_as_a_whole(incremented: Place) -> None:
    ((batch, rows),) = incremented.query(
        "select batch_id, rows from ml.batches order by started_at desc limit 1"
    )
    assert incremented.query("select batch_id, count(*) from fct_predictions group by 1") == [
        (batch, rows)
    ]
    assert incremented.query("select count(*) from ml.batches") == [(2,)]
    assert batch in (incremented.folder / "pages/index.html").read_text()


def test_what_a_model_learned_from_stays(incremented: Place, days: tuple[Path, Path]) -> None:
    """Nobody's test order moves under the figures that were measured on it."""
    assert incremented.query("select pair_count from rpt_test_summary") == incremented.query(
        "select count(*) from examples where cutoff = 1 and split = 'test'"
    )


def test_nothing_new_is_said_and_much_new_is_a_full_run(
    incremented: Place, place: Place, days: tuple[Path, Path], instacart_files: Path
) -> None:
    shutil.copytree(incremented.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    again = place.restock("run", "--source", "instacart", "--raw-dir", days[1])
    assert again["update"]["note"] == "0 of 299 shoppers have other orders than before"
    assert place.query(SAME) == incremented.query(SAME)
    other = place.restock(
        "run", "--source", "instacart", "--raw-dir", days[1], "--model", "logistic_regression"
    )
    assert other["update"]["is_full_run"] and "train" in other


def test_the_population_is_what_the_tag_says() -> None:
    tagged = {
        path.stem
        for path in (ROOT / "models").rglob("*.sql")
        if "tags=['population']" in path.read_text()
    }
    assert tagged == set(POPULATION)
