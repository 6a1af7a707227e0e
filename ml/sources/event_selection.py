"""Which events count: not doubles, ignored types, skipped shoppers, or purchases beside orders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import duckdb

from ml.reading import Reading
from ml.sources import event_parts, event_types, purchases
from ml.sources.event_parts import Landing
from ml.sources.landing import PART, Table
from ml.sources.raw import parquet

PURCHASES = "of purchases, which come from the orders"
"""Why purchase events of a shop with orders do not count."""
_SLICE_ROWS = 32_000_000
"""Rows that are searched for doubles at once, which bounds the memory."""


def derived(reading: Reading, *, with_orders: bool) -> str:
    """Return SQL for `reason`, why an event does not count, and `digest`, the same for doubles.

    Of the events that do not count, only purchases have a digest.
    """
    reasons = {
        "user_id is null": "without a shopper",
        f"user_id::varchar in ({purchases.texts(reading.skip_shoppers)})": "of a skipped shopper",
        f"event_type = '{event_types.IGNORE}'": "of an ignored type",
        f"{with_orders} and event_type = 'purchase'": PURCHASES,
    }
    if not reading.skip_shoppers:
        del reasons["user_id::varchar in ()"]
    whens = " ".join(f"when {rule} then '{reason}'" for rule, reason in reasons.items())
    return (
        f"case {whens} end as reason, "
        f"case when reason <> '{PURCHASES}' then null "
        f"when event_id is null then {event_parts.CONTENT} else hash(event_id) end as digest"
    )


def leave_out(con: duckdb.DuckDBPyConnection, table: Table, notes: list[str]) -> Table:
    """Create the view `kept_events` of the events that count, and count the others by reason.

    The view `events` has all events, and the table `doubles` those of them that are doubles.
    """
    con.execute(
        "create temp view kept_events as "
        "select * from events anti join doubles using (at_row) where reason is null"
    )
    counts = con.execute(
        f"""
        select at_row // {PART} as part, reason, count(*)
        from (
            select at_row, reason from events anti join doubles using (at_row)
            where reason is not null
            union all
            select at_row, 'that are doubles' from doubles
        )
        group by all
        order by all
        """
    ).fetchall()
    if counts:
        by_reason = Counter[str]()
        for _, reason, events in counts:
            by_reason[reason] += events
        reasons = ", ".join(f"{events:,} {reason}" for reason, events in by_reason.most_common())
        rows = sum(count for _, count in table.parts)
        notes.append(f"Left out {by_reason.total():,} of {rows:,} events: {reasons}.")
    return replace(table, left_out=tuple(counts))


def find_doubles(
    con: duckdb.DuckDBPyConnection,
    landing: Landing,
    last: Landing,
    linked: Mapping[int, int],
    notes: list[str],
) -> None:
    """Create the table `doubles` of the events that are in the log before, and write it.

    An event with an ID is a double if another with the same ID was received before. An event
    without one is a double if it is alike in every column. What was found in the last landing
    holds for all digests but those of raw files that are new, or that were there and are not now.

    Args:
        con: an in-memory database with the view `events`.
        landing: the landed raw files.
        last: the last landing.
        linked: the number in `last` of each raw file that has not changed, and its number now.
        notes: the list to add to.
    """
    among = ""
    if linked:
        paths = [landing.path(n) for n in range(len(landing.parts)) if n not in linked.values()]
        paths += [last.path(n) for n in range(len(last.parts)) if n not in linked]
        con.execute("create temp table others (digest ubigint)")
        for path in paths:
            con.execute(f"insert into others select digest from {parquet(path)}")
        among = "where digest in (from others)"
    _find_repeated(con, sum(part.rows for part in landing.parts), among)
    # Without this range, DuckDB reads every column of every raw file.
    low, high = con.execute(
        "select min(part), max(part) from events where digest in (from repeated)"
    ).fetchall()[0]
    columns = ", ".join(event_parts.LANDED)
    con.execute(
        f"""
        create temp table doubles as
        select at_row, digest, known_at::date as day, content, differs
        from (
            select
                *,
                case when reason is null then {event_parts.CONTENT} end as content,
                row_number() over (alike order by known_at, at_row) as place,
                event_id is not null and (
                    min(user_id) over alike <> max(user_id) over alike
                    or min(event_type) over alike <> max(event_type) over alike
                ) as differs
            from events
            where digest in (from repeated) and part between {low or 0} and {high or 0}
            window alike as (
                partition by event_id, case when event_id is null then ({columns}) end
            )
        )
        where place > 1
        """
    )
    if linked:
        numbers = ", ".join(f"({before}, {now})" for before, now in linked.items())
        con.execute(
            f"insert into doubles by name "
            f"select now * {PART} + row as at_row, digest, day, content, differs "
            f"from {parquet(last.folder / event_parts.DOUBLES)} "
            f"inner join (values {numbers}) as numbers(part, now) using (part) "
            "where digest not in (from others)"
        )
    ((differ,),) = con.execute(
        "select count(distinct digest) from doubles where differs"
    ).fetchall()
    if differ:
        notes.append(
            f"{differ:,} event ids belong to events of different shoppers or types; the first of "
            "each counts. Check that event_id is the id of the event, not of the session."
        )


def _find_repeated(con: duckdb.DuckDBPyConnection, rows: int, among: str) -> None:
    """Create the table `repeated` of the digests that several events have."""
    con.execute("create temp table repeated (digest ubigint)")
    # Almost every digest is there once, and sorting them takes a quarter of the time of grouping.
    slices = rows // _SLICE_ROWS + 1
    for slice_ in range(slices):
        digests = con.execute(
            f"select digest from events where digest % {slices} = {slice_}"
        ).fetchnumpy()["digest"]
        digests.sort()
        con.register("twice", {"digest": digests[1:][digests[1:] == digests[:-1]]})
        con.execute(f"insert into repeated select distinct digest from twice {among}")
        con.unregister("twice")
