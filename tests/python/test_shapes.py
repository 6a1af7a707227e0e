"""The real command line reads usual shapes of files, or refuses them for the right reason."""

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import Place
from fuzz_sources import read_csv, write_csv, write_instacart, write_order_log

pytestmark = pytest.mark.slow

Change = Callable[[Path], Any]


def column(file: str, name: str, change: Callable[[str], str]) -> Change:
    """Change every value of a column."""

    def changed(raw: Path) -> None:
        header, *rows = read_csv(raw / file)
        at = header.index(name)
        for row in rows:
            row[at] = change(row[at])
        write_csv(raw / file, [header, *rows])

    return changed


def header(*names: str) -> Change:
    """Rename the first columns of order_lines.csv."""

    def changed(raw: Path) -> None:
        first, *rows = read_csv(raw / "order_lines.csv")
        write_csv(raw / "order_lines.csv", [[*names, *first[len(names) :]], *rows])

    return changed


def into_a_folder(raw: Path) -> None:
    paths = list(raw.iterdir())
    folder = raw / "instacart-market-basket-analysis"
    folder.mkdir()
    for path in paths:
        path.rename(folder / path.name)


def into_a_tar(raw: Path) -> None:
    name = raw / "instacart_online_grocery_shopping_2017_05_01.tar.gz"
    with tarfile.open(name, "w:gz") as archive:
        for path in sorted(raw.glob("*.csv")):
            archive.add(path, f"instacart_2017_05_01/{path.name}")
            path.unlink()


def as_kaggle_packs_them(raw: Path) -> None:
    for path in sorted(raw.glob("*.csv")):
        with zipfile.ZipFile(raw / f"{path.name}.zip", "w") as archive:
            archive.write(path, path.name)
        path.unlink()
    inner = list(raw.glob("*.csv.zip"))
    with zipfile.ZipFile(raw / "instacart-market-basket-analysis.zip", "w") as archive:
        for path in inner:
            archive.write(path, path.name)
            path.unlink()


def by_month(raw: Path) -> None:
    first, *rows = read_csv(raw / "order_lines.csv")
    raw.joinpath("order_lines.csv").unlink()
    write_csv(raw / "order_lines_2023-03.csv", [first, *rows[:90]])
    write_csv(raw / "order_lines_2023-04.CSV", [first, *rows[90:]])


READ: dict[str, tuple[str, Change]] = {
    "Kaggle's hours": (
        "instacart",
        column("orders.csv", "order_hour_of_day", lambda hour: f"{int(hour):02}"),
    ),
    "counts as pandas writes them": (
        "instacart",
        column("order_products__prior.csv", "add_to_cart_order", lambda count: f"{count}.0"),
    ),
    "unzipped into a folder": ("instacart", into_a_folder),
    "Instacart's own tar": ("instacart", into_a_tar),
    "Kaggle's zip of zips": ("instacart", as_kaggle_packs_them),
    "monthly files": ("order_log", by_month),
    "offsets after a blank": (
        "order_log",
        column("order_lines.csv", "ordered_at", lambda at: f"{at} -0500"),
    ),
    "slashes and a word for the zone": (
        "order_log",
        column("order_lines.csv", "ordered_at", lambda at: at.replace("-", "/") + " UTC"),
    ),
    "names in another case": (
        "order_log",
        header("USER_ID", "Order_ID", " ordered_at", "PRODUCT_ID "),
    ),
}


@pytest.mark.parametrize("case", READ)
def test_reads_usual_shapes(case: str, place: Place) -> None:
    source, change = READ[case]
    write = write_instacart if source == "instacart" else write_order_log
    raw, plain = write(place.folder / "raw"), write(place.folder / "plain")
    change(raw)
    arguments = ("fetch", "--source", source, "--raw-dir")
    rows = place.restock(*arguments, raw)["fetch"]["rows"]
    landing = Path(f"{place.warehouse}.landing")
    tables = {path.name: pq.read_table(path) for path in landing.glob("*.parquet")}
    assert place.restock(*arguments, plain)["fetch"]["rows"] == rows
    for name, table in tables.items():
        expected = pq.read_table(landing / name)
        if "offset" in case and "ordered_at" in table.column_names:
            # The clock of a time with an offset has tests of its own.
            table, expected = (one.drop(["ordered_at"]) for one in (table, expected))
        # The part says which of several files a line is from.
        table, expected = (
            one.drop(["part"]) if "part" in one.column_names else one for one in (table, expected)
        )
        assert table.equals(expected)


