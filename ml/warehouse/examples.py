"""The edge to DuckDB: opens the file, reads examples as arrays, publishes in one transaction."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ml import sources
from ml.errors import RestockError
from ml.settings import Settings
from ml.warehouse.dbt import Feature, Tested, busy, disk_full

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Examples:
    """User-product pairs, each shopper's in one run of rows, sorted by their ids.

    ``X`` is float32 of shape (n_pairs, n_features), missing values NaN; ``label`` is 0 or 1, 0
    throughout at cutoff 0; shopper u owns the rows ``offsets[u]:offsets[u + 1]``. With several
    cutoffs, a shopper is there once for each.
    """

    user_id: pa.Array
    product_id: pa.ChunkedArray
    offsets: npt.NDArray[np.int64]
    X: npt.NDArray[np.float32]
    label: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.label)

    def user_of_pair(self) -> pa.Array:
        """Return the shopper's id of every pair."""
        return self.user_id.take(
            pa.array(np.repeat(np.arange(len(self.user_id)), np.diff(self.offsets)))
        )

    def of(self, shoppers: npt.NDArray[np.bool_]) -> "Examples":
        """Return the pairs of some shoppers, shape (n_users,)."""
        count = np.diff(self.offsets)
        rows = np.repeat(shoppers, count)
        return Examples(
            user_id=self.user_id.filter(pa.array(shoppers)),
            product_id=self.product_id.filter(pa.array(rows)),
            offsets=np.concatenate([[0], np.cumsum(count[shoppers])]),
            X=self.X[rows],
            label=self.label[rows],
        )


@dataclass(frozen=True)
class Batch:
    """Shoppers whose examples are read at once: ``counts`` has how many pairs each of them has."""

    which: str
    user_id: list[Any]
    counts: npt.NDArray[np.int64]


