"""Writes the raw files of the Instacart sample that the model card reports on.

    python benchmarks/instacart_sample.py KAGGLE_FOLDER OUT

copies the rows of the shoppers in instacart_shoppers.txt from Kaggle's full files, and the
catalogue. Values stay as they are written there.
"""

import argparse
import shutil
import sys
from pathlib import Path

import duckdb

SHOPPERS = Path(__file__).with_name("instacart_shoppers.txt")
CATALOGUE = ("products.csv", "aisles.csv", "departments.csv")
ORDER_LINES = ("order_products__prior.csv", "order_products__train.csv")


def write_sample(kaggle: Path, out: Path, listed: Path = SHOPPERS) -> None:
    """Write the six files of the listed shoppers.

    Raises:
        ValueError: if ``out`` has files in it, a file is missing, or a shopper has no orders.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not an empty folder: name a new one")
    for name in ("orders.csv", *ORDER_LINES, *CATALOGUE):
        if not (kaggle / name).is_file():
            raise ValueError(f"{kaggle / name} is missing: unpack Kaggle's files into {kaggle}")
    shoppers = listed.read_text().split()
    with duckdb.connect() as con:

        def rows(name: str, condition: str) -> duckdb.DuckDBPyRelation:
            file = con.read_csv(str(kaggle / name), header=True, sep=",", all_varchar=True)
            # Joins do not keep the order of rows.
            numbered = file.project("*, row_number() over () as line")
            return numbered.filter(condition).order("line").project("* exclude (line)")

        con.execute("create table shoppers as select unnest(?::varchar[]) as user_id", [shoppers])
        rows("orders.csv", "user_id in (from shoppers)").create("orders")
        missing = con.execute("from shoppers anti join orders using (user_id)").fetchall()
        if missing:
            raise ValueError(
                f"{kaggle / 'orders.csv'} lacks {len(missing):,} of the {len(shoppers):,} shoppers "
                f"in {listed.name}, such as {missing[0][0]}: use Kaggle's full file"
            )
        out.mkdir(parents=True, exist_ok=True)
        con.table("orders").write_csv(str(out / "orders.csv"))
        for name in ORDER_LINES:
            rows(name, "order_id in (select order_id from orders)").write_csv(str(out / name))
    for name in CATALOGUE:
        shutil.copyfile(kaggle / name, out / name)


def main() -> int:
    """Write the sample and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kaggle", type=Path, help="the folder of Kaggle's six csv files")
    parser.add_argument("out", type=Path, help="a new or empty folder")
    arguments = parser.parse_args()
    try:
        write_sample(arguments.kaggle, arguments.out)
    except (ValueError, duckdb.Error) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