def a_month_with_other_columns(raw: Path) -> None:
    by_month(raw)
    write_csv(raw / "order_lines_2023-05.csv", [["id"], ["1"]])


REFUSED: dict[str, tuple[Change, list[str]]] = {
    "leading zeros lost": (
        lambda raw: (
            column("order_lines.csv", "product_id", lambda id_: f"6637130{id_:0>2}")(raw),
            column("products.csv", "product_id", lambda id_: f"06637130{id_:0>2}")(raw),
        ),
        ['products.csv: no product_id of order_lines.csv is in this file: "663713001" there is '
         '"0663713001" here'],
    ),
    "ids as formulas": (
        column("products.csv", "product_id", lambda id_: f'="{id_}"'),
        ['"1" there is "="1"" here'],
    ),
    "WooCommerce's header": (
        header("Customer User ID", "Order ID", "Order Date", "SKU"),
        [
            "the columns user_id, order_id, ordered_at, product_id are missing",
            "Rename 'Customer User ID' to 'user_id', 'Order ID' to 'order_id', "
            "'Order Date' to 'ordered_at', 'SKU' to 'product_id'",
            'under [columns]: user_id = "Customer User ID", order_id = "Order ID", '
            'ordered_at = "Order Date", product_id = "SKU".',
        ],
    ),
    "a header that is unlike": (
        header("Customer", "Colour", "ordered_at", "product_id"),
        ["the columns user_id, order_id are missing", "Rename 'Customer' to 'user_id'. "
         "Add a column 'order_id'"],
    ),
    "day and month": (
        column("order_lines.csv", "ordered_at", lambda at: "03/04/2024"),
        ["order_lines.csv, line 2, column ordered_at", "03/04/2024 has two meanings",
         'ordered_at = {name = "ordered_at", format = "%d/%m/%Y"}, or format = "%m/%d/%Y"'],
    ),
    "seconds since 1970": (
        column("order_lines.csv", "ordered_at", lambda at: "1711900000"),
        ["looks like seconds since 1970", 'format = "epoch"'],
    ),
    "ids that a spreadsheet shortened": (
        column("order_lines.csv", "product_id", lambda id_: "5,90123E+12"),
        ['"5,90123E+12" is a number that a spreadsheet or a program has changed'],
    ),
    "a no-break space after an id": (
        column("order_lines.csv", "user_id", lambda id_: f"{id_}\u00a0"),
        ["line 2, column user_id", "starts or ends with a blank (U+00A0)"],
    ),
    "files of another name": (
        lambda raw: [path.rename(raw / f"shop-{path.name}") for path in list(raw.iterdir())],
        ["the folder has no raw files; found shop-order_lines.csv, shop-products.csv"],
    ),
    "months with other columns": (
        a_month_with_other_columns,
        ["order_lines_2023-05.csv: the columns differ from those of order_lines_2023-03.csv"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_for_the_right_reason(case: str, place: Place) -> None:
    change, parts = REFUSED[case]
    raw = write_order_log(place.folder / "raw")
    change(raw)
    done = place.call("restock", "fetch", "--source", "order_log", "--raw-dir", raw)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr


def test_tells_notes_and_goes_on(place: Place) -> None:
    raw = write_order_log(place.folder / "raw")
    (raw / "photos.zip").write_bytes(b"PK\3\4broken")
    rows = read_csv(raw / "products.csv")
    write_csv(raw / "products.csv", rows[:4])
    done = place.call("restock", "fetch", "--source", "order_log", "--raw-dir", raw)
    assert done.returncode == 0, done.stderr
    assert "Left out: photos.zip: the archive cannot be unpacked" in done.stderr
    assert "products.csv has only 3 of the 10 products in the order lines" in done.stderr


def test_refuses_an_unknown_key_in_restock_toml(place: Place) -> None:
    (place.folder / "restock.toml").write_text('[columns]\nuser = "Email"\n')
    done = place.call("restock", "fetch", RESTOCK_HOME=str(place.folder))
    assert done.returncode == 2
    assert f"{place.folder}/restock.toml: [columns]: unknown key 'user'" in done.stderr
