"""Times of orders and events: their clock, and dates that cannot be right."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb

from ml.errors import SettingsError
from ml.reading import Reading
from ml.sources.landing import Check
from ml.sources.staging import Staged, ask

_NIGHT_SHARE = 0.05
_GAP_DAYS, _GAP_SHARE = 730, 0.05


def latest() -> datetime:
    """Return the latest local time that any place on Earth has now."""
    return datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=14)


def check_timezone(con: duckdb.DuckDBPyConnection, timezone: str) -> None:
    """Raise a SettingsError unless DuckDB knows the time zone."""
    sql = "select count(*) from pg_timezone_names() where name = ?"
    if timezone and con.execute(sql, [timezone]).fetchall() == [(0,)]:
        raise SettingsError(
            f"unknown time zone '{timezone}' (RESTOCK_TIMEZONE): use a name such as "
            "America/New_York or UTC"
        )


def is_utc(con: duckdb.DuckDBPyConnection, part: Staged, column: str = "ordered_at") -> bool:
    """Return whether all times of a file with offsets are in UTC, such as `...Z` or `...+00:00`."""
    zero = f"regexp_matches({column}, '(Z|[+-]00(:?00)?)$') or length({column}) <= 10"
    sql = f"select coalesce(bool_and({zero}), false) from ({part.sql})"
    return ask(con, part, f"UTC {column}", sql)[0][0] is True


def local(column: str, *, offsets: bool, utc: bool, timezone: str) -> str:
    """Return SQL that parses a time strictly, and gives the time on the clock of the shop.

    Args:
        column: ISO 8601 text that may have an offset.
        offsets: whether the times in the file have offsets.
        utc: whether every time in the file is in UTC. Other offsets are the shop's own, so the
            time before the offset is its local time.
        timezone: the time zone of the shop, used for times in UTC.
    """
    if not offsets:
        return f"try_cast({column} as timestamp)"
    instant = f"try_cast({column} as timestamptz)"
    if utc:
        return f"timezone('{timezone or 'UTC'}', {instant})"
    written = f"regexp_replace({column}, '(:.*)(Z|[+-][0-9:]+)$', '\\1')"
    return f"case when {instant} is not null then try_cast({written} as timestamp) end"


def tell_timezone(file: str, *, utc: bool, timezone: str, notes: list[str]) -> None:
    """Add a note on the clock of a file that has times."""
    if utc and not timezone:
        notes.append(
            f"The times in {file} are read in UTC. If the shop's clock differs, set "
            "RESTOCK_TIMEZONE to its time zone, such as America/New_York."
        )
    elif utc:
        notes.append(f"The times in {file} were converted from UTC to {timezone}.")
    elif timezone:
        notes.append(
            f"RESTOCK_TIMEZONE ({timezone}) is not used: the times in {file} are local times."
        )


def tell_nights(con: duckdb.DuckDBPyConnection, hours: str, notes: list[str]) -> None:
    """Add a note if many orders are at night, as when UTC is taken for local time.

    Args:
        con: the database.
        hours: SQL that selects the hour of each order with a known time, as `hour`.
        notes: the list to add to.
    """
    sql = f"select avg((hour between 1 and 4)::integer) from ({hours})"
    share = con.execute(sql).fetchall()[0][0] or 0
    if share > _NIGHT_SHARE:
        notes.append(
            f"{share:.1%} of the orders are between 1 and 5 at night. Check that the times are "
            "the shop's local times."
        )


@dataclass(frozen=True)
class Dated:
    """A landed table whose dates are checked.

    Attributes:
        table: the view, with `at_row`.
        column: its time.
        noun: a word for what has the time.
        source: the table that has it once.
        first, last: SQL for its first and its last time in `source`.
    """

    table: str
    column: str
    noun: str
    source: str
    first: str
    last: str


ORDERS = Dated("order_lines", "ordered_at", "order", "placed", "first_at", "last_at")
EVENTS = Dated("events", "occurred_at", "event", "events", "occurred_at", "occurred_at")


def dates(reading: Reading, dated: Dated = ORDERS) -> list[Check]:
    """Return the checks that reject impossible dates."""
    checks = []
    if not reading.allow_future:
        checks.append(_ahead_of_today(dated))
    if not reading.allow_gap:
        checks += [_far_before(dated), _far_after(dated)]
    return checks


def tell_future(con: duckdb.DuckDBPyConnection, notes: list[str]) -> None:
    """Add a note if orders are ahead of today, which the settings allow."""
    sql = f"select count(*) from placed where last_at > timestamp '{latest()}'"
    if orders := con.execute(sql).fetchall()[0][0]:
        notes.append(
            f"Orders ahead of today: {orders:,}. Set RESTOCK_AS_OF to score for an earlier date; "
            "orders after that date are then left out."
        )


def _ahead_of_today(dated: Dated) -> Check:
    limit = latest()
    return Check(
        dated.table,
        dated.column,
        f"select at_row from {dated.table} where {dated.column} > timestamp '{limit}'",
        f"{{{{value}}}} is ahead of today ({datetime.now(UTC).date()})",
        "Correct the date, or set allow_future = true under [reading] in restock.toml",
    )


def _far_before(dated: Dated) -> Check:
    return _far_from_the_rest(dated, "before", f"{dated.first}::date", "", "<=")


def _far_after(dated: Dated) -> Check:
    # A time ahead of today is here only if the settings allow it.
    day = f"case when {dated.last} <= timestamp '{latest()}' then {dated.last}::date end"
    return _far_from_the_rest(dated, "after", day, "desc", ">=")


def _far_from_the_rest(dated: Dated, which: str, day: str, direction: str, far: str) -> Check:
    """Return a check for a few orders or events that a gap of years separates from all others.

    Args:
        dated: the table to check.
        which: the side of the gap, `before` or `after`.
        day: SQL for the day of an order or event; NULL leaves it out.
        direction: how to sort the days, so that the few come first.
        far: how their days compare with the last of them.
    """
    is_far = f"{dated.column}::date {far} edge_day"
    if dated is ORDERS:
        suspects = f"select order_id, edge.* from placed inner join edge on {day} {far} edge_day"
        rows = f"from order_lines inner join ({suspects}) using (order_id) where {is_far}"
    else:
        rows = f"from {dated.table} inner join edge on {is_far} and {day} is not null"
    return Check(
        dated.table,
        dated.column,
        f"""
        with days as (
            select {day} as day, count(*) as things
            from {dated.source}
            where {day} is not null
            group by {day}
        ),
        steps as (
            select
                day,
                abs(date_diff('day', day, lead(day) over (order by day {direction}))) as gap,
                sum(things) over (order by day {direction})::bigint as things,
                sum(things) over () as all_things
            from days
        ),
        edge as (
            select day as edge_day, gap, things
            from steps
            where gap > {_GAP_DAYS} and things < {_GAP_SHARE} * all_things
            order by things desc
            limit 1
        )
        select at_row, gap // 365, things
        {rows}
        """,
        f"{{{{value}}}} is far {which} all other {dated.noun}s: {{}} years without any "
        f"{dated.noun} lie between, and only {{}} of the {dated.noun}s are {which} them",
        "Correct the date, or set allow_gap = true under [reading] in restock.toml",
    )
