"""Checks of an order log that look at whole orders and shoppers."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from ml.reading import Reading
from ml.sources import clock
from ml.sources.landing import Check, Table, check_together

_HEAVY_SHARE, _HEAVY_TIMES = 0.01, 20
_SINGLE_SHARE = 0.95

_ONE_SHOPPER = Check(
    "order_lines",
    "order_id",
    "select at_row, order_id, user_id, other_user_id from placed where user_id <> other_user_id",
    "order {} belongs to two shoppers, {} and {}",
    "Make order_id unique, for example by adding the shopper or the day to it",
)
_ONE_DAY = Check(
    "order_lines",
    "order_id",
    """
    select order_lines.at_row, order_id, first_at, last_at
    from order_lines
    inner join placed using (order_id)
    where last_at > first_at + interval 1 day and ordered_at = last_at
    """,
    "order {} has lines more than a day apart, from {} to {}",
    "If the shop uses its order ids again, put the day into order_id, such as 2024-03-31-17",
)


def check(
    con: duckdb.DuckDBPyConnection,
    tables: Mapping[str, Table],
    reading: Reading,
    notes: list[str],
) -> None:
    """Check the orders in the view `order_lines`, and add notes on what looks odd.

    Raises:
        SourceError: an order belongs to two shoppers or two days, or its date cannot be right.
    """
    con.execute(
        """
        create or replace temp table placed as
        select
            order_id,
            max(at_row) as at_row,
            count(*) as lines,
            min(user_id) as user_id,
            max(user_id) as other_user_id,
            min(ordered_at) as first_at,
            max(ordered_at) as last_at,
            min(is_timed) as is_timed
        from order_lines
        group by order_id
        """
    )
    check_together(con, tables, [_ONE_SHOPPER, *clock.dates(reading), _ONE_DAY])
    if reading.allow_future:
        clock.tell_future(con, notes)
    hours = "select extract(hour from first_at) as hour from placed where is_timed"
    clock.tell_nights(con, hours, notes)
    _tell_odd_ids(con, notes)


def _tell_odd_ids(con: duckdb.DuckDBPyConnection, notes: list[str]) -> None:
    """Add notes if an id does not look like the id of one shopper or one order."""
    shoppers, single, heaviest, most, median, orders, lines = con.execute(
        """
        select
            count(*),
            sum((orders = 1)::integer),
            max_by(user_id, orders),
            max(orders),
            median(orders),
            sum(orders),
            sum(lines)
        from (
            select user_id, count(*) as orders, sum(lines) as lines from placed group by user_id
        )
        """
    ).fetchall()[0]
    if shoppers > 1 and single > _SINGLE_SHARE * shoppers:
        who = f"Each of {shoppers:,} shoppers has"
        if single < shoppers:
            who = f"{single:,} of {shoppers:,} shoppers have only"
        notes.append(
            f"{who} one order. Check that user_id is the id of the customer, not of the order or "
            "the visit."
        )
    if most > _HEAVY_SHARE * orders and most >= _HEAVY_TIMES * median:
        notes.append(
            f'Shopper "{heaviest}" has {most:,} of {orders:,} orders; the median shopper has '
            f"{median:g}. If these are customers without an account, add "
            f'skip_shoppers = ["{heaviest}"] under [reading] in restock.toml.'
        )
    if orders == lines:
        moments = "select count(*) from (select distinct user_id, first_at from placed)"
        if con.execute(moments).fetchall()[0][0] < orders / 2:
            notes.append(
                f"Each of {orders:,} orders has one line, and most share their shopper and time "
                "with another. Check that order_id is the id of the order, not of the line."
            )
