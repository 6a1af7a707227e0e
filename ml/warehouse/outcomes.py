"""Outcomes: what became of what was published, kept from release to release.

Predictions wait in the release that published them, in ``ml.predictions``, with the last order of
each shopper that they knew in ``ml.awaited_orders``. The scoring job of the release after grades
those whose order has come, in the transaction that replaces them. So a release has an outcome and
the predictions that follow it, or neither.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb

from ml.warehouse.connection import quoted, scalar

KEYS = {
    "outcomes": "user_id, order_id",
    "purchase_outcomes": "cutoff_at",
    "demand_outcomes": "cutoff_at",
}
"""The tables of outcomes, and what is graded once in each."""
LEAST_UNITS = 5
"""A weekly forecast of a product is kept if it is at least this; a smaller one is mostly chance."""


def added(table: str, rows: str) -> str:
    """Return SQL that adds the rows of a relation to a table of outcomes, each only once."""
    return (
        f"insert into ml.{table} by name select * from {rows} anti join ml.{table} "
        f"using ({KEYS[table]})"
    )


def bring_predictions(con: duckdb.DuckDBPyConnection, place: str) -> None:
    """Copy the predictions whose orders have come from an attached warehouse, to be graded.

    Its IDs can have another type. An ID that is none of the new type belongs to no shopper.
    """
    if not exists(con, place, "awaited_orders"):  # in the warehouse of an earlier Restock
        return
    con.execute(
        f"""
        insert into ml.awaited_orders by name
        select * replace (try_cast(user_id as user_id_type) as user_id)
        from {place}.ml.awaited_orders
        """
    )
    con.execute(
        f"""
        insert into ml.predictions by name
        select * replace (
            try_cast(user_id as user_id_type) as user_id,
            try_cast(product_id as product_id_type) as product_id
        )
        from {place}.ml.predictions
        where try_cast(user_id as user_id_type) in (select user_id from arrived_orders)
        """
    )


def keep_demand(con: duckdb.DuckDBPyConnection) -> None:
    """Keep the forecast of the week that starts now, to be graded when that week has ended."""
    now = "(select cutoff_at from purchase_windows where cutoff = 0 and horizon_days = 7)"
    con.execute(
        f"""
        delete from ml.awaited_demand
        where cutoff_at in (select cutoff_at from fct_demand where cutoff_at in {now})
        """
    )
    con.execute(
        f"""
        insert into ml.awaited_demand by name
        select
            level, product_id::varchar as product_id, department, aisle, name, cutoff_at,
            window_end_at, method, expected_units, low_units, high_units
        from fct_demand
        anti join ml.demand_outcomes using (cutoff_at)
        where cutoff_at in {now} and (level <> 'product' or expected_units >= {LEAST_UNITS})
        """
    )


def complete(con: duckdb.DuckDBPyConnection, source: str, taken_back: Sequence[Path]) -> None:
    """Add the outcomes of releases that were taken back, and forget shoppers who are gone.

    An order that came while such a release was published has no other outcome.

    Args:
        con: the warehouse of a release that is about to be published.
        source: the source of its orders; outcomes of another source are left out.
        taken_back: the warehouses of the releases that were taken back, the newest first.
    """
    for path in taken_back:
        con.execute(f"attach {quoted(path)} as other (read_only)")
        if newest_source(con, "other") == source:
            for table in KEYS:
                if exists(con, "other", table):
                    con.execute(added(table, f"other.ml.{table}"))
        con.execute("detach other")
    con.execute(
        "delete from ml.outcomes where user_id not in (select user_id::varchar from dim_users)"
    )


def newest_source(con: duckdb.DuckDBPyConnection, place: str) -> str | None:
    """Return the source of the orders in an attached warehouse; None if it does not say."""
    return scalar(con, f"select max_by(source, recorded_at) from {place}.ml.deliveries")


def exists(con: duckdb.DuckDBPyConnection, place: str, table: str) -> bool:
    """Return whether an attached warehouse has a table of the schema ``ml``."""
    known = """
        select 1 from duckdb_tables()
        where database_name = ? and schema_name = 'ml' and table_name = ?
    """
    return bool(con.execute(known, [place, table]).fetchall())
