"""Simulated order histories of Instacart's shape, with the true probability of every purchase.

`simulate` writes the six csv files of the Instacart data, same names, columns and formats, and
``true_probabilities.parquet`` (parquet, since it has most values and a csv would round them):
`user_id, product_id, probability, bought` for every product that a shopper bought before. That is
the chance that it is in the shopper's next order, and whether the process then put it there. The
next order is the open one (`eval_set` test), and for other shoppers the one after their last; as
nobody knows when that comes, its probability is the mean over its context.

The process is described in `process.py`.

**Determinism.** There is no state: a draw is a hash of the seed, of what is drawn and for whom. The
same seed, size and DuckDB version give the same bytes, whatever the number of threads.
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
MIN_CATALOGUE, MAX_CATALOGUE = 1_000, 50_000  # above it, names run out
ONE_OFFS = 100  # as many as a shopper has orders, at most
BLOCK_SHOPPERS = 20_000  # bounds the memory


@dataclass(frozen=True)
class Simulation:
    """What `simulate` wrote: its folder, the rows of each file by name, and the seconds it took."""

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
    """Write a data set of Instacart's shape, and its truth, into a folder: all of it or nothing.

    Args:
        out_dir: where to; a folder that is empty or does not exist.
        shoppers: how many; Instacart has 206,209.
        seed: another seed gives other shoppers and orders.
        products: size of the catalogue. By default ten per shopper and a thousand more, so that
            few shoppers still share products, up to Instacart's 49,688.
        threads: how many DuckDB may use; by default one per core.
        memory_limit: how much DuckDB may use, as DuckDB writes it.
        progress: called with the number of shoppers done, block by block.

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
        raise SettingsError(f"{out_dir} is not an empty folder. Empty it, or name a new one.")
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
        advice = "Free some space, or name another folder."
        raise StorageError(f"{out_dir} cannot be written: {error}. {advice}") from error
    return Simulation(out_dir, rows, time.perf_counter() - started)


def _write(
    con: duckdb.DuckDBPyConnection,
    files: Path,
    shoppers: int,
    products: int,
    progress: Callable[[int], object],
) -> dict[str, int]:
    """Run the process and write every file; returns the rows of each by name."""
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
    """Each index as often as its count says: to draw from it is to draw by weight."""
    return [index for index, times in enumerate(counts) for _ in range(times)]
