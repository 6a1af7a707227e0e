"""Landing keeps every raw row unchanged, or names the file, line and column that is wrong."""

from __future__ import annotations

import gzip
import json
import resource
import shutil
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz_sources import (
    Rows,
    lost_rows,
    read_csv,
    run,
    write_csv,
    write_instacart,
    write_large_instacart,
    write_order_log,
    write_order_log_parquet,
    write_order_log_with_returns,
)

from ml.errors import StorageError
from ml.sources import SOURCES, Intake, SourceError, fetch, land
from ml.sources.raw import RawFile

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "instacart"


@pytest.fixture
def instacart(tmp_path: Path) -> Path:
    return write_instacart(tmp_path / "raw")


@pytest.fixture
def order_log(tmp_path: Path) -> Path:
    return write_order_log(tmp_path / "raw")


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    return tmp_path / "landing"


def edit(path: Path, change: Callable[[Rows], Any]) -> None:
    """Change the rows of a csv in place, header first."""
    rows = read_csv(path)
    change(rows)
    write_csv(path, rows)


def put(line: int, column: str, value: str) -> Callable[[Rows], None]:
    """Return a change that sets a value in a line (the header is line 1)."""

    def change(rows: Rows) -> None:
        rows[line - 1][rows[0].index(column)] = value

    return change


def rejected(source: str, raw: Path, landing: Path) -> SourceError:
    """Check that landing fails and leaves no files behind; return the error."""
    before = sorted(landing.parent.rglob("*"))
    with pytest.raises(SourceError) as caught:
        land(source, raw, landing)
    assert sorted(landing.parent.rglob("*")) == before
    assert str(caught.value).endswith(".")
    return caught.value


def landed(landing: Path, table: str) -> list[dict[str, Any]]:
    return pq.read_table(landing / f"{table}.parquet").to_pylist()


def types(landing: Path, table: str) -> dict[str, str]:
    schema = pq.read_schema(landing / f"{table}.parquet")
    return {field.name: str(field.type) for field in schema}


# --- landed rows and types ------------------------------------------------------------------------


def test_lands_every_instacart_row_with_its_types(instacart: Path, landing: Path) -> None:
    intake = land("instacart", instacart, landing)

    rows = {file.name: file.rows for file in intake.files}
    assert rows == {path.name: len(read_csv(path)) - 1 for path in instacart.iterdir()}
    assert lost_rows("instacart", instacart, landing) == 0
    assert types(landing, "orders") == {
        "order_id": "int64",
        "user_id": "int64",
        "eval_set": "string",
        "order_number": "int16",
        "order_dow": "int16",
        "order_hour_of_day": "int16",
        "days_since_prior_order": "double",
    }
    assert types(landing, "order_products") == {
        "order_id": "int64",
        "product_id": "int64",
        "add_to_cart_order": "int16",
        "reordered": "int16",
        "part": "uint16",
    }
    assert len(landed(landing, "order_products")) == (
        rows["order_products__prior.csv"] + rows["order_products__train.csv"]
    )


@pytest.mark.parametrize("write", [write_order_log, write_order_log_parquet])
def test_lands_every_order_log_row_with_its_types(
    write: Callable[[Path], Path], tmp_path: Path, landing: Path
) -> None:
    raw = write(tmp_path / "raw")
    land("order_log", raw, landing)

    assert lost_rows("order_log", raw, landing) == 0
    assert types(landing, "order_lines") == {
        "user_id": "string",
        "order_id": "int64",
        "ordered_at": "timestamp[us]",
        "is_timed": "bool",
        "product_id": "int64",
        "cart_position": "int32",
        **dict.fromkeys(("quantity", "price", "sales_value"), "decimal128(18, 4)"),
    }
    names = {"product_name": "string", "aisle": "string", "department": "string"}
    assert types(landing, "products") == {"product_id": "int64", **names}
    assert len(landed(landing, "products")) == (9 if write is write_order_log else 0)


@pytest.mark.slow
def test_complete_journey_is_fetched_once_and_landed(tmp_path: Path, landing: Path) -> None:
    raw = tmp_path / "raw"
    fetch("complete_journey", raw)
    written = {path.name: path.stat().st_mtime_ns for path in raw.iterdir()}
    assert set(written) == {"order_lines.parquet", "products.parquet", "promotions.parquet"}
    fetch("complete_journey", raw)
    assert written == {path.name: path.stat().st_mtime_ns for path in raw.iterdir()}

    intake = land("complete_journey", raw, landing)
    assert [file.rows for file in intake.files] == [1_469_307, 92_331, 23_311_365]
    with duckdb.connect() as con:
        weeks = con.execute(
            f"select starts_on, ends_on, count(*) > 0 from '{landing}/promotions.parquet' "
            "group by all order by all"
        ).fetchall()
    assert len(weeks) == 53
    assert weeks[0][:2] == (date(2016, 12, 26), date(2017, 1, 1))
    assert weeks[-1][:2] == (date(2017, 12, 25), date(2017, 12, 31))
    products = {row["product_id"]: row for row in landed(landing, "products")}
    assert products[25671]["product_name"] == "Ice - crushed/cubed, 22 lb"
    assert products[25671]["aisle"] == "Frzn ice"
    assert products[26081]["product_name"] is None


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"{SAMPLE} is not there")
def test_lands_every_row_of_the_real_instacart_sample(landing: Path) -> None:
    intake = land("instacart", SAMPLE, landing)
    assert {file.name: file.rows for file in intake.files} == {
        "orders.csv": 30_550,
        "order_products__prior.csv": 288_575,
        "order_products__train.csv": 6_936,
        "products.csv": 49_688,
        "aisles.csv": 134,
        "departments.csv": 21,
    }


