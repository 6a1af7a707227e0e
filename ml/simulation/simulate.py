"""Simulated order histories in Instacart's format, with the true probability of every purchase.

`simulate` writes the six csv files of the Instacart data, with the same names, columns and
formats. It also writes ``true_probabilities.parquet``, with the columns `user_id, product_id,
probability, bought` and one row per shopper and product bought before. ``probability`` is the
chance that the product is in the shopper's next order; ``bought`` is whether the process put it
there. This file is Parquet because it holds the most values, and because a csv would round them.

The next order is the open one (`eval_set` test). For other shoppers it is the order after their
last; its time is unknown, so its probabilities are means over the context.

`process.py` describes the process.

**Determinism.** The process keeps no random state: each draw is a hash of the seed, of the
quantity drawn, and of the shopper, product and order it is drawn for. The same seed, size and
DuckDB version give the same bytes on any number of threads.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ml.errors import SettingsError, StorageError
from ml.simulation.catalogue import BRANDS, DEPARTMENTS, STYLES
from ml.simulation.process import (
    HOURS,
    LINES,
    MACROS,
    ONE_OFF_PURCHASES,
    ORDERS,
    PAIRS,
    PRODUCTS,
    PURCHASES,
    SHOPPERS,
    TRUTH,
    WEEKDAYS,
)

FULL_CATALOGUE = 49_688
MIN_CATALOGUE, MAX_CATALOGUE = 1_000, 50_000  # product names run out above the maximum
ONE_OFFS = 100  # the most orders that a shopper has
BLOCK_SHOPPERS = 20_000  # bounds memory use


@dataclass(frozen=True)
class Simulation:
    """The result of `simulate`: its folder, the rows of each file by name, and its seconds."""

    folder: Path
    rows: dict[str, int]
    seconds: float


def simulate(
    out_dir: Path,
    shoppers: int,
    seed: int = 0,
    products: int | None = None,
    *,
    threads: int | None = None,
    memory_limit: str = "3GB",
    progress: Callable[[int], object] = lambda shoppers_done: None,
) -> Simulation:
    """Write a data set in Instacart's format, with its true probabilities: all of it or nothing.

    Args:
        out_dir: a folder that is empty or does not exist.
        shoppers: number of shoppers; Instacart has 206,209.
        seed: a different seed gives different shoppers and orders.
        products: size of the catalogue. The default is 1,000 plus 10 per shopper, up to
            Instacart's 49,688, so that even in a small data set shoppers share products.
        threads: threads that DuckDB may use; one per core by default.
        memory_limit: memory that DuckDB may use, in DuckDB's notation.
        progress: called with the number of shoppers done after each block.

    Raises:
        SettingsError: if the folder is not empty, or a size is out of range.
        StorageError: if the disk is full or the folder cannot be written.
    """
    started = time.perf_counter()
    out_dir = out_dir.resolve()
    if shoppers < 1:
        raise SettingsError(f"Cannot simulate {shoppers} shoppers. Ask for at least 1.")
    if products is None:
        products = min(FULL_CATALOGUE, 1_000 + 10 * shoppers)
    if not MIN_CATALOGUE <= products <= MAX_CATALOGUE:
        limits = f"{MIN_CATALOGUE:,} to {MAX_CATALOGUE:,}"
        raise SettingsError(f"Cannot simulate {products:,} products. Ask for {limits}.")
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise SettingsError(f"{out_dir} is not an empty folder. Empty it or choose a new folder.")
    config: dict[str, str | bool | int | float | list[str]] = {"memory_limit": memory_limit}
    if threads:
        config["threads"] = threads
    try:
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f".{out_dir.name}-") as scratch:
            files = Path(scratch, "files")
            files.mkdir()
            with duckdb.connect(str(Path(scratch, "work.duckdb")), config=config) as con:
                con.execute(f"set variable seed = {seed}")
                rows = _write(con, files, shoppers, products, progress)
            files.replace(out_dir)
    except (OSError, duckdb.IOException) as error:
        advice = "Free some space or choose another folder."
        raise StorageError(f"{out_dir} cannot be written: {error}. {advice}") from error
    return Simulation(out_dir, rows, time.perf_counter() - started)


def _write(
    con: duckdb.DuckDBPyConnection,
    files: Path,
    shoppers: int,
    products: int,
    progress: Callable[[int], object],
) -> dict[str, int]:
    """Run the process, write every file, and return the number of rows by file name."""
    rows: dict[str, int] = {}

    def write(name: str, query: str, **parameters: object) -> None:
        con.execute(f"copy ({query}) to $path", {"path": str(files / name), **parameters})
        rows[name] = con.fetchall()[0][0]

    departments = dict(line.split(": ") for line in DEPARTMENTS.strip().splitlines())
    aisles = {a: i for i, names in enumerate(departments.values(), 1) for a in names.split(", ")}
    numbered = "select unnest(range(1, len($names) + 1)) as {0}_id, unnest($names) as {0}"
    write("departments.csv", numbered.format("department"), names=list(departments))
    write("aisles.csv", numbered.format("aisle"), names=list(aisles))
    write(
        "products.csv",
        PRODUCTS,
        total=products,
        aisles=[name.title() for name in aisles],
        departments=list(aisles.values()),
        brands=BRANDS.replace("\n", " ").split(", "),
        styles=STYLES.replace("\n", " ").split(", "),
    )

    con.execute(MACROS)
    con.execute(f"set variable products = {products - ONE_OFFS}")
    con.execute(SHOPPERS, {"shoppers": shoppers, "weekdays": _urn(WEEKDAYS)})
    write("orders.csv", ORDERS, hours=_urn(HOURS))
    for first in range(1, shoppers + 1, BLOCK_SHOPPERS):
        last = min(first + BLOCK_SHOPPERS - 1, shoppers)
        con.execute(
            "create or replace temp table block as"
            f" from shoppers where user_id between {first} and {last}"
        )
        con.execute(PAIRS)
        con.execute(PURCHASES)
        con.execute(ONE_OFF_PURCHASES, {"one_offs": ONE_OFFS})
        for table, query in (("lines", LINES), ("truth", TRUTH)):
            con.execute(f"create table if not exists {table} as from ({query}) limit 0")
            con.execute(f"insert into {table} {query}")
        progress(last)

    for eval_set in ("prior", "train"):
        write(
            f"order_products__{eval_set}.csv",
            f"""
            select order_id, product_id, add_to_cart_order, is_repeat::integer as reordered
            from lines where is_train = {eval_set == "train"}
            order by order_id, add_to_cart_order
            """,
        )
    write("true_probabilities.parquet", "from truth order by user_id, product_id")
    return rows


def _urn(counts: list[int]) -> list[int]:
    """Repeat each index by its count, so that a uniform draw from the list is a weighted draw."""
    return [index for index, times in enumerate(counts) for _ in range(times)]
