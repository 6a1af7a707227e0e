"""Columns are found by their names or by restock.toml, and ids and the catalogue are checked."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from fuzz_sources import write_csv

from ml.errors import SettingsError
from ml.reading import COLUMNS, Reading
from ml.settings import Settings
from ml.sources import SourceError, land, order_log

ROW = ["7", "1", "2024-03-04 10:00", "5"]
MAPPED = """
    user_id = "Customer"
    order_id = "Order"
    ordered_at = "Created at"
    product_id = "SKU"
"""


def read(tmp_path: Path, rows: list[list[str]], toml: str = "") -> list[dict[str, Any]]:
    raw, landing = tmp_path / "raw", tmp_path / "landing"
    raw.mkdir(exist_ok=True)
    write_csv(raw / "order_lines.csv", rows)
    tables = tomllib.loads(toml)
    reading = Reading.from_toml(tables.get("reading", {}), tables.get("columns", {}))
    land("order_log", raw, landing, reading=reading)
    return pq.read_table(landing / "order_lines.parquet").to_pylist()


def test_every_column_can_be_mapped() -> None:
    names = {
        name for required, optional in order_log.COLUMNS.values() for name in required + optional
    }
    assert set(COLUMNS) == names


@pytest.mark.parametrize(
    "header",
    [
        ["USER_ID", "Order_Id", " ordered_at ", "product_id"],
        ["user_id", "order_id", "Ordered_At", "PRODUCT_ID\t"],
    ],
)
def test_names_match_whatever_their_case(header: list[str], tmp_path: Path) -> None:
    assert read(tmp_path, [header, ROW])[0]["user_id"] == 7
    with pytest.raises(SourceError, match=r"line 3, column .*_id"):
        read(tmp_path, [header, ROW, ["7", "", "2024-03-04", " "]])


@pytest.mark.parametrize("twice", ["USER_ID", "User_Id "])
def test_an_exact_name_wins_and_two_others_are_refused(twice: str, tmp_path: Path) -> None:
    header = ["user_id", "order_id", "ordered_at", "product_id", twice]
    assert read(tmp_path, [header, [*ROW, "9"]])[0]["user_id"] == 7
    with pytest.raises(SourceError, match="user_id: the column is repeated"):
        read(tmp_path, [["User_id", *header[1:]], [*ROW, "9"]])


HEADERS: dict[str, dict[str, str]] = {
    "Customer User ID,Order ID,Order Date,SKU": {
        "user_id": "Customer User ID",
        "order_id": "Order ID",
        "ordered_at": "Order Date",
        "product_id": "SKU",
    },
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country": {
        "user_id": "CustomerID",
        "order_id": "InvoiceNo",
        "ordered_at": "InvoiceDate",
        "product_id": "StockCode",
    },
    "household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY,SALES_VALUE": {
        "user_id": "household_key",
        "order_id": "BASKET_ID",
        "ordered_at": "DAY",
    },
    "Member_number,Date,itemDescription": {"user_id": "Member_number", "ordered_at": "Date"},
    "Name,Email,Financial Status,Created at,Lineitem name,Lineitem sku": {
        "user_id": "Email",
        "ordered_at": "Created at",
        "product_id": "Lineitem sku",
    },
    "usr_id,order_id,ordered_at,product_id": {"user_id": "usr_id"},
    "Order ID,ordered_at,product_id,colour": {"order_id": "Order ID"},
    "a,b,c,d": {},
}


@pytest.mark.parametrize("header", HEADERS)
def test_names_all_missing_columns_each_with_its_likeliest(header: str, tmp_path: Path) -> None:
    names = header.split(",")
    with pytest.raises(SourceError) as caught:
        read(tmp_path, [names, ["1"] * len(names)])
    message, offers = str(caught.value), HEADERS[header]
    renamed = dict(re.findall(r"'([^']+)' to '(\w+)'", message))
    assert {column: header for header, column in renamed.items()} == offers
    required = ("user_id", "order_id", "ordered_at", "product_id")
    folded = [name.casefold() for name in names]
    for column in required:
        assert (column in message) or column in folded
    if not offers:
        assert "Add a header as the first line" in message
    else:
        assert "Or write in restock.toml, under [columns]: " in message
        entries = message.rpartition("[columns]: ")[2].removesuffix(".")
        toml = tomllib.loads(re.sub(r", (?=\w+ = )", "\n", entries))
        assert toml == offers


def test_the_mapping_from_the_message_reads_the_file(tmp_path: Path) -> None:
    rows = [["Customer User ID", "Order ID", "Order Date", "SKU"], ROW]
    with pytest.raises(SourceError) as caught:
        read(tmp_path, rows)
    entries = str(caught.value).rpartition("[columns]: ")[2].removesuffix(".")
    toml = "[columns]\n" + entries.replace(", ", "\n")
    assert read(tmp_path, rows, toml)[0]["product_id"] == 5


def test_a_mapped_column_that_is_missing_is_told(tmp_path: Path) -> None:
    header = ["Customer", "Order", "Created at", "SKU"]
    toml = "[columns]" + MAPPED.replace('"Customer"', '"Custmer"')
    with pytest.raises(SourceError, match=r"column Custmer \(user_id\)") as caught:
        read(tmp_path, [header, ROW], toml)
    assert 'user_id = "Customer"' in str(caught.value)
    with pytest.raises(SourceError, match=r"column Shelf \(aisle\): the column is missing"):
        read(tmp_path, [header, ROW], "[columns]" + MAPPED + 'aisle = "Shelf"')


def test_errors_name_the_column_as_the_file_does(tmp_path: Path) -> None:
    rows = [["Customer", "Order", "Created at", "SKU"], ROW, ["8", "2", "3/4/2024", "5"]]
    with pytest.raises(SourceError, match=r"line 3, column Created at \(ordered_at\)") as caught:
        read(tmp_path, rows, "[columns]" + MAPPED)
    assert 'ordered_at = {name = "Created at", format = "%d/%m/%Y"}' in str(caught.value)


def test_values_of_an_order_hold_for_its_lines(tmp_path: Path) -> None:
    header = ["Order", "Customer", "Created at", "SKU"]
    rows = [
        ["1", "ann", "2024-03-04 10:00", "5"],
        ["1", "", "", "6"],
        ["2", "", "", "7"],
        ["2", "bo", "2024-03-05 11:00", "5"],
        ["1", "", "", "8"],
    ]
    found = read(tmp_path, [header, *rows], "[columns]" + MAPPED)
    assert [(row["user_id"], row["order_id"], row["product_id"]) for row in found] == [
        ("ann", 1, 5),
        ("ann", 1, 6),
        ("bo", 2, 7),
        ("bo", 2, 5),
        ("ann", 1, 8),
    ]
    assert found[2]["ordered_at"] == found[3]["ordered_at"]

    # Only an empty value is filled, and only from the same order.
    for row, column in ((["1", "", "soon", "9"], "Created at"), (["3", "", "", "9"], "Customer")):
        with pytest.raises(SourceError, match=f"line 7, column {column}"):
            read(tmp_path, [header, *rows, row], "[columns]" + MAPPED)
    # Without a mapping, nothing is filled.
    plain = ["order_id", "user_id", "ordered_at", "product_id"]
    with pytest.raises(SourceError, match="line 3, column user_id: an empty value"):
        read(tmp_path, [plain, *rows])


def test_composed_ids_never_collide(tmp_path: Path) -> None:
    rows = [["a|b", "c", "2024-03-04", "5"], ["a", "b|c", "2024-03-04", "6"]]
    toml = '[columns]\norder_id = ["user_id", "order_id"]'
    found = read(tmp_path, [["user_id", "order_id", "ordered_at", "product_id"], *rows], toml)
    assert len({row["order_id"] for row in found}) == 2


@pytest.mark.parametrize("written", ["2", "2,0"])
def test_reads_the_decimal_sign(written: str, tmp_path: Path) -> None:
    header = ["user_id", "order_id", "ordered_at", "product_id", "cart_position"]
    toml = '[reading]\ndelimiter = ";"\ndecimal = ","'
    raw = tmp_path / "raw"
    raw.mkdir()
    lines = [";".join(header), ";".join([*ROW, written])]
    (raw / "order_lines.csv").write_text("\n".join(lines))
    tables = tomllib.loads(toml)
    reading = Reading.from_toml(tables["reading"], {})
    land("order_log", raw, tmp_path / "landing", reading=reading)
    table = pq.read_table(tmp_path / "landing" / "order_lines.parquet")
    assert table["cart_position"].to_pylist() == [2]
    (raw / "order_lines.csv").write_text("\n".join([lines[0], ";".join([*ROW, "1.0"])]))
    with pytest.raises(SourceError, match=r'"1\.0" is not a whole number'):
        land("order_log", raw, tmp_path / "landing", reading=reading)
    with pytest.raises(SourceError, match='or set delimiter = ";" under'):
        land("order_log", raw, tmp_path / "landing")


def test_names_in_the_order_lines_are_the_catalogue(tmp_path: Path) -> None:
    header = ["user_id", "order_id", "ordered_at", "product_id", "Product_Name", "aisle"]
    rows = [
        [*ROW, "Tea", ""],
        [*ROW[:3], "6", "", ""],
        ["7", "2", "2024-03-05", "5", "Tea 2", "Hot"],
    ]
    read(tmp_path, [header, *rows])
    products = pq.read_table(tmp_path / "landing" / "products.parquet").to_pylist()
    assert [list(row.values()) for row in products] == [
        [5, "Tea 2", "Hot", None],
        [6, None, None, None],
    ]
    (tmp_path / "raw" / "products.csv").write_text("product_id,product_name\n5,Coffee\n6,Jam\n")
    read(tmp_path, [header, *rows])
    products = pq.read_table(tmp_path / "landing" / "products.parquet").to_pylist()
    assert [row["product_name"] for row in products] == ["Coffee", "Jam"]


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ('[columns]\nuser = "x"', "[columns]: unknown key 'user': use user_id"),
        ('[columns]\ndelimiter = ";"', "[columns]: unknown key 'delimiter': put it into [reading]"),
        ('[reading]\ndelim = ";"', "[reading]: unknown key 'delim': use order_lines, products"),
        ('[reading]\ndelimiter = ";;"', "invalid delimiter ';;': use one character"),
        ('[reading]\ndecimal = "x"', "invalid decimal 'x': use . or ,"),
        ('[reading]\nencoding = "latin-99"', "unknown encoding 'latin-99'"),
        ("[reading]\ndelimiter = 7", "invalid delimiter '7': write a text"),
        ('columns = "x"', "[columns]: make it a table"),
        ('delimiter = ";"', "unknown setting 'delimiter'"),
    ],
)
def test_refuses_an_unknown_or_invalid_key(
    toml: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTOCK_HOME", str(tmp_path))
    (tmp_path / "restock.toml").write_text(toml)
    with pytest.raises(SettingsError, match=re.escape(problem)) as caught:
        Settings.load()
    assert str(caught.value).startswith(str(tmp_path / "restock.toml"))


def test_settings_with_a_mapping_can_be_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTOCK_HOME", str(tmp_path))
    (tmp_path / "restock.toml").write_text("[columns]" + MAPPED)
    assert hash(Settings.load()) == hash(Settings.load())


def test_the_examples_in_the_documentation_are_valid() -> None:
    text = (ROOT / "docs/order_log.md").read_text()
    found = [
        Reading.from_toml(tables["reading"], tables.get("columns", {}), tables["events"])
        for tables in map(tomllib.loads, re.findall(r"```toml\n(.*?)```", text, re.DOTALL))
    ]
    assert [reading.of_events.mapping("occurred_at").format for reading in found] == [
        "epoch_ms",
        "epoch_ms",
    ]
    of_documents, of_files = found
    assert of_documents.of_events.mapping("user_id").names == ("user.id",)
    assert of_files.mapping("ordered_at").format == "%m/%d/%Y %H:%M"


def test_a_mapping_is_for_an_order_log_only(tmp_path: Path) -> None:
    rows = [["user_id", "order_id", "ordered_at", "product_id"], ROW]
    write_csv(tmp_path / "order_lines.csv", rows)
    reading = Reading.from_toml({}, {"user_id": "Customer"})
    land("complete_journey", tmp_path, tmp_path / "landing", reading=reading)
    with pytest.raises(SourceError, match="Customer"):
        land("order_log", tmp_path, tmp_path / "other", reading=reading)


# --- ids and the catalogue ------------------------------------------------------------------------

PLAIN = ["user_id", "order_id", "ordered_at", "product_id"]


@pytest.mark.parametrize(
    ("column", "value"),
    list(
        zip(
            itertools.cycle(["user_id", "order_id", "product_id"]),
            [
                *(f"A1{blank}" for blank in " \t\u00a0\u2003\u3000\u200b\ufeff"),
                *(f"{blank}A1" for blank in " \u00a0\u202f\u2060\u200e"),
                *("5,90123E+12", "5.90123E+12", "1.234.567", "1,234,567", "12.0", "12,00"),
                "-1.234.567",
            ],
            strict=False,
        )
    ),
)
def test_refuses_ids_with_outer_blanks_and_changed_numbers(
    column: str, value: str, tmp_path: Path
) -> None:
    row = ["u1", "o1", "2024-03-04", "p1"]
    row[PLAIN.index(column)] = value
    with pytest.raises(SourceError) as caught:
        read(tmp_path, [PLAIN, ["u0", "o0", "2024-03-04", "p1"], row])
    assert (caught.value.line, caught.value.column) == (3, column)
    changed = "is a number that a spreadsheet or a program has changed"
    assert (changed if value.strip("-")[0].isdigit() else "starts or ends with a blank") in str(
        caught.value
    )


@pytest.mark.parametrize("value", ["A 1", "1.234", "12E5", "1.2.3", "403.411.01", "Ä-1", "x,y"])
def test_accepts_ids_that_only_look_alike(value: str, tmp_path: Path) -> None:
    assert read(tmp_path, [PLAIN, [value, "o1", "2024-03-04", "p1"]])[0]["user_id"] == value


@pytest.mark.parametrize(
    ("bought", "listed"),
    [
        ("663713001", "0663713001"),
        ("5901234123457", "'5901234123457"),
        ("001", '="001"'),
        ("ab-12", "AB-12"),
        ("AB 12", "AB12"),
    ],
)
def test_a_catalogue_that_matches_nothing_shows_both_spellings(
    bought: str, listed: str, tmp_path: Path
) -> None:
    (tmp_path / "raw").mkdir()
    write_csv(tmp_path / "raw" / "products.csv", [["product_id"], ["zz"], [listed], ["aa"]])
    rows = [PLAIN, ["u1", "o1", "2024-03-04", "other"], ["u1", "o1", "2024-03-04", bought]]
    with pytest.raises(SourceError) as caught:
        read(tmp_path, rows)
    assert caught.value.file == "products.csv"
    assert f'"{bought}" there is "{listed}" here' in str(caught.value)


def test_a_catalogue_of_another_shop_is_told(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    write_csv(tmp_path / "raw" / "products.csv", [["product_id"], ["q1"]])
    with pytest.raises(SourceError, match='ids there look like "5", and here like "q1"'):
        read(tmp_path, [PLAIN, ROW])


@pytest.mark.parametrize("known", [1, 4, 5])
def test_a_catalogue_that_matches_few_is_noted(known: int, tmp_path: Path) -> None:
    write_csv(tmp_path / "products.csv", [["product_id"], *([str(i)] for i in range(known))])
    rows = [["7", "1", "2024-03-04", str(product)] for product in range(10)]
    write_csv(tmp_path / "order_lines.csv", [PLAIN, *rows])
    notes = land("order_log", tmp_path, tmp_path / "landing").notes
    expected = (
        f"products.csv has only {known} of the 10 products in the order lines "
        f'(not "{known}", for example); the others have no name.'
    )
    assert notes == (() if known == 5 else (expected,))
