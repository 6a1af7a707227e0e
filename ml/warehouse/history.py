"""Tables of the schema ``ml`` about runs: test results, raw files, and earlier releases."""

from collections.abc import Sequence
from datetime import UTC, datetime

import duckdb

from ml import sources
from ml.settings import Settings
from ml.warehouse.connection import connect, quoted
from ml.warehouse.dbt import Tested


def record_tests(con: duckdb.DuckDBPyConnection, tests: Sequence[Tested]) -> None:
    """Write dbt test results to ``ml.test_results``, replacing older results of the same tests."""
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = [(t.name, t.model, t.status, t.failures, t.seconds, now) for t in tests]
    con.executemany("delete from ml.test_results where test_name = ?", [row[:1] for row in rows])
    con.executemany(
        "insert into ml.test_results "
        "(test_name, model_name, status, failures, seconds, finished_at) values (?, ?, ?, ?, ?, ?)",
        rows,
    )


def record_files(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Write the name, table and row count of every landed file to ``ml.raw_files``."""
    con.execute("delete from ml.raw_files")
    files = [(f.name, f.table, f.rows) for f in sources.landed(settings.landing).files]
    con.executemany("insert into ml.raw_files values (?, ?, ?)", files)


def copy_history(old: Settings, new: Settings) -> None:
    """Copy the batches, metrics and audits of earlier runs into a new warehouse."""
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
