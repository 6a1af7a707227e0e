"""One published table becomes one file: whole, with names, and over nothing of the user's."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from conftest import Place
from test_outputs import contents, refused

from ml.errors import RestockError, SettingsError
from ml.jobs import marketing, tables
from ml.settings import Settings

pytestmark = pytest.mark.slow

RANKED = {
    "recommendations": ("fct_recommendations", "rank_in_user"),
    "discoveries": ("fct_discoveries", "rank_in_user"),
    "predictions": ("fct_predictions", "rank_in_user"),
    "baskets": ("fct_baskets", "basket_position"),
}


def quietly(what: str, done: int, total: int) -> None:
    pass


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("table", RANKED)
def test_a_table_is_written_whole_with_names(table: str, published: Place, tmp_path: Path) -> None:
    model, rank = RANKED[table]
    out = tmp_path / "table.csv"
    summary = published.restock("export", table, "--out", out)["export"]
    rows = read(out)
    assert summary["rows"] == len(rows) > 0 and summary["path"] == str(out)
    assert list(rows[0])[:6] == [
        *("user_id", rank, "product_id", "product_name", "aisle", "department")
    ]
    assert set(rows[0]) - {"product_name", "aisle", "department"} == {
        name for (name,) in published.query(f"select column_name from (describe {model})")
    }
    found = [
        (int(row["user_id"]), int(row[rank]), int(row["product_id"]), row["product_name"])
        for row in rows
    ]
    assert found == published.query(
        f"select user_id, {rank}, product_id, product_name from {model} "
        f"inner join dim_products using (product_id) order by user_id, {rank}"
    )
    published.restock("export", table, "--out", tmp_path / "table", "--format", "parquet")
    assert pq.read_table(tmp_path / "table").column("product_id").to_pylist() == [
        product for _, _, product, _ in found
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"table.csv", "table"}


def test_what_cannot_be_exported_is_said(published: Place, place: Place) -> None:
    for table, reason in {"demand": "orders that have dates", "list": "that have times"}.items():
        done = published.call("restock", "export", table, "--out", place.folder / "out.csv")
        assert done.returncode == 1 and reason in done.stderr, done.stderr
    assert contents(place.folder) == {}


def test_export_rejects_what_makes_no_sense(place: Place) -> None:
    said = refused(place, "export", "basket", code=2)
    assert "'basket' is not one of" in said and "'baskets'" in said
    assert "--format" in refused(place, "export", "--format", "csv", "--out", "copy", code=2)
    assert "--to" in refused(place, "export", "list", "--to", "mongodb://host/shop", code=2)
    assert "does not exist" in refused(place, "export", "baskets", "--out", "a.csv", code=1)


# --- a made-up warehouse, to save time ------------------------------------------------------------


@pytest.fixture
def settings(place: Place) -> Settings:
    """The settings of a warehouse with demand, and with shoppers who may buy tomorrow."""
    with duckdb.connect(str(place.warehouse)) as con:
        con.execute(
            """
            create table fct_demand as select * from (values
                ('product', 7, 'dairy', 'milk', 'Milk, "2%"', 3.5),
                ('product', 8, 'dairy', 'milk', null, 9.0),
                ('aisle', null, 'dairy', 'milk', 'milk', 12.5)
            ) as rows (level, product_id, department, aisle, name, expected_units);

            create table fct_purchase_propensity as
            select
                i as user_id, timestamp '2024-03-04' as cutoff_at,
                timestamp '2024-03-05' as window_end_at, (1 / i)::float as purchase_probability,
                i as rank, 1 as decile, i % 10 = 0 as is_held_out, 'b1' as batch_id
            from range(1, 101) as numbers (i);

            create table moments as
            select i as user_id, i % 2 as cutoff, i <= 2 as is_robot
            from range(0, 101) as numbers (i);
            """
        )
    return Settings.load(warehouse=place.warehouse)


def test_demand_is_written_with_the_largest_first(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "demand.csv"
    result = tables.write(settings, quietly, table="fct_demand", out=out)
    assert result["rows"] == 3
    assert [(row["product_id"], row["name"]) for row in read(out)] == [
        *(("", "milk"), ("8", ""), ("7", 'Milk, "2%"'))
    ]


def test_a_list_is_the_same_from_both_commands_and_in_both_formats(
    settings: Settings, place: Place
) -> None:
    """The shopper 2 is a robot now; the shopper 1 was one."""
    of_list, of_export, parquet = (place.folder / name for name in ("a.csv", "b.csv", "c.parquet"))
    place.restock("list", "--out", of_list)
    place.restock("export", "list", "--out", of_export)
    place.restock("export", "list", "--out", parquet, "--format", "parquet")
    assert of_list.read_bytes() == of_export.read_bytes()
    users = [int(row["user_id"]) for row in read(of_list)]
    assert pq.read_table(parquet).column("user_id").to_pylist() == users
    p = {user: 1 / user for user in range(1, 101) if user != 2}
    assert users == sorted(p, key=lambda user: -p[user])[: len(users)]
    assert sum(p[user] for user in users) >= 0.95 * sum(p.values())
    assert sum(p[user] for user in users[:-1]) < 0.95 * sum(p.values())
    place.restock("list", "--size", "0", "--out", of_list)
    assert of_list.read_text() == ",".join(marketing.COLUMNS) + "\n"


THEIRS: dict[str, Callable[[Path], Any]] = {
    "columns": lambda path: path.write_text("product_id,units\n7,3\n"),
    "nothing": lambda path: path.touch(),
    "bytes": lambda path: path.write_bytes(b"\xff\0PAR1" * 99),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("format", ["csv", "parquet"])
@pytest.mark.parametrize("theirs", THEIRS)
def test_only_an_older_export_is_replaced(
    format: str, theirs: str, settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    THEIRS[theirs](out)
    before = contents(tmp_path)
    with pytest.raises(SettingsError, match="Refusing to overwrite"):
        tables.write(settings, quietly, table="fct_demand", out=out, format=format)
    assert contents(tmp_path) == before
    older = tmp_path / "older"
    for _ in range(2):
        tables.write(settings, quietly, table="fct_demand", out=older, format=format)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RestockError])
def test_a_failed_export_leaves_the_older_one(
    error: type[BaseException], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "demand.csv"
    tables.write(settings, quietly, table="fct_demand", out=out)
    before = contents(tmp_path)

    def fail(part: Path, target: Path) -> None:
        assert part.read_bytes() == out.read_bytes()
        raise error

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(error):
        tables.write(settings, quietly, table="fct_demand", out=out)
    assert contents(tmp_path) == before


def test_a_query_that_fails_leaves_nothing(settings: Settings, tmp_path: Path) -> None:
    """DuckDB has written rows when the last one fails."""
    query = "select error('stop') from range(1000000) as rows (i) where i > 999998"
    with duckdb.connect() as con, pytest.raises(duckdb.Error, match="stop"):
        tables.copy(con, query, tmp_path / "out.csv", "csv")
    with pytest.raises(OSError, match="no-folder"):
        tables.write(settings, quietly, table="fct_demand", out=tmp_path / "no-folder" / "out.csv")
    assert contents(tmp_path).keys() == {"restock.duckdb"}