@contextmanager
def connect(settings: Settings, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the warehouse for as long as the context lasts.

    Raises:
        RestockError: if it does not exist yet.
        BusyError: if another process is writing it.
        StorageError: if the disk is full.
    """
    path = settings.warehouse
    if not path.exists():
        raise RestockError(f"{path} does not exist. Run `restock build` first.")
    config: dict[str, Any] = {
        "memory_limit": settings.duckdb_memory,
        # In `examples` the pairs come first in every join. DuckDB takes them for few, and would
        # make its hash tables of them instead of what they are joined with.
        "disabled_optimizers": "join_order,build_side_probe_side",
    }
    if settings.threads:
        config["threads"] = settings.threads
    try:
        with duckdb.connect(str(path), read_only=read_only, config=config) as con:
            yield con
    except duckdb.IOException as error:
        if "lock" in str(error):
            raise busy(path) from None
        if "No space left" in str(error) or "File too large" in str(error):
            raise disk_full(path.parent) from None
        raise RestockError(f"{path} cannot be read: {error}") from None


def quoted(path: Path) -> str:
    """Return a path as a string of SQL."""
    return "'" + str(path).replace("'", "''") + "'"


def scalar(con: duckdb.DuckDBPyConnection, sql: str) -> Any:
    """Return the one value of a query that has one row and one column."""
    ((value,),) = con.execute(sql).fetchall()
    return value


def batches(
    con: duckdb.DuckDBPyConnection,
    *,
    cutoff: int,
    splits: Sequence[str] = SPLITS,
    rows: int = 250_000,
) -> list[Batch]:
    """Divide the shoppers of a cutoff, in the order of their ids, at about ``rows`` pairs each."""
    chosen = "', '".join(splits)
    shoppers = con.execute(
        f"""
        select user_id, user_product_count
        from feat_users inner join targets using (cutoff, user_id)
        where cutoff = {cutoff} and split in ('{chosen}')
        order by user_id
        """
    ).fetchall()
    users = [user for user, _ in shoppers]
    counts = np.array([n for _, n in shoppers], dtype=np.int64)
    batch = np.cumsum(counts) // rows
    edges = [0, *(np.flatnonzero(np.diff(batch)) + 1), len(users)] if users else []
    which = f"cutoff = {cutoff} and split in ('{chosen}')"
    return [Batch(which, users[first:end], counts[first:end]) for first, end in pairwise(edges)]


def load(con: duckdb.DuckDBPyConnection, features: Sequence[Feature], batch: Batch) -> Examples:
    """Read the examples of a batch, the products of each shopper in the order of their ids.

    Two reads give the same rows in the same order.
    """
    names = ", ".join(feature.name for feature in features)
    table = con.sql(
        f"""
        select user_id, product_id, cast(coalesce(label, false) as tinyint) as label, {names}
        from examples
        where {batch.which} and user_id between ? and ?
        """,
        params=[batch.user_id[0], batch.user_id[-1]],
    ).to_arrow_table()
    order = in_order(table)
    return Examples(
        user_id=pa.array(batch.user_id),
        product_id=table.column("product_id").take(order),
        offsets=np.concatenate([[0], np.cumsum(batch.counts)]),
        X=matrix(table, features, order),
        label=table.column("label").to_numpy()[order],
    )


def in_order(table: pa.Table) -> npt.NDArray[np.uint64]:
    """Return where the rows of a table of examples are, in the order of shoppers and products.

    DuckDB would sort all columns; here each is put in order as it is copied.
    """
    keys = [("user_id", "ascending"), ("product_id", "ascending")]
    return pc.sort_indices(table.select(["user_id", "product_id"]), keys).to_numpy()


def matrix(
    table: pa.Table, features: Sequence[Feature], order: npt.NDArray[np.uint64]
) -> npt.NDArray[np.float32]:
    """Return the features of a table as float32 of shape (n_rows, n_features), missing ones NaN."""
    # Column after column, as they come and as trees read them.
    X = np.empty((len(features), len(table)), dtype=np.float32).T
    for j, feature in enumerate(features):
        X[:, j] = table.column(feature.name).to_numpy()[order]
    return X


def nothing_labelled(splits: Sequence[str]) -> RestockError:
    """No shopper of these splits has an order to learn from or to be measured on."""
    return RestockError(
        f"no labelled order is left for the shoppers of the split {' and '.join(splits)}. "
        "Bring more shoppers (a tenth of them are for validation, a fifth for the test) or more "
        "history: a label needs min_past_orders (dbt_project.yml) orders before it."
    )


def read(
    con: duckdb.DuckDBPyConnection,
    features: Sequence[Feature],
    *,
    cutoffs: Sequence[int],
    splits: Sequence[str],
) -> Examples:
    """Read the examples of some cutoffs and splits at once, cutoff after cutoff.

    Raises:
        RestockError: if there are none.
    """
    parts = [
        load(con, features, batch)
        for cutoff in cutoffs
        for batch in batches(con, cutoff=cutoff, splits=splits)
    ]
    if not parts:
        raise nothing_labelled(splits)
    return Examples(
        user_id=pa.concat_arrays([part.user_id for part in parts]),
        product_id=pa.chunked_array([c for part in parts for c in part.product_id.chunks]),
        offsets=np.concatenate(
            [[0], np.cumsum(np.concatenate([np.diff(part.offsets) for part in parts]))]
        ),
        X=np.concatenate([part.X for part in parts]),
        label=np.concatenate([part.label for part in parts]),
    )


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All of it is published when the context ends well, and nothing otherwise."""
    con.execute("begin")
    try:
        yield
    except BaseException:
        con.execute("rollback")
        raise
    con.execute("commit")


def append(con: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    """Add rows to a table, column by name."""
    # DuckDB finds the argument by its name; what is registered it would keep until it commits.
    con.execute(f"insert into {table} by name select * from rows")


def record_tests(con: duckdb.DuckDBPyConnection, tests: Sequence[Tested]) -> None:
    """Keep how dbt's tests ended, in place of how they ended before."""
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = [(t.name, t.model, t.status, t.failures, t.seconds, now) for t in tests]
    con.executemany("delete from ml.test_results where test_name = ?", [row[:1] for row in rows])
    con.executemany(
        "insert into ml.test_results "
        "(test_name, model_name, status, failures, seconds, finished_at) values (?, ?, ?, ?, ?, ?)",
        rows,
    )


def record_files(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Note how many rows of which files were landed."""
    con.execute("delete from ml.raw_files")
    files = [(f.name, f.table, f.rows) for f in sources.landed(settings.landing).files]
    con.executemany("insert into ml.raw_files values (?, ?, ?)", files)


def copy_history(old: Settings, new: Settings) -> None:
    """Carry the batches and figures of earlier runs over into a new warehouse."""
    with connect(new) as con:
        con.execute(f"attach {quoted(old.warehouse)} as old (read_only)")
        known = {
            name
            for (name,) in con.execute(
                "select table_name from duckdb_tables() "
                "where database_name = 'old' and schema_name = 'ml'"
            ).fetchall()
        }
        for table in ("batches", "metrics", "calibration_bins", "audit"):
            if table in known:
                con.execute(f"insert into ml.{table} by name select * from old.ml.{table}")
        con.execute("detach old")
