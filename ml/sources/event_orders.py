"""Orders of a log that has events alone: its purchase events with a product."""

from __future__ import annotations

from pathlib import Path

import duckdb

from ml.sources import clock
from ml.sources.landing import Table
from ml.sources.raw import SourceError, quoted

_ORDER_SECONDS = 60
"""Purchases of a shopper that follow each other faster than this are one order."""


def land_orders(
    con: duckdb.DuckDBPyConnection, table: Table, folder: Path, notes: list[str]
) -> Table:
    """Land order lines from the purchase events that have a product.

    Purchases of a shopper within seconds of each other are one order, at the time of the first.

    Raises:
        SourceError: no event is a purchase.
    """
    con.execute(
        "create temp table bought as "
        "select user_id, occurred_at, product_id, value, at_row from kept_events "
        "where event_type = 'purchase'"
    )
    events, products = con.execute("select count(*), count(product_id) from bought").fetchall()[0]
    if not events:
        raise SourceError(
            "no event is a purchase, and there is no order_lines file",
            "Add the order lines, or name the purchases in event_types.csv",
            file=table.parts[0][0].name,
            column=table.parts[0][0].title("event_type"),
        )
    if products < events:
        notes.append(
            f"{events - products:,} of {events:,} purchase events have no product_id. They tell "
            "who buys when, but not what."
        )
    path = folder / "order_lines.parquet"
    con.execute(
        f"""
        copy (
            with steps as (
                select
                    *,
                    coalesce(
                        occurred_at - lag(occurred_at) over history
                        >= interval {_ORDER_SECONDS} second,
                        true
                    ) as is_first
                from bought
                where product_id is not null
                window history as (partition by user_id order by occurred_at, at_row)
            ),
            numbered as (
                select *, sum(is_first::integer) over history as number
                from steps
                window history as (
                    partition by user_id order by occurred_at, at_row rows unbounded preceding
                )
            ),
            placed as (
                select *, min(occurred_at) over (partition by user_id, number) as ordered_at
                from numbered
            )
            select
                user_id,
                user_id::varchar || strftime(ordered_at, '-%Y%m%dT%H%M%S') as order_id,
                ordered_at,
                true as is_timed,
                product_id,
                null::integer as cart_position,
                null::decimal(18, 4) as quantity,
                null::decimal(18, 4) as price,
                try_cast(value as decimal(18, 4)) as sales_value
            from placed
            order by user_id, ordered_at, at_row
        ) to {quoted(path)} (format parquet)
        """
    )
    hours = "select extract(hour from occurred_at) as hour from bought"
    clock.tell_nights(con, hours, notes)
    con.execute(f"create temp view order_lines as from {quoted(path)}")
    return Table(path, table.parts)
