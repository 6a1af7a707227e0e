"""The audit passes a healthy run and detects each kind of damage."""

import re
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
import shops
from conftest import Once, Place

from ml.jobs.audit import separation

pytestmark = pytest.mark.slow


def test_a_healthy_run_passes_the_audit(published: Place) -> None:
    statuses = dict(published.query("select status, count(*) from ml.audit group by status"))
    assert "fail" not in statuses
    assert statuses["pass"] > 100


def test_audit_prints_a_summary_of_each_check(published: Place, place: Place) -> None:
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    done = place.call("restock", "audit", "--source", "instacart")
    assert done.returncode == 0
    assert "past lines at or after their target: at most 0" in done.stderr
    assert "single-column AUC: at most 0." in done.stderr


def options(place: Place) -> tuple[str, str, str, str]:
    return "--source", "order_log", "--raw-dir", str(place.folder / "raw")


def run(folder: Path, lines: list[shops.Line]) -> None:
    shops.write(folder / "raw", lines)
    done = Place(folder).call("restock", "run", *options(Place(folder)))
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stderr)


PREDICTABLE = {
    "standing_orders": lambda folder: run(folder, shops.standing_orders()),
    "deliveries": lambda folder: run(folder, shops.deliveries()),
}


def test_a_run_prints_one_line_about_the_audit(once: Once, place: Place) -> None:
    made = Place(once("standing_orders", PREDICTABLE["standing_orders"]))
    said = (made.folder / "said.txt").read_text()
    counts = dict(made.query("select status, count(*) from ml.audit group by status"))
    assert re.findall(r"  (audit: .*)", said) == [
        f"audit: {counts['pass']} checks passed, {counts['warn']} to look at "
        "(`restock audit` lists them)"
    ]
    assert "single-column AUC" not in said
    shutil.copytree(made.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    done = place.call("restock", "audit", *options(place))
    assert "single-column AUC: at most 1 (" in done.stderr
    assert re.search(r" pair_order_share: 1$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("name", PREDICTABLE)
def test_a_habit_is_published_and_a_leak_beside_it_fails(
    once: Once, place: Place, name: str
) -> None:
    """Where shoppers are predictable, honest columns separate the labels as well as a leak."""
    made = Place(once(name, PREDICTABLE[name]))
    assert (made.folder / "pages" / "index.html").exists()
    ((best, warned),) = made.query(
        """
        select max(value), count(*) filter (where status = 'warn') from ml.audit
        where check_name = 'single-column AUC'
        """
    )
    assert best > 0.95 and warned > 0
    for plant in (plant_the_label, plant_the_newest_label):
        shutil.rmtree(place.folder)
        shutil.copytree(made.folder, place.folder, symlinks=True)
        with duckdb.connect(str(place.warehouse)) as con:
            plant(con)
        done = place.call("restock", "audit", *options(place))
        assert done.returncode == 1
        assert "single-column AUC user_order_count: 1\n" in done.stderr
        assert done.stderr.count("single-column AUC") == 1, "a habit is not a leak"


def replace_in_view(con: duckdb.DuckDBPyConnection, view: str, old: str, new: str) -> None:
    ((sql,),) = con.execute(f"select sql from duckdb_views() where view_name = '{view}'").fetchall()
    assert old in sql
    con.execute(sql.replace("CREATE VIEW", "CREATE OR REPLACE VIEW").replace(old, new))


def plant_the_label(con: duckdb.DuckDBPyConnection) -> None:
    replace_in_view(con, "examples", "users.user_order_count", "label::int AS user_order_count")


def plant_the_newest_label(con: duckdb.DuckDBPyConnection) -> None:
    """At cutoff 1 only, as a feature does that reads the newest order."""
    honest = "users.user_order_count"
    leak = f"case when targets.cutoff = 1 then label::int else {honest} end AS user_order_count"
    replace_in_view(con, "examples", honest, leak)


def let_the_past_reach_the_target(con: duckdb.DuckDBPyConnection) -> None:
    replace_in_view(
        con,
        "past_items",
        "order_items.order_number < targets.order_number",
        "order_items.order_number <= targets.order_number",
    )


def split_by_row(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("update targets set split = 'train' where cutoff = 1 and split = 'validation'")


def lose_a_score(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("delete from ml.predictions where rank_in_user = 2")


def list_what_was_bought(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "insert into ml.discoveries by name select user_id, product_id from ml.predictions limit 1"
    )


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (plant_the_label, "single-column AUC user_order_count: 1"),
        (plant_the_newest_label, "AUC above cutoffs 2 and 3 user_order_count: 0."),
        (let_the_past_reach_the_target, "past lines at or after their target"),
        (split_by_row, "shoppers in two splits"),
        (lose_a_score, "pairs without a prediction"),
        (list_what_was_bought, "new products that the shopper bought before"),
    ],
)
def test_audit_detects_damage(published: Place, place: Place, damage, finding) -> None:  # type: ignore[no-untyped-def]
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    with duckdb.connect(str(place.warehouse)) as con:
        damage(con)
    done = place.call("restock", "audit", "--source", "instacart")
    assert done.returncode == 1
    assert finding in done.stderr
    ((newest,),) = place.query("select max(run_id) from ml.audit")
    assert place.query(
        f"select count(*) > 0 from ml.audit where run_id = '{newest}' and status = 'fail'"
    ) == [(True,)]


def test_separation_handles_both_directions_and_missing_values() -> None:
    label, offsets = np.array([0, 0, 1, 1], dtype=np.int8), np.array([0, 4])
    assert separation(np.array([1, 2, 3, 4], dtype=np.float32), label, offsets) == 1
    assert separation(np.array([4, 3, 2, 1], dtype=np.float32), label, offsets) == 1
    assert separation(np.array([np.nan, np.nan, 2, 1], dtype=np.float32), label, offsets) == 1
    assert separation(np.array([1, 2, 1, 2], dtype=np.float32), label, offsets) == 0.5


def test_one_shopper_with_many_products_does_not_look_like_a_leak() -> None:
    """Nine shoppers buy one of two products again; a tenth buys all of 1,000 and has column 1."""
    label = np.array([0, 1] * 9 + [1] * 1_000, dtype=np.int8)
    column = np.array([0] * 18 + [1] * 1_000, dtype=np.float32)
    offsets = np.array([*range(0, 20, 2), 1_018])
    assert separation(column, label, np.array([0, 1_018])) > 0.99
    # The positives weigh 5.5 shoppers: 1 ranks above all negatives and 4.5 tie with them.
    assert separation(column, label, offsets) == pytest.approx((1 + 4.5 / 2) / 5.5)
