"""Connections to the warehouse: open the file, read one value, append rows, commit as a whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ml.errors import RestockError, busy, disk_full
from ml.settings import Settings


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
