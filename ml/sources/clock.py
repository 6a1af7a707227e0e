"""Times of orders: their clock, and dates that cannot be right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb

from ml.errors import SettingsError
from ml.reading import Reading
from ml.sources.landing import Check

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


def is_utc(con: duckdb.DuckDBPyConnection, staged: str) -> bool:
    """Return whether all times of a file with offsets are in UTC, such as `...Z` or `...+00:00`."""
    zero = "regexp_matches(ordered_at, '(Z|[+-]00(:?00)?)$') or length(ordered_at) <= 10"
    sql = f"select coalesce(bool_and({zero}), false) from ({staged})"
    return con.execute(sql).fetchall()[0][0] is True


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


def dates(reading: Reading) -> list[Check]:
    """Return the checks of `order_lines` and `placed` that reject impossible dates."""
    checks = []
    if not reading.allow_future:
        checks.append(_ahead_of_today())
    if not reading.allow_gap:
        checks += [_far_before(), _far_after()]
    return checks


def tell_future(con: duckdb.DuckDBPyConnection, notes: list[str]) -> None:
    """Add a note if orders are ahead of today, which the settings allow."""
    sql = f"select count(*) from placed where last_at > timestamp '{latest()}'"
    if orders := con.execute(sql).fetchall()[0][0]:
        notes.append(
            f"Orders ahead of today: {orders:,}. Set RESTOCK_AS_OF to score for an earlier date; "
            "orders after that date are then left out."
        )


def _ahead_of_today() -> Check:
    limit = latest()
    return Check(
        "order_lines",
        "ordered_at",
        f"select at_row from order_lines where ordered_at > timestamp '{limit}'",
        f"{{{{value}}}} is ahead of today ({datetime.now(UTC).date()})",
        "Correct the date, or set allow_future = true under [reading] in restock.toml",
    )


def _far_before() -> Check:
    return _far_from_the_rest("before", "first_at::date", "", "<=")


def _far_after() -> Check:
    # An order ahead of today is here only if the settings allow it.
    day = f"case when last_at <= timestamp '{latest()}' then last_at::date end"
    return _far_from_the_rest("after", day, "desc", ">=")


def _far_from_the_rest(which: str, day: str, direction: str, far: str) -> Check:
    """Return a check for a few orders that a gap of years separates from all others.

    Args:
        which: the side of the gap, `before` or `after`.
        day: SQL for the day of an order; NULL leaves it out.
        direction: how to sort the days, so that the few orders come first.
        far: how their days compare with the last of them.
    """
    return Check(
        "order_lines",
        "ordered_at",
        f"""
        with dated as (
            select order_id, {day} as day from placed where {day} is not null
        ),
        days as (
            select day, count(*) as orders from dated group by day
        ),
        steps as (
            select
                day,
                abs(date_diff('day', day, lead(day) over (order by day {direction}))) as gap,
                sum(orders) over (order by day {direction})::bigint as orders,
                sum(orders) over () as all_orders
            from days
        ),
        edge as (
            select day as edge_day, gap, orders
            from steps
            where gap > {_GAP_DAYS} and orders < {_GAP_SHARE} * all_orders
            order by orders desc
            limit 1
        ),
        suspects as (
            select order_id, edge.*
            from dated
            inner join edge on dated.day {far} edge.edge_day
        )
        select at_row, gap // 365, orders
        from order_lines
        inner join suspects using (order_id)
        where ordered_at::date {far} edge_day
        """,
        f"{{{{value}}}} is far {which} all other orders: {{}} years without any order lie between, "
        f"and only {{}} of the orders are {which} them",
        "Correct the date, or set allow_gap = true under [reading] in restock.toml",
    )
