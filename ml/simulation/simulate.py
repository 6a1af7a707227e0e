"""Simulated order histories in Instacart's format, with the true probability of every purchase.

`simulate` writes the six csv files of the Instacart data, with the same names, columns and
formats. It also writes ``true_probabilities.parquet``, with the columns `user_id, product_id,
probability, bought` and one row per shopper and product bought before. ``probability`` is the
chance that the product is in the shopper's next order; ``bought`` is whether the process put it
there. This file is Parquet because it holds the most values, and because a csv would round them.

The next order is the open one (`eval_set` test). For other shoppers it is the order after their
last, which the csv files do not have.

`process.py` describes the process. The probability knows everything in it, also whether the next
order is a quick stop or a weekly shop. So the products of an order are independent given their
probabilities, and no model reaches the accuracy of the truth.

**Determinism.** The process keeps no random state: each draw is a hash of the seed, of the
quantity drawn, and of the shopper, product and order it is drawn for. The same seed, size and
DuckDB version give the same bytes on any number of threads.
"""

import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from ml.simulation.catalogue import (
    AISLES,
    DEPARTMENTS,
    PRODUCTS,
    PRODUCTS_PARAMETERS,
    catalogue_size,
)
from ml.simulation.process import (
    DAYS,
    HOURS,
    LINES,
    MACROS,
    ONE_OFF_PURCHASES,
    ORDERS,
    PAIRS,
    PURCHASES,
    SHOPPERS,
    TRUTH,
    WEEKDAYS,
)
from ml.simulation.workspace import Simulation, Workspace, workspace

ONE_OFFS = 100  # the most orders that a shopper has
BLOCK_SHOPPERS = 20_000  # bounds memory use


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
    products = catalogue_size(shoppers, products)
    with workspace(out_dir, memory_limit, threads) as place:
        place.con.execute(f"set variable seed = {seed}")
        _write(place, shoppers, products, progress)
    return Simulation(out_dir, place.rows, time.perf_counter() - started)


def _write(
    place: Workspace, shoppers: int, products: int, progress: Callable[[int], object]
) -> None:
    """Run the process and write every file."""
    con, write = place.con, place.write
    numbered = "select unnest(range(1, len($names) + 1)) as {0}_id, unnest($names) as {0}"
    write("departments.csv", numbered.format("department"), names=DEPARTMENTS)
    write("aisles.csv", numbered.format("aisle"), names=list(AISLES))
    write("products.csv", PRODUCTS, total=products, **PRODUCTS_PARAMETERS)

    con.execute(MACROS)
    con.execute(f"set variable products = {products - ONE_OFFS}")
    con.execute(SHOPPERS, {"shoppers": shoppers, "weekdays": urn(WEEKDAYS)})
    con.execute(DAYS)
    write("orders.csv", ORDERS, hours=urn(HOURS))
    draw_blocks(con, "shoppers", shoppers, {"lines": LINES, "truth": TRUTH}, progress)

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


def draw_blocks(
    con: duckdb.DuckDBPyConnection,
    drawn: str,
    shoppers: int,
    tables: dict[str, str],
    progress: Callable[[int], object],
) -> None:
    """Draw the purchases of all shoppers, and create tables from the queries about them.

    Args:
        con: the connection.
        drawn: the table of the shoppers, from which a block is taken at a time.
        shoppers: the largest ``user_id``.
        tables: the query of each table, by name.
        progress: called with the number of shoppers done after each block.
    """
    for first in range(1, shoppers + 1, BLOCK_SHOPPERS):
        last = min(first + BLOCK_SHOPPERS - 1, shoppers)
        con.execute(
            "create or replace temp table block as"
            f" from {drawn} where user_id between {first} and {last}"
        )
        con.execute(PAIRS)
        con.execute(PURCHASES)
        con.execute(ONE_OFF_PURCHASES, {"one_offs": ONE_OFFS})
        for table, query in tables.items():
            con.execute(f"create table if not exists {table} as from ({query}) limit 0")
            con.execute(f"insert into {table} {query}")
        progress(last)


def urn(counts: list[int]) -> list[int]:
    """Repeat each index by its count, so that a uniform draw from the list is a weighted draw."""
    return [index for index, times in enumerate(counts) for _ in range(times)]
