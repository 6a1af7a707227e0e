"""Tables of the schema ``ml`` about runs: tests, KPIs, raw files and earlier releases."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pyarrow as pa

from ml import sources
from ml.settings import Settings
from ml.sources import Delivery
from ml.sources.raw import parquet
from ml.warehouse import outcomes
from ml.warehouse.connection import append, connect, quoted, scalar
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


def record_kpis(con: duckdb.DuckDBPyConnection) -> None:
    """Add the KPIs of the newest batch to ``ml.kpis``, replacing older ones of the same batch."""
    con.execute("delete from ml.kpis where batch_id in (select batch_id from rpt_kpis)")
    con.execute("insert into ml.kpis by name select * from rpt_kpis")


def record_files(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Write the landed files, lines left out, notes and days of events, replacing older ones."""
    intake = sources.landed(settings.landing)
    rows: dict[str, list[tuple[Any, ...]]] = {
        "raw_files": [(f.name, f.table, f.rows) for f in intake.files],
        "left_out": [
            (file.name, reason, lines)
            for file in intake.files
            for reason, lines in file.left_out.items()
        ],
        "notes": list(enumerate(intake.notes, 1)),
    }
    if settings.as_of:
        after = sources.lines_after(settings.landing, date.fromisoformat(settings.as_of))
        rows["left_out"] += [
            (name, "after the scoring date", lines) for name, lines in after.items()
        ]
    for table, values in rows.items():
        con.execute(f"delete from ml.{table}")
        for row in values:
            con.execute(f"insert into ml.{table} values ({', '.join('?' * len(row))})", row)
    con.execute("delete from ml.event_days")
    con.execute(f"insert into ml.event_days {event_days(settings)}")
    now = datetime.now(UTC).replace(tzinfo=None)
    delivered = {**asdict(sources.delivery(settings.landing)), "recorded_at": now}
    con.execute(
        f"insert into ml.deliveries ({', '.join(delivered)}) "
        f"values ({', '.join('?' * len(delivered))})",
        [*delivered.values()],
    )


def event_days(settings: Settings) -> str:
    """Return SQL with one row per day: a digest of the orders and events that came in on it."""
    if settings.source == "instacart":  # without dates
        return "select null::date as day, null as digest limit 0"
    until = f"date '{settings.as_of or '9999-12-31'}'"
    return f"""
        select day, sum(digest)::varchar as digest
        from (
            select day, hash(digest)::hugeint as digest
            from {parquet(settings.landing / "event_days.parquet")} where day <= {until}
            union all
            select cast(orders.ordered_at as date), hash(orders, items.digest)
            from stg_order_log__orders as orders
            left join (
                select order_id, sum(hash(items)) as digest
                from stg_order_log__order_items as items
                group by order_id
            ) as items on orders.order_id = items.order_id
        )
        group by day
    """


def first_changed_day(con: duckdb.DuckDBPyConnection, settings: Settings) -> date | None:
    """Return the first day with other orders or events than those in the purchase tables.

    It is the day after all of them if nothing has changed. None if it is not known what is in them:
    a dbt command alone has built them.
    """
    if not scalar(con, "select count(*) from ml.event_days"):
        return None
    return scalar(
        con,
        f"""
        with days as ({event_days(settings)})
        select coalesce(
            (
                select min(coalesce(days.day, built.day))
                from days full join ml.event_days as built using (day, digest)
                where days.day is null or built.day is null
            ),
            max(day) + 1
        )
        from ml.event_days
        """,
    )


def record_runs(con: duckdb.DuckDBPyConnection, runs: Sequence[dict[str, Any]]) -> None:
    """Write the records of the finished runs to ``ml.runs`` and ``ml.run_steps``."""
    steps = [
        {"started_at": run["started_at"], "position": position, **step}
        for run in runs
        for position, step in enumerate(run["steps"], 1)
    ]
    of_runs = [{name: value for name, value in run.items() if name != "steps"} for run in runs]
    for table, rows in (("ml.runs", of_runs), ("ml.run_steps", steps)):
        con.execute(f"delete from {table}")
        if rows:
            append(con, table, pa.Table.from_pylist(rows))


def record_decisions(con: duckdb.DuckDBPyConnection, decisions: Sequence[dict[str, Any]]) -> None:
    """Write the recorded decisions to ``ml.decisions``."""
    con.execute("delete from ml.decisions")
    if decisions:
        append(con, "ml.decisions", pa.Table.from_pylist(decisions))


def last_delivery(settings: Settings, source: str) -> Delivery | None:
    """Return the last delivery of a source in the warehouse; None if it records none."""
    if not settings.warehouse.exists():
        return None
    with connect(settings, read_only=True) as con:
        known = "select 1 from duckdb_tables() where schema_name = 'ml' and table_name = ?"
        if not con.execute(known, ["deliveries"]).fetchall():
            return None
        cursor = con.execute(
            "select * exclude (recorded_at) from ml.deliveries where source = ? "
            "order by recorded_at desc limit 1",
            [source],
        )
        # The table of an older warehouse may have fewer columns.
        names = [name for name, *_ in cursor.description or ()]
        rows = cursor.fetchall()
    return Delivery(**dict(zip(names, rows[0], strict=True))) if rows else None


def copy_history(old: Settings, new: Settings) -> None:
    """Copy batches, deliveries, figures, audits and outcomes, and what is to be graded."""
    with connect(new) as con:
        con.execute(f"attach {quoted(old.warehouse)} as old (read_only)")
        known = {
            name
            for (name,) in con.execute(
                "select table_name from duckdb_tables() "
                "where database_name = 'old' and schema_name = 'ml'"
            ).fetchall()
        }
        kept = ("batches", "metrics", "calibration_bins", "audit")
        scopes = ("", "purchase_", "purchase_week_")
        of_tasks = (scope + name for scope in scopes for name in kept)
        always = ("deliveries", "verdicts", "kpis", "evaluations", "discovery_metrics")
        for table in (*always, "purchase_outcomes", "demand_outcomes", *of_tasks):
            if table in known:
                con.execute(f"insert into ml.{table} by name select * from old.ml.{table}")
        # What is about another source will have no outcome, and its shoppers are none of these.
        if "deliveries" in known and outcomes.newest_source(con, "old") == new.source:
            for table in ("purchase_lists", "awaited_demand", "outcomes"):
                if table in known:
                    con.execute(f"insert into ml.{table} by name select * from old.ml.{table}")
            outcomes.bring_predictions(con, "old")
        con.execute("detach old")
