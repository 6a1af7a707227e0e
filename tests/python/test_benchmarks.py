"""The script that takes the Instacart sample out of Kaggle's full files."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, SHARED_INSTACART, needs_shared_data

SCRIPT = ROOT / "benchmarks" / "instacart_sample.py"
LISTED = SCRIPT.with_name("instacart_shoppers.txt").read_text().split()
ORDERS = "order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day,days_since_prior_order"
LINES = "order_id,product_id,add_to_cart_order,reordered"


def take_sample(kaggle: Path, out: Path) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, str(SCRIPT), str(kaggle), str(out)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    """Made-up full files: the listed shoppers with one order each, and two more shoppers."""
    folder = tmp_path / "kaggle"
    folder.mkdir()
    shoppers = ["900001", *LISTED, "900002"]
    orders = [
        f"{number},{shopper},{'train' if number == 3 else 'prior'},1,2,08,"
        for number, shopper in enumerate(shoppers, 1)
    ]
    orders.append(f"{len(orders) + 1},{LISTED[0]},test,2,0,07,15.0")
    for name, rows in {
        "orders": [ORDERS, *orders],
        "order_products__prior": [LINES, "1,7,1,0", "2,7,1,0", "2,08,2.0,1", "1598,7,1,0"],
        "order_products__train": [LINES, "3,9,1,0", "1598,9,1,0"],
        "products": ["product_id,product_name,aisle_id,department_id", '7,"Milk, ""fresh""",1,1'],
        "aisles": ["aisle_id,aisle", "1,dairy"],
        "departments": ["department_id,department", "1,fresh"],
    }.items():
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_rows_of_the_listed_shoppers_are_copied_as_written(kaggle: Path, tmp_path: Path) -> None:
    done = take_sample(kaggle, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    header, *orders = (kaggle / "orders.csv").read_text().splitlines()
    expected = {
        "orders.csv": [header, *orders[1:-2], orders[-1]],
        "order_products__prior.csv": [LINES, "2,7,1,0", "2,08,2.0,1"],
        "order_products__train.csv": [LINES, "3,9,1,0"],
    }
    for path in kaggle.iterdir():
        rows = expected.get(path.name, path.read_text().splitlines())
        assert (tmp_path / "out" / path.name).read_text().splitlines() == rows, path.name


def test_a_folder_with_files_is_left_alone(kaggle: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = take_sample(kaggle, tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"Error: {tmp_path} is not an empty folder: name a new one\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kaggle", "mine.txt"]


def test_a_missing_file_is_named(kaggle: Path, tmp_path: Path) -> None:
    (kaggle / "aisles.csv").unlink()
    done = take_sample(kaggle, tmp_path / "out")
    assert done.returncode == 2
    assert f"Error: {kaggle / 'aisles.csv'} is missing: unpack" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_listed_shopper_without_orders_is_refused(kaggle: Path, tmp_path: Path) -> None:
    header, *orders = (kaggle / "orders.csv").read_text().splitlines()
    kept = [order for order in orders if order.split(",")[1] != LISTED[5]]
    (kaggle / "orders.csv").write_text("\n".join([header, *kept]) + "\n")
    done = take_sample(kaggle, tmp_path / "out")
    assert done.returncode == 2
    assert f"lacks 1 of the 1,596 shoppers in instacart_shoppers.txt, such as {LISTED[5]}" in (
        done.stderr
    )
    assert not (tmp_path / "out").exists()


@needs_shared_data
def test_the_sample_of_the_sample_is_the_sample(tmp_path: Path) -> None:
    done = take_sample(SHARED_INSTACART, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for path in SHARED_INSTACART.iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name
