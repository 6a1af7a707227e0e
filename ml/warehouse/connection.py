"""Connections to the warehouse, transactions, and small query helpers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ml.errors import BusyError, RestockError, SettingsError, StorageError, busy, disk_full
from ml.settings import Settings


@contextmanager
def connect(settings: Settings, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the warehouse, and close it at the end of the context.

    Raises:
        RestockError: the warehouse does not exist, or DuckDB cannot read it.
        BusyError: another process has the warehouse open for writing, or this one has it open
            with other settings.
        StorageError: the disk is full.
    """
    path = settings.warehouse
    if not path.exists():
        raise RestockError(f"{path} does not exist. Run `restock build` first.")
    config: dict[str, Any] = {
        "memory_limit": settings.duckdb_memory,
        # `examples` joins pairs, its largest table, to small ones. DuckDB underestimates the
        # number of pairs and would build its hash tables on them, so it must not reorder joins.
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
        raise RestockError(f"cannot read {path}: {error}") from None
    except duckdb.ConnectionException as error:
        if "different configuration" not in str(error):
            raise
        raise BusyError(
            f"{path} is open in this process with other settings. Close that connection, "
            "con.close(), and try again."
        ) from None


def check_ownership(path: Path) -> None:
    """Raise a SettingsError unless a file is Restock's warehouse, has no tables or is missing.

    Every dbt command of this project creates the table ``ml.batches``, which is the mark.

    Raises:
        BusyError: another process has the file open for writing.
        StorageError: the file is not readable.
    """
    if not path.exists():
        return
    try:
        with duckdb.connect(str(path), read_only=True) as con:
            ((relations, marks),) = con.execute(
                """
                select
                    (select count(*) from duckdb_tables() where not internal)
                    + (select count(*) from duckdb_views() where not internal)
                    + (select count(*) from duckdb_sequences()),
                    (
                        select count(*) from duckdb_columns()
                        where schema_name = 'ml' and table_name = 'batches'
                            and column_name in ('batch_id', 'model_version', 'feature_version')
                    )
                """
            ).fetchall()
    except duckdb.Error as error:
        if "lock" in str(error):
            raise busy(path) from None
        if "Permission denied" in str(error):
            raise StorageError(f"cannot read {path} (permission denied).") from None
        raise SettingsError(
            f"Refusing to overwrite {path}: it is not a DuckDB database that Restock can read. "
            "Set RESTOCK_WAREHOUSE to a new file."
        ) from None
    if relations and marks < 3:
        raise SettingsError(
            f"Refusing to overwrite {path}: it contains tables Restock did not create. "
            "Set RESTOCK_WAREHOUSE to a new file."
        )


def quoted(path: Path) -> str:
    """Return a path as a SQL string literal."""
    return "'" + str(path).replace("'", "''") + "'"


def parquet(path: Path) -> str:
    """Return SQL that reads a Parquet file; a folder named user_id=7 does not add a column."""
    return f"read_parquet({quoted(path)}, hive_partitioning = false)"


def scalar(con: duckdb.DuckDBPyConnection, sql: str) -> Any:
    """Return the value of a query with one row and one column."""
    ((value,),) = con.execute(sql).fetchall()
    return value


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit at the end of the context, or roll back if it raises."""
    con.execute("begin")
    try:
        yield
    except BaseException:
        con.execute("rollback")
        raise
    con.execute("commit")


def append(con: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    """Append rows to a table, matching columns by name."""
    # DuckDB finds `rows` by its Python name. A registered table would stay in memory until commit.
    con.execute(f"insert into {table} by name select * from rows")
