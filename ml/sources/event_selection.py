"""Which events count: not doubles, ignored types, skipped shoppers, or purchases beside orders."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import duckdb

from ml.reading import Reading
from ml.sources import event_notes, event_types, purchases
from ml.sources.landing import Table

LANDED = (
    *("user_id", "event_id", "occurred_at", "known_at", "event_type"),
    *("product_id", "session_id", "value"),
)
_SLICE_ROWS = 32_000_000
"""Rows that are searched for doubles at once, which bounds the memory."""


def leave_out(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    rows: int,
    reading: Reading,
    notes: list[str],
    *,
    with_orders: bool,
) -> Table:
    """Create the view `kept_events` of the events that count, and count the others by reason."""
    skipped = "false"
    if reading.skip_shoppers:
        skipped = f"user_id::varchar in ({purchases.texts(reading.skip_shoppers)})"
    is_counted = f"user_id is not null and not {skipped} and event_type <> '{event_types.IGNORE}'"
    con.execute(f"create temp view counted_events as select * from events where {is_counted}")
    _find_doubles(con, rows, notes)
    purchase = "event_type = 'purchase'" if with_orders else "false"
    con.execute(
        f"""
        create temp view judged_events as
        select
            events.*,
            case
                when user_id is null then 'without a shopper'
                when {skipped} then 'of a skipped shopper'
                when event_type = '{event_types.IGNORE}' then 'of an ignored type'
                when doubles.at_row is not null then 'that are doubles'
                when {purchase} then 'of purchases, which come from the orders'
            end as reason
        from events
        left join doubles on events.at_row = doubles.at_row
        """
    )
    con.execute("create temp view kept_events as select * from judged_events where reason is null")
    if with_orders:
        event_notes.tell_unordered(con, notes)
    part = "part" if len(table.parts) > 1 else "0"
    counts = con.execute(
        f"select {part}, reason, count(*) from judged_events where reason is not null "
        "group by all order by all"
    ).fetchall()
    if counts:
        by_reason = Counter[str]()
        for _, reason, events in counts:
            by_reason[reason] += events
        reasons = ", ".join(f"{events:,} {reason}" for reason, events in by_reason.most_common())
        notes.append(f"Left out {by_reason.total():,} of {rows:,} events: {reasons}.")
    return replace(table, left_out=tuple(counts))


def _find_doubles(con: duckdb.DuckDBPyConnection, rows: int, notes: list[str]) -> None:
    """Create the table `doubles` of events that are in the log before.

    An event with an ID is a double if another with the same ID was received before. An event
    without one is a double if it is alike in every column.
    """
    con.execute("create temp table twice (digest ubigint)")
    all_columns = ", ".join(LANDED)
    with_id, without_id = con.execute(
        "select count(event_id) > 0, count(*) > count(event_id) from counted_events"
    ).fetchall()[0]
    digest = "hash(event_id)" if with_id else f"hash({all_columns})"
    if with_id and without_id:
        digest = f"case when event_id is null then hash({all_columns}) else {digest} end"
    # Almost every digest is there once, and sorting them takes a quarter of the time of grouping.
    slices = rows // _SLICE_ROWS + 1
    for slice_ in range(slices):
        digests = con.execute(
            f"select digest from (select {digest} as digest from counted_events) "
            f"where digest % {slices} = {slice_}"
        ).fetchnumpy()["digest"]
        digests.sort()
        con.register("repeated", {"digest": digests[1:][digests[1:] == digests[:-1]]})
        con.execute("insert into twice from repeated")
        con.unregister("repeated")
    con.execute(
        f"""
        create temp table alike as
        select *, case when event_id is null then hash({all_columns}) end as without_id
        from counted_events
        where {digest} in (select digest from twice)
        """
    )
    key = f"event_id, case when event_id is null then ({all_columns}) end"
    con.execute(
        f"""
        create temp table doubles as
        select at_row
        from (
            select
                at_row,
                row_number() over (partition by {key} order by known_at, at_row) as place
            from alike
        )
        where place > 1
        """
    )
    ((differ,),) = con.execute(
        """
        select count(*) from (
            select event_id from alike
            where event_id is not null
            group by event_id
            having min(user_id) <> max(user_id) or min(event_type) <> max(event_type)
        )
        """
    ).fetchall()
    if differ:
        notes.append(
            f"{differ:,} event ids belong to events of different shoppers or types; the first of "
            "each counts. Check that event_id is the id of the event, not of the session."
        )
    con.execute("drop table alike; drop table twice")