def test_rejects_a_row_count_that_differs_from_duckdb(
    instacart: Path, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in ("count_lines", "count_rows"):
        monkeypatch.setattr(RawFile, count, lambda file: 17)
    error = rejected("instacart", instacart, landing)
    assert "Restock counted 17 rows" in str(error)


# --- harmless differences -------------------------------------------------------------------------


def gzipped(raw: Path) -> None:
    for path in list(raw.iterdir()):
        raw.joinpath(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def zipped_each(raw: Path) -> None:
    for path in list(raw.iterdir()):
        with zipfile.ZipFile(raw / f"{path.stem}.zip", "w") as archive:
            archive.write(path, path.name)
        path.unlink()


def zipped_together(raw: Path) -> None:
    with zipfile.ZipFile(raw / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(raw.glob("*.csv"), reverse=True):
            archive.write(path, f"instacart_2017_05_01/{path.name}")
            archive.writestr(f"__MACOSX/._{path.name}", b"\0junk")
            path.unlink()


def zipped_like_kaggle(raw: Path) -> None:
    with zipfile.ZipFile(raw / "instacart-market-basket-analysis.zip", "w") as archive:
        for path in list(raw.glob("*.csv")):
            with zipfile.ZipFile(raw / f"{path.name}.zip", "w") as inner:
                inner.write(path, path.name)
            archive.write(raw / f"{path.name}.zip", f"{path.name}.zip")
            path.unlink()
            raw.joinpath(f"{path.name}.zip").unlink()
        archive.writestr("sample_submission.csv.zip", b"ignored")


def columns_moved_and_added(raw: Path) -> None:
    for path in raw.iterdir():
        edit(path, lambda rows: rows.__setitem__(slice(None), [["é", *row[::-1]] for row in rows]))


def every_file(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def changed(raw: Path) -> None:
        for path in raw.iterdir():
            path.write_bytes(change(path.read_bytes()))

    return changed


HARMLESS = {
    "gzip": gzipped,
    "one zip per file": zipped_each,
    "one zip with a folder": zipped_together,
    "zips in a zip": zipped_like_kaggle,
    "columns moved and added": columns_moved_and_added,
    "byte order mark": every_file(lambda data: b"\xef\xbb\xbf" + data),
    "CRLF": every_file(lambda data: data.replace(b"\n", b"\r\n")),
    "no final line ending": every_file(lambda data: data[:-1]),
    "blank lines": every_file(lambda data: data.replace(b"\n", b"\n\n") + b"\n"),
    "an unrelated file": lambda raw: raw.joinpath("notes.txt").write_text("hello"),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_differences_do_not_change_the_landed_rows(
    name: str, instacart: Path, tmp_path: Path
) -> None:
    plain = land("instacart", instacart, tmp_path / "plain")
    HARMLESS[name](instacart)
    other = land("instacart", instacart, tmp_path / "other")
    assert other.fingerprint == plain.fingerprint
    assert sorted(file.rows for file in other.files) == sorted(file.rows for file in plain.files)
    assert not (tmp_path / "other" / "scratch").exists()


def test_product_names_keep_quotes_and_line_breaks(instacart: Path, landing: Path) -> None:
    name = 'Easy Grab 9\\"x13\\" Dish,\r\nblue\n'  # Kaggle's file has such quotes
    edit(instacart / "products.csv", put(3, "product_name", name))
    land("instacart", instacart, landing)
    assert landed(landing, "products")[1]["product_name"] == name

    edit(instacart / "products.csv", put(3, "aisle_id", "x"))
    assert rejected("instacart", instacart, landing).line == 3
    edit(instacart / "products.csv", put(3, "aisle_id", "1"))
    edit(instacart / "products.csv", put(4, "aisle_id", "x"))
    assert rejected("instacart", instacart, landing).line == 6  # two line breaks above


def test_folder_names_may_contain_special_characters(tmp_path: Path) -> None:
    raw, landing = tmp_path / "it's [1] *raw*", tmp_path / "it's [1] *landed*"
    write_order_log_parquet(raw)
    write_order_log_parquet(tmp_path / "it's 1 raw", seed=5)  # what the name would match as a glob
    land("order_log", raw, landing)
    assert lost_rows("order_log", raw, landing) == 0


def test_one_thread_lands_and_locates_the_rows_of_two_files(tmp_path: Path, landing: Path) -> None:
    """DuckDB then writes the last rows of the prior file after the first of the train file."""
    raw = write_large_instacart(tmp_path / "raw")
    land("instacart", raw, landing, threads=1)
    lines = pq.read_table(landing / "order_products.parquet").to_pandas()
    assert not lines["part"].is_monotonic_increasing, "the two files are no longer mixed"
    for part, name in enumerate(("prior", "train")):
        rows = read_csv(raw / f"order_products__{name}.csv")
        of_file = lines[lines["part"] == part][rows[0]]
        assert of_file.values.tolist() == [[int(value) for value in row] for row in rows[1:]]

    for name in ("prior", "train"):
        shutil.copytree(raw, tmp_path / name)
        path = tmp_path / name / f"order_products__{name}.csv"
        last = len(read_csv(path))
        edit(path, put(last - 3, "reordered", "x"))
        with pytest.raises(SourceError) as caught:
            land("instacart", tmp_path / name, landing, threads=1)
        assert (caught.value.file, caught.value.line) == (path.name, last - 3)


def test_accepts_a_product_without_a_catalogue_row(instacart: Path, landing: Path) -> None:
    edit(instacart / "products.csv", lambda rows: rows.pop())
    edit(instacart / "products.csv", put(2, "aisle_id", "99"))
    land("instacart", instacart, landing)
    assert lost_rows("instacart", instacart, landing) == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_lands_the_purchases_that_were_not_returned(
    seed: int, tmp_path: Path, landing: Path
) -> None:
    raw = write_order_log_with_returns(tmp_path / "raw", shoppers=300, seed=seed)
    land("order_log", raw, landing)
    assert lost_rows("order_log", raw, landing) == 0
    units = [row["quantity"] for row in landed(landing, "order_lines")]
    assert None in units and any(n and n % 1 for n in units)
    assert len(units) < len(read_csv(raw / "order_lines.csv")) / 1.2


def test_accepts_a_repeated_line_in_an_order_log(order_log: Path, landing: Path) -> None:
    edit(order_log / "order_lines.csv", lambda rows: rows.append(rows[-1]))
    land("order_log", order_log, landing)
    assert lost_rows("order_log", order_log, landing) == 0


# --- files that cannot be read --------------------------------------------------------------------


def delete(raw: Path, name: str) -> None:
    raw.joinpath(name).unlink()


def test_rejects_a_missing_or_empty_folder(tmp_path: Path, landing: Path) -> None:
    for source in ("instacart", "order_log"):
        for folder in (tmp_path / "nowhere", tmp_path):
            with pytest.raises(SourceError, match=r"Put these files there .*\.csv") as caught:
                fetch(source, folder)
            assert caught.value.file == str(folder)
            assert str(rejected(source, folder, landing)) == str(caught.value)


def test_rejects_an_unknown_source(tmp_path: Path) -> None:
    for call in (lambda: fetch("kaggle", tmp_path), lambda: land("kaggle", tmp_path, tmp_path)):
        with pytest.raises(SourceError, match=r'"kaggle".* complete_journey, instacart, order_log'):
            call()
    assert SOURCES == ("complete_journey", "instacart", "order_log")


@pytest.mark.parametrize(
    "name",
    sorted(
        path + ".csv"
        for path in (
            "orders",
            "order_products__prior",
            "order_products__train",
            "products",
            "aisles",
            "departments",
        )
    ),
)
@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (delete, "is missing"),
        (lambda raw, name: raw.joinpath(name).write_bytes(b""), "no header"),
        (lambda raw, name: raw.joinpath(name).write_bytes(b"\n"), "no header"),
        (
            lambda raw, name: edit(raw / name, lambda rows: rows.__delitem__(slice(1, None))),
            "no rows",
        ),
        (lambda raw, name: edit(raw / name, lambda rows: rows.pop(0)), "first line: "),
    ],
)
def test_rejects_a_missing_or_empty_file(
    damage: Callable[[Path, str], None], problem: str, name: str, instacart: Path, landing: Path
) -> None:
    damage(instacart, name)
    error = rejected("instacart", instacart, landing)
    assert error.file == name
    assert problem in str(error)


def test_rejects_two_copies_of_a_file(instacart: Path, landing: Path) -> None:
    plain = instacart / "orders.csv"
    instacart.joinpath("orders.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert "orders.csv and orders.csv.gz" in str(rejected("instacart", instacart, landing))


def test_rejects_a_folder_in_place_of_a_file(order_log: Path, landing: Path) -> None:
    order_log.joinpath("products.parquet").mkdir()  # as Spark writes it
    error = rejected("order_log", order_log, landing)
    assert error.file == "products.parquet"
    assert "this is not a file" in str(error)


@pytest.mark.parametrize("pack", [gzipped, zipped_each, zipped_together, zipped_like_kaggle])
@pytest.mark.parametrize("damage", ["truncated", "corrupted"])
def test_rejects_a_damaged_archive(
    pack: Callable[[Path], None], damage: str, instacart: Path, landing: Path
) -> None:
    pack(instacart)
    path = max(instacart.iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        del data[len(data) // 2 :]
    else:
        for at in range(len(data) // 4, len(data) * 3 // 4, len(data) // 40):
            data[at] ^= 0x55
    path.write_bytes(data)
    error = rejected("instacart", instacart, landing)
    assert error.file and error.file.startswith(path.name)
    assert "cannot be unpacked" in str(error)


def raw_line(text: bytes) -> Callable[[Path], None]:
    """Return a change that inserts a line after line 4 of a file."""

    def damage(path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:4], text, *lines[4:]]))

    return damage


MALFORMED = {
    "too few values": (raw_line(b"77,Tea\n"), 5, "the header has 4 columns, but this line has 2"),
    "too many values": (raw_line(b"77,Tea,1,1,1\n"), 5, "this line has 5"),
    "an unclosed quote": (raw_line(b'77,"Tea,1,1\n'), 5, "quoted value"),
    "text after a closing quote": (raw_line(b'77,"Tea"s,1,1\n'), 5, "quoted value"),
    "not UTF-8": (raw_line(b"77,Caf\xe9,1,1\n"), 5, "not UTF-8"),
    "another line ending": (raw_line(b"77,Tea,1,1\r\n"), 5, "different line endings"),
    "truncated within a line": (
        lambda path: path.write_bytes(path.read_bytes()[:-3]),
        10,
        "truncated",
    ),
    "UTF-16": (lambda path: path.write_bytes(path.read_text().encode("utf-16")), None, "not UTF-8"),
    "an endless line": (raw_line(b"77," + b"x" * 3_000_000 + b"\n"), 5, "2 MB"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_rejects_a_malformed_csv(name: str, instacart: Path, landing: Path) -> None:
    damage, line, problem = MALFORMED[name]
    damage(instacart / "products.csv")
    error = rejected("instacart", instacart, landing)
    assert (error.file, error.line) == ("products.csv", line)
    assert problem in str(error)


@pytest.mark.parametrize(
    ("header", "column", "advice"),
    [
        ("orderid,product_id,add_to_cart_order,reordered", "order_id", "Rename 'orderid' to"),
        ("Order_ID,product_id,add_to_cart_order,reordered", "order_id", "Rename 'Order_ID' to"),
        ("order_id,product_id,add_to_cart_order,x", "reordered", "Add a column 'reordered'"),
        ("order_id,product_id,add_to_cart_order,order_id", "order_id", "Rename or remove one"),
        ("order_id;product_id;add_to_cart_order;reordered", "order_id", "with commas"),
    ],
)
def test_rejects_a_missing_or_misnamed_column(
    header: str, column: str, advice: str, instacart: Path, landing: Path
) -> None:
    edit(
        instacart / "order_products__prior.csv", lambda rows: rows.__setitem__(0, header.split(","))
    )
    error = rejected("instacart", instacart, landing)
    assert (error.file, error.column) == ("order_products__prior.csv", column)
    assert advice in str(error)


def test_rejects_a_misspelt_optional_column(order_log: Path, landing: Path) -> None:
    edit(order_log / "order_lines.csv", put(1, "cart_position", "Cart Positon"))
    error = rejected("order_log", order_log, landing)
    assert "Rename 'Cart Positon' to 'cart_position'" in str(error)


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "column", "value"),
    [
        *(("orders.csv", "order_id", value) for value in ("", "x", "1.5", "1e3", " 7", "7 ", "+7")),
        *(("orders.csv", "order_id", value) for value in ("007", "-0", "1_0", "0x1F", "9" * 19)),
        ("orders.csv", "user_id", "12.0"),
        ("orders.csv", "eval_set", "Prior"),
        ("orders.csv", "eval_set", ""),
        ("orders.csv", "order_number", "0"),
        ("orders.csv", "order_number", "40000"),
        ("orders.csv", "order_dow", "7"),
        ("orders.csv", "order_dow", "-1"),
        ("orders.csv", "order_hour_of_day", "24"),
        *(("orders.csv", "days_since_prior_order", v) for v in ("-1.0", "x", "nan", "inf", "4000")),
        ("order_products__prior.csv", "product_id", ""),
        ("order_products__prior.csv", "add_to_cart_order", "0"),
        ("order_products__train.csv", "reordered", "2"),
        ("products.csv", "product_name", ""),
        ("products.csv", "department_id", "fresh"),
        ("aisles.csv", "aisle", ""),
    ],
)
def test_rejects_an_invalid_instacart_value(
    file: str, column: str, value: str, instacart: Path, landing: Path
) -> None:
    line = 2 if file == "aisles.csv" else 4
    edit(instacart / file, put(line, column, value))
    error = rejected("instacart", instacart, landing)
    assert (error.file, error.line, error.column) == (file, line, column)
    assert f'"{value}"' in str(error) if value else "an empty value" in str(error)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(
            ("user_id", v)
            for v in ("", " u1", "u1\t", "3.12E+10", "12.0", "NULL", "nan", "user_id")
        ),
        ("order_id", ""),
        ("product_id", ""),
        *(("ordered_at", v) for v in ("", "31/03/2024", "2024-02-30", "2024-03-01 25:00:00")),
        *(
            ("ordered_at", v)
            for v in ("0001-01-01", "9999-12-31", "1711900000", "2024-3-1", "epoch")
        ),
        *(("cart_position", value) for value in ("0", "-1", "1.5", "x", "99999999999")),
    ],
)
def test_rejects_an_invalid_order_log_value(
    column: str, value: str, order_log: Path, landing: Path
) -> None:
    edit(order_log / "order_lines.csv", put(4, column, value))
    error = rejected("order_log", order_log, landing)
    assert (error.file, error.line, error.column) == ("order_lines.csv", 4, column)


@pytest.mark.parametrize("written", ["08", "8.0", "008", "8.00"])
def test_reads_counts_with_leading_zeros_or_decimals(
    written: str, instacart: Path, landing: Path
) -> None:
    edit(instacart / "orders.csv", put(4, "order_hour_of_day", written))
    land("instacart", instacart, landing)
    assert landed(landing, "orders")[2]["order_hour_of_day"] == 8


def test_reports_the_first_invalid_row(instacart: Path, landing: Path) -> None:
    edit(instacart / "orders.csv", put(9, "order_id", "x"))
    edit(instacart / "orders.csv", put(5, "order_dow", "8"))
    assert rejected("instacart", instacart, landing).line == 5


# --- rows that contradict each other --------------------------------------------------------------


def orders_of(raw: Path, eval_set: str) -> list[int]:
    """Return the lines of orders.csv with this eval_set."""
    rows = read_csv(raw / "orders.csv")
    return [line for line, row in enumerate(rows, 1) if row[2] == eval_set]


def duplicate_order_id(raw: Path) -> tuple[str, int, str]:
    rows = read_csv(raw / "orders.csv")
    edit(raw / "orders.csv", put(9, "order_id", rows[2][0]))
    return "orders.csv", 9, f"order_id {rows[2][0]} appears twice"


def duplicate_order_number(raw: Path) -> tuple[str, int, str]:
    edit(raw / "orders.csv", put(4, "order_number", "2"))
    return "orders.csv", 4, "shopper 1 has two orders with order_number 2"


def gap_in_order_numbers(raw: Path) -> tuple[str, int, str]:
    rows = read_csv(raw / "orders.csv")
    last = max(line for line, row in enumerate(rows, 1) if row[1] == "1")
    edit(raw / "orders.csv", put(last, "order_number", "90"))
    return "orders.csv", last, "have a gap"


def first_order_with_days(raw: Path) -> tuple[str, int, str]:
    edit(raw / "orders.csv", put(2, "days_since_prior_order", "7.0"))
    return "orders.csv", 2, '"7.0" does not match order_number'


def later_order_without_days(raw: Path) -> tuple[str, int, str]:
    edit(raw / "orders.csv", put(3, "days_since_prior_order", ""))
    return "orders.csv", 3, "an empty value does not match order_number"


def open_order_before_the_newest(raw: Path) -> tuple[str, int, str]:
    edit(raw / "orders.csv", put(3, "eval_set", "test"))
    return "orders.csv", 3, "shopper 1 has a later one"


def order_line_without_an_order(raw: Path) -> tuple[str, int, str]:
    edit(raw / "order_products__prior.csv", put(7, "order_id", "999999"))
    return "order_products__prior.csv", 7, "order_id 999999 is not in orders.csv"


def truncated_orders(raw: Path) -> tuple[str, int, str]:
    edit(raw / "orders.csv", lambda rows: rows.pop())  # shopper 20's open order has no lines
    order = read_csv(raw / "orders.csv")[-1][0]
    edit(raw / "orders.csv", lambda rows: rows.pop())
    lines = [row[0] for row in read_csv(raw / "order_products__prior.csv")]
    return "order_products__prior.csv", lines.index(order) + 1, "not in orders.csv"


def truncated_order_lines(raw: Path) -> tuple[str, int, str]:
    last = read_csv(raw / "order_products__train.csv")[-1][0]
    edit(
        raw / "order_products__train.csv",
        lambda rows: rows.__setitem__(slice(None), [row for row in rows if row[0] != last]),
    )
    orders = [row[0] for row in read_csv(raw / "orders.csv")]
    return "orders.csv", orders.index(last) + 1, f"train order {last} has no lines"


def invalid_value_in_the_second_file(raw: Path) -> tuple[str, int, str]:
    edit(raw / "order_products__train.csv", put(2, "reordered", "x"))
    return "order_products__train.csv", 2, '"x" is not 0 or 1'


def duplicate_order_line(raw: Path) -> tuple[str, int, str]:
    edit(raw / "order_products__train.csv", lambda rows: rows.insert(2, rows[1]))
    order, product, *_ = read_csv(raw / "order_products__train.csv")[1]
    return "order_products__train.csv", 3, f"order {order} has product {product} twice"


def order_lines_of_an_open_order(raw: Path) -> tuple[str, int, str]:
    order = read_csv(raw / "orders.csv")[orders_of(raw, "test")[0] - 1][0]
    edit(raw / "order_products__prior.csv", lambda rows: rows.insert(5, [order, "1", "1", "0"]))
    return "order_products__prior.csv", 6, f"order {order} has eval_set test"


def order_lines_in_the_wrong_file(raw: Path) -> tuple[str, int, str]:
    prior, train = (raw / f"order_products__{name}.csv" for name in ("prior", "train"))
    order = read_csv(train)[1][0]
    moved = [row for row in read_csv(train) if row[0] == order]
    line = len(read_csv(prior)) + 1
    edit(prior, lambda rows: rows.extend(moved))
    edit(train, lambda rows: rows.__delitem__(slice(1, 1 + len(moved))))
    return prior.name, line, f"order {order} has eval_set train, but this file is for prior"


def duplicate_product(raw: Path) -> tuple[str, int, str]:
    edit(raw / "products.csv", lambda rows: rows.append(["3", "Tea", "1", "1"]))
    return "products.csv", len(read_csv(raw / "products.csv")), "product_id 3 appears twice"


def duplicate_aisle(raw: Path) -> tuple[str, int, str]:
    edit(raw / "aisles.csv", lambda rows: rows.append(["1", "tea"]))
    return "aisles.csv", 3, "aisle_id 1 appears twice"


def duplicate_department(raw: Path) -> tuple[str, int, str]:
    edit(raw / "departments.csv", lambda rows: rows.append(["1", "tea"]))
    return "departments.csv", 3, "department_id 1 appears twice"


@pytest.mark.parametrize(
    "damage",
    [
        duplicate_order_id,
        duplicate_order_number,
        gap_in_order_numbers,
        first_order_with_days,
        later_order_without_days,
        open_order_before_the_newest,
        order_line_without_an_order,
        truncated_orders,
        truncated_order_lines,
        invalid_value_in_the_second_file,
        duplicate_order_line,
        order_lines_of_an_open_order,
        order_lines_in_the_wrong_file,
        duplicate_product,
        duplicate_aisle,
        duplicate_department,
    ],
)
def test_rejects_instacart_rows_that_contradict_each_other(
    damage: Callable[[Path], tuple[str, int, str]], instacart: Path, landing: Path
) -> None:
    file, line, problem = damage(instacart)
    error = rejected("instacart", instacart, landing)
    assert (error.file, error.line) == (file, line)
    assert problem in str(error)


@pytest.mark.parametrize("extreme", [min, max])
def test_finds_a_duplicate_in_any_slice(
    extreme: Callable[[list[int]], int],
    instacart: Path,
    landing: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ml.sources.instacart._LINES_IN_SLICE", 10)
    path = instacart / "order_products__prior.csv"
    orders = [int(row[0]) for row in read_csv(path)[1:]]
    first = orders.index(extreme(orders)) + 1
    edit(path, lambda rows: rows.append(rows[first]))
    assert rejected("instacart", instacart, landing).line == len(orders) + 2


def test_rejects_an_order_of_two_shoppers(order_log: Path, landing: Path) -> None:
    edit(order_log / "order_lines.csv", put(3, "user_id", "u99"))
    error = rejected("order_log", order_log, landing)
    assert (error.file, error.column) == ("order_lines.csv", "order_id")
    assert "order 1 belongs to two shoppers, u1 and u99" in str(error)


def test_rejects_a_product_listed_twice_in_the_catalogue(order_log: Path, landing: Path) -> None:
    edit(order_log / "products.csv", lambda rows: rows.append(rows[1]))
    error = rejected("order_log", order_log, landing)
    assert (error.file, error.line, error.column) == ("products.csv", 11, "product_id")


# --- ids and times of an order log ----------------------------------------------------------------


def land_log(tmp_path: Path, lines: Rows, products: Rows | None = None) -> Path:
    raw, landing = tmp_path / "log", tmp_path / "landed"
    shutil.rmtree(raw, ignore_errors=True)
    raw.mkdir()
    write_csv(
        raw / "order_lines.csv", [["user_id", "order_id", "ordered_at", "product_id"], *lines]
    )
    if products is not None:
        write_csv(raw / "products.csv", [["product_id", "product_name"], *products])
    land("order_log", raw, landing)
    return landing


@pytest.mark.parametrize(
    ("in_lines", "in_products", "type_"),
    [
        (["1", "-22"], ["1"], "int64"),
        (["1", "22"], ["A1", "22"], "string"),
        (["1", "A22"], ["1"], "string"),
        (["1", "022"], ["1"], "string"),
        (["1", "9" * 19], ["1"], "string"),
        (["1", "22"], None, "int64"),
    ],
)
def test_product_ids_have_the_same_type_in_both_tables(
    in_lines: list[str], in_products: list[str] | None, type_: str, tmp_path: Path
) -> None:
    lines = [["7", "5", "2024-01-01", product] for product in in_lines]
    products = None if in_products is None else [[product, "Tea"] for product in in_products]
    landing = land_log(tmp_path, lines, products)
    assert types(landing, "order_lines")["product_id"] == type_
    assert types(landing, "products")["product_id"] == type_
    assert [str(row["product_id"]) for row in landed(landing, "order_lines")] == in_lines
    assert types(landing, "order_lines")["user_id"] == "int64"


@pytest.mark.parametrize(
    ("texts", "expected", "timed"),
    [
        (["2024-03-31"], ["2024-03-31 00:00:00"], [False]),
        (["2024-03-31T18:05:00"], ["2024-03-31 18:05:00"], [True]),
        (["2024-03-31 18:05"], ["2024-03-31 18:05:00"], [True]),
        (["2024-03-31 18:05:00.25"], ["2024-03-31 18:05:00.250000"], [True]),
        (["2024-03-31T18:05:00Z"], ["2024-03-31 18:05:00"], [True]),
        (["2024-03-31T01:05:00+02:00"], ["2024-03-31 01:05:00"], [True]),
        (["2024-03-31T20:05:00-0530"], ["2024-03-31 20:05:00"], [True]),
        (["2024-03-31T18:05:00Z", "2024-03-31 18:05+02"], ["2024-03-31 18:05"] * 2, [True] * 2),
        # If every row is at midnight, the export added the time to a date.
        (["2024-03-31 00:00:00", "2024-04-01 00:00"], ["2024-03-31", "2024-04-01"], [False] * 2),
        (["2024-03-31T00:00:00+02:00"], ["2024-03-31"], [False]),
        (["2024-03-31 00:00", "2024-04-01 09:00"], ["2024-03-31", "2024-04-01 09"], [True] * 2),
        (["2024-03-31", "2024-04-01 09:00"], ["2024-03-31", "2024-04-01 09"], [False, True]),
    ],
)
def test_reads_dates_and_times(
    texts: list[str], expected: list[str], timed: list[bool], tmp_path: Path
) -> None:
    landing = land_log(tmp_path, [["7", str(n), text, "1"] for n, text in enumerate(texts)])
    rows = landed(landing, "order_lines")
    assert [row["ordered_at"] for row in rows] == [datetime.fromisoformat(at) for at in expected]
    assert [row["is_timed"] for row in rows] == timed


def test_rejects_times_with_and_without_offset_in_one_file(tmp_path: Path) -> None:
    texts = ["2024-03-31T18:05:00Z", "2024-03-31", "2024-03-31T18:05:00"]
    with pytest.raises(SourceError, match="has no UTC offset") as caught:
        land_log(tmp_path, [["7", str(n), text, "1"] for n, text in enumerate(texts)])
    assert (caught.value.line, caught.value.column) == (4, "ordered_at")


def write_log_parquet(raw: Path, **columns: pa.Array) -> Path:
    """Write an order log of two lines, with these columns in place of the default ones."""
    default = {
        "user_id": pa.array([1, 1]),
        "order_id": pa.array([1, 2]),
        "ordered_at": pa.array([datetime(2024, 1, 1, 8), datetime(2024, 1, 2, 9)]),
        "product_id": pa.array([1, 1]),
    }
    raw.mkdir(exist_ok=True)
    pq.write_table(pa.table({**default, **columns}), raw / "order_lines.parquet")
    return raw


DATES = [date(2024, 1, 1), date(2024, 1, 2)]
TIMES = [datetime(2024, 1, 1, 8), datetime(2024, 1, 2, 9)]


@pytest.mark.parametrize(
    ("column", "values", "type_"),
    [
        ("order_id", pa.array([1, 2], pa.uint32()), "int64"),
        ("order_id", pa.array([1, 2], pa.decimal128(38, 0)), "int64"),
        ("order_id", pa.array(["1", "2"]), "string"),  # text stays text
        ("order_id", pa.array(["1", "2"]).dictionary_encode(), "string"),
        ("ordered_at", pa.array(DATES, pa.date32()), "timestamp[us]"),
        ("ordered_at", pa.array(TIMES, pa.timestamp("ns", "Europe/Amsterdam")), "timestamp[us]"),
        ("ordered_at", pa.array(["2024-01-01", "2024-01-02T10:00:00"]), "timestamp[us]"),
        ("cart_position", pa.array([1, None], pa.int8()), "int32"),
    ],
)
def test_accepts_these_parquet_types(
    column: str, values: pa.Array, type_: str, tmp_path: Path, landing: Path
) -> None:
    land("order_log", write_log_parquet(tmp_path / "raw", **{column: values}), landing)
    assert types(landing, "order_lines")[column] == type_
    assert [str(row[column])[:10] for row in landed(landing, "order_lines")] == [
        str(value)[:10] for value in values.to_pylist()
    ]


def test_accepts_float_cart_positions_as_pandas_writes_them(tmp_path: Path, landing: Path) -> None:
    positions = pa.array([1.0, None])
    land("order_log", write_log_parquet(tmp_path / "raw", cart_position=positions), landing)
    assert [row["cart_position"] for row in landed(landing, "order_lines")] == [1, None]


@pytest.mark.parametrize(
    ("column", "values", "row"),
    [
        ("user_id", pa.array([1.0, 2.0]), None),
        ("order_id", pa.array([True, False]), None),
        ("product_id", pa.array([b"a", b"b"]), None),
        ("ordered_at", pa.array([1_711_900_000, 1_711_900_001]), None),
        ("cart_position", pa.array([1.5, None]), 1),
        ("user_id", pa.array([1, None]), 2),
        ("ordered_at", pa.array([datetime(2024, 1, 1, 8), datetime(2206, 1, 1)]), 2),
        ("cart_position", pa.array([1, 0]), 2),
    ],
)
def test_rejects_a_parquet_column_with_a_wrong_type_or_value(
    column: str, values: pa.Array, row: int | None, tmp_path: Path, landing: Path
) -> None:
    error = rejected("order_log", write_log_parquet(tmp_path / "raw", **{column: values}), landing)
    assert (error.file, error.line, error.column) == ("order_lines.parquet", row, column)


@pytest.mark.parametrize("data", [b"", b"user_id,order_id\n", "truncated"])
def test_rejects_a_damaged_parquet_file(data: bytes | str, tmp_path: Path, landing: Path) -> None:
    path = write_log_parquet(tmp_path / "raw") / "order_lines.parquet"
    path.write_bytes(data if isinstance(data, bytes) else path.read_bytes()[:-20])
    error = rejected("order_log", path.parent, landing)
    assert error.file == "order_lines.parquet"
    assert "not valid Parquet" in str(error)


def test_rejects_a_parquet_file_without_rows(tmp_path: Path, landing: Path) -> None:
    raw = write_log_parquet(tmp_path / "raw")
    pq.write_table(pq.read_table(raw / "order_lines.parquet")[:0], raw / "order_lines.parquet")
    assert "no rows" in str(rejected("order_log", raw, landing))


# --- the landing folder ---------------------------------------------------------------------------


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_unchanged_files_are_not_landed_again(instacart: Path, landing: Path) -> None:
    first = land("instacart", instacart, landing)
    before = stamps(landing)
    assert land("instacart", instacart, landing) == first
    assert stamps(landing) == before
    assert Intake.from_json(json.loads(json.dumps(first.to_json()))) == first


@pytest.mark.parametrize("change", ["a raw file", "a landed file", "the receipt"])
def test_changed_files_are_landed_again(change: str, instacart: Path, landing: Path) -> None:
    first = land("instacart", instacart, landing)
    before = stamps(landing)
    if change == "a raw file":
        edit(instacart / "aisles.csv", put(2, "aisle", "fresh milk"))
    elif change == "a landed file":
        landing.joinpath("orders.parquet").unlink()
    else:
        landing.joinpath("intake.json").write_text("{")
    second = land("instacart", instacart, landing)
    assert set(stamps(landing)) == set(before)
    assert stamps(landing) != before
    assert (second.fingerprint == first.fingerprint) == (change != "a raw file")


def test_the_fingerprint_depends_only_on_the_rows(instacart: Path, tmp_path: Path) -> None:
    first = land("instacart", instacart, tmp_path / "first")
    for path in instacart.iterdir():
        edit(path, lambda rows: rows.__setitem__(slice(1, None), rows[:0:-1]))
    moved = instacart.rename(tmp_path / "elsewhere")
    assert land("instacart", moved, tmp_path / "second").fingerprint == first.fingerprint
    edit(moved / "order_products__prior.csv", lambda rows: put(3, "product_id", "777")(rows))
    assert land("instacart", moved, tmp_path / "third").fingerprint != first.fingerprint


def test_a_rejected_file_leaves_the_landed_files_untouched(instacart: Path, landing: Path) -> None:
    land("instacart", instacart, landing)
    before = stamps(landing)
    edit(instacart / "orders.csv", put(2, "order_dow", "9"))
    rejected("instacart", instacart, landing)
    assert stamps(landing) == before


def test_cleans_up_after_a_killed_run(instacart: Path, landing: Path) -> None:
    first = land("instacart", instacart, landing)
    landing.rename(landing.with_name("landing.old"))  # killed between the two renames
    landing.with_name("landing.new").mkdir()
    edit(instacart / "orders.csv", put(2, "order_dow", "9"))
    with pytest.raises(SourceError):
        land("instacart", instacart, landing)
    assert sorted(path.name for path in landing.parent.iterdir()) == ["landing", "raw"]
    assert json.loads((landing / "intake.json").read_text())["intake"] == first.to_json()


def test_refuses_to_overwrite_a_folder_it_did_not_create(order_log: Path) -> None:
    before = stamps(order_log)
    with pytest.raises(SourceError, match=r"refusing to overwrite .* Choose another folder"):
        land("order_log", order_log, order_log)
    assert stamps(order_log) == before


def test_reports_a_folder_that_cannot_be_written(instacart: Path, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    with pytest.raises(StorageError, match="Check the free disk space and the permissions"):
        land("instacart", instacart, blocker / "landing")


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Limit every file to 2 kB, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_reports_a_full_disk(instacart: Path, landing: Path, small_disk: None) -> None:
    before = sorted(landing.parent.rglob("*"))
    with pytest.raises(StorageError, match="free disk space") as caught:
        land("instacart", instacart, landing)
    assert str(landing) in str(caught.value)
    assert sorted(landing.parent.rglob("*")) == before


# --- fuzz -----------------------------------------------------------------------------------------


def test_damaged_folders_are_rejected_or_land_without_loss() -> None:
    tallies = run(cases=25, seed=11)
    assert sum(tally.tried for tally in tallies.values()) == 25
    assert not [kind for kind, tally in tallies.items() if tally.lost or tally.failed]


@pytest.mark.parametrize("harm", ["a lost row", "a changed value"])
def test_the_fuzzer_detects_a_lost_or_changed_row(
    harm: str, order_log: Path, landing: Path
) -> None:
    land("order_log", order_log, landing)
    rows = landed(landing, "order_lines")
    if harm == "a lost row":
        del rows[-1]
    else:
        rows[3]["cart_position"] = 77
    pq.write_table(pa.Table.from_pylist(rows), landing / "order_lines.parquet")
    assert lost_rows("order_log", order_log, landing) == 1
