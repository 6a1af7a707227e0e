"""The event log of an order log: views, searches, carts, checkouts and purchases, one row each.

`ml.sources.event_types` says what the names of events mean. An event has a time of day, because
its day alone says nothing about the hours before a purchase. `received_at` is when the shop could
know of it.

Large logs are streamed: no step needs memory for more than a part of the events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import duckdb

from ml.settings import Reading
from ml.sources import clock, event_types, purchases, times
from ml.sources.ids import id_column
from ml.sources.landing import (
    Column,
    Rule,
    Table,
    check_together,
    land,
    land_nothing,
    text,
)
from ml.sources.raw import RawFile, SourceError, quoted
from ml.sources.staging import Staged, query, stage

COLUMNS = (
    ("user_id", "occurred_at", "event_type"),
    ("event_id", "product_id", "session_id", "value", "received_at"),
)
_LANDED = (
    *("user_id", "event_id", "occurred_at", "known_at", "event_type"),
    *("product_id", "session_id", "value"),
)
_TIMES = ("occurred_at", "received_at")
_BEFORE_ALL = "timestamp '0001-01-01'"
_INFINITE = "'infinity'::double"
_NUMBER = "-?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?"

_SLICE_ROWS = 8_000_000
"""Rows that are searched for doubles at once, which bounds the memory."""
_MANY_SHOPPERS = 1_000
_HEAVY_SHARE, _HEAVY_SHARE_OF_FEW = 0.01, 0.1
_HEAVY_TIMES = 3
_ORDER_SECONDS = 60
"""Purchases of a shopper that follow each other faster than this are one order."""


def stage_events(
    con: duckdb.DuckDBPyConnection, files: Sequence[RawFile], reading: Reading, scratch: Path
) -> list[Staged]:
    """Find the columns of the events in their raw files."""
    return stage(con, "events", files, COLUMNS, reading.of_events, scratch, in_place=True)


@dataclass(frozen=True)
class Ids:
    """Whether the IDs of shoppers and products are whole numbers in all files."""

    users: bool
    products: bool

    def column(self, name: str, native: bool = False) -> Column:
        """Return the column `user_id` or `product_id`."""
        is_whole = self.users if name == "user_id" else self.products
        column = replace(id_column(name, is_whole), required=False)
        type_ = "bigint" if is_whole else "varchar"
        # Distinct IDs are checked later: there are far fewer of them.
        column = column if is_whole else replace(column, valid="true")
        return replace(column, sql=f"{name}::{type_}") if native else column


def land_none(con: duckdb.DuckDBPyConnection, folder: Path, ids: Ids) -> None:
    """Land an empty table."""
    times_ = (Column(name, f"{name}::timestamp", "a time") for name in ("occurred_at", "known_at"))
    number = Column("value", "value::double", "a number")
    columns = (
        *(ids.column("user_id"), text("event_id"), *times_, text("event_type")),
        *(ids.column("product_id"), text("session_id"), number),
    )
    land_nothing(con, folder / "events.parquet", columns)


def land_events(
    con: duckdb.DuckDBPyConnection,
    staged: Sequence[Staged],
    folder: Path,
    ids: Ids,
    types: Mapping[str, str],
    keep_products: Collection[str],
    reading: Reading,
    notes: list[str],
    *,
    with_orders: bool,
) -> Table:
    """Land the events, check them, and leave out those that do not count.

    Creates the view `events` of all rows, and the view `kept_events` of those that count. The
    landed file has all rows until `keep` is called.

    Args:
        con: an in-memory database; with orders, it has the table `placed`.
        staged: the raw files.
        folder: where to write.
        ids: which IDs are whole numbers.
        types: the type of each known name.
        keep_products: ids of products that look like a word for a missing value.
        reading: how to read the files.
        notes: the list to add to.
        with_orders: whether the shop has orders. Purchases then come from them.

    Raises:
        SourceError: a file is malformed, or no event counts.
    """
    type_sql = event_types.typed(con, staged, types)
    native = staged[0].native
    columns = (
        ids.column("user_id", "user_id" in native),
        text("event_id", required=False),
        *_times(con, staged, reading, notes),
        Column("event_type", type_sql, "the type of an event"),
        ids.column("product_id", "product_id" in native),
        text("session_id", required=False),
        _value("value" in native),
    )
    received = Rule(
        "received_at",
        f"known_at = {_BEFORE_ALL}",
        "{value} is not a time such as 2024-03-31T18:05:00",
        explain=partial(times.explain, mapping=reading.of_events.mapping("received_at")),
    )
    parts = [(part.file, part.sql) for part in staged]
    path = folder / "events.parquet"
    in_place = all(part.path == part.file.path for part in staged)
    table = land(con, path, parts, columns, [received], as_view=in_place)
    rows = sum(count for _, count in table.parts)
    _check_ids(con, table, ids, keep_products, reading)
    late = replace(clock.EVENTS, column="known_at")
    received_ahead = [replace(c, column="received_at") for c in clock.dates(reading, late)[:1]]
    ahead = [] if reading.allow_future else received_ahead
    check_together(con, {"events": table}, [*clock.dates(reading, clock.EVENTS), *ahead])
    _check_hours(con, table, rows)
    table = _leave_out(con, table, rows, reading, notes, with_orders=with_orders)
    _tell_heavy(con, notes)
    _tell_late(con, notes)
    if with_orders:
        _tell_strangers(con, notes)
    return table


def keep(con: duckdb.DuckDBPyConnection, table: Table, scratch: Path) -> None:
    """Reduce the landed file to the events that count, once all checks are done."""
    if table.left_out or table.is_view or len(table.parts) > 1:
        kept = scratch / "kept_events.parquet"
        # IDs of events are not worth a dictionary.
        con.execute(
            f"copy (select {', '.join(_LANDED)} from kept_events) to {quoted(kept)} "
            "(format parquet, dictionary_size_limit 1000)"
        )
        kept.replace(table.path)


# --- columns --------------------------------------------------------------------------------------


def _value(native: bool) -> Column:
    sql = f"case when regexp_full_match(value, '{_NUMBER}') then value::double "
    sql += f"when not {purchases.is_word('value')} then {_INFINITE} end"
    if native:
        sql = "case when not isnan(value::double) then value::double end"
    return Column("value", sql, "a number such as 2 or 12.50", "isfinite(value)", required=False)


def _times(
    con: duckdb.DuckDBPyConnection, staged: Sequence[Staged], reading: Reading, notes: list[str]
) -> tuple[Column, Column]:
    """Return the columns `occurred_at` and `known_at`."""
    clock.check_timezone(con, reading.timezone)
    file, native = staged[0].file, staged[0].native
    offsets, utc = {}, {}
    for column in _TIMES:
        if column not in file.origins:
            continue
        if column in native:
            offsets[column] = utc[column] = "ZONE" in native[column]
        elif (have_offsets := _have_offsets(con, staged, column)) is not None:
            offsets[column] = have_offsets
            utc[column] = have_offsets and all(
                clock.is_utc(con, part.sql, column) for part in staged
            )
    if len(set(offsets.values())) > 1:
        with_offset = max(_TIMES, key=lambda column: offsets[column])
        raise SourceError(
            f"the times of {file.title(with_offset)} have a UTC offset, and those of the other "
            "column have none",
            "Add an offset to both, or to none",
            file=file.name,
            column=file.title(min(_TIMES, key=lambda column: offsets[column])),
        )
    has_offset, is_utc = offsets.get("occurred_at", False), utc.get("occurred_at", False)
    clock.tell_timezone(file.name, utc=is_utc, timezone=reading.timezone, notes=notes)

    def local(column: str) -> str:
        if column not in native:
            return clock.local(
                column, offsets=has_offset, utc=utc.get(column, False), timezone=reading.timezone
            )
        zoned = f"timezone('{reading.timezone or 'UTC'}', {column})"
        return zoned if has_offset else f"{column}::timestamp"

    def instant(column: str) -> str:
        return column if column in native else f"try_cast({column} as timestamptz)"

    occurred = known = local("occurred_at")
    if "received_at" in offsets:
        received = f"greatest({occurred}, {local('received_at')})"
        if has_offset:  # The two columns may have different offsets.
            delay = f"greatest({instant('received_at')} - {instant('occurred_at')}, interval 0 day)"
            received = f"{occurred} + {delay}"
        is_malformed = f"{instant('received_at') if has_offset else local('received_at')} is null"
        known = (
            f"case when received_at is null then {occurred} "
            f"when {is_malformed} then {_BEFORE_ALL} else {received} end"
        )
    return (
        Column(
            "occurred_at",
            occurred,
            "a time such as 2024-03-31T18:05:00, between 1990 and 2100",
            "occurred_at >= timestamp '1990-01-01' and occurred_at < timestamp '2101-01-01'",
            explain=partial(times.explain, mapping=reading.of_events.mapping("occurred_at")),
        ),
        Column("known_at", known, "known", required=False),
    )


def _have_offsets(
    con: duckdb.DuckDBPyConnection, staged: Sequence[Staged], column: str
) -> bool | None:
    """Return whether the times of a text column have offsets; None if there are no times.

    Raises:
        SourceError: a time has no time of day, or only some have an offset.
    """
    has_clock, has_offset = times.has_clock(column), times.has_offset(column)
    is_read = f"{column} <> '{times.MALFORMED}'"
    found = [
        query(
            con,
            part,
            f"""
            select
                bool_or({has_offset}),
                min(case when {is_read} and {has_clock} and not {has_offset} then row end),
                min(case when {is_read} and not {has_clock} then row end)
            from (select {column}, file_row_number as row from ({part.sql}))
            """,
        )[0]
        for part in staged
    ]
    any_offset = any(offset for offset, *_ in found)
    for part, (_, without_offset, without_clock) in zip(staged, found, strict=True):
        if without_clock is not None:
            problem = "{} is a date without a time of day"
            advice = (
                "Export the time too: what happened in the hours before a purchase needs it. "
                "Without it, leave out the events file"
            )
            raise _at_row(part, without_clock, column, problem, advice)
        if any_offset and without_offset is not None:
            problem = "{} has no UTC offset, but other times in the file have one"
            advice = "Add an offset to every time, or to none"
            raise _at_row(part, without_offset, column, problem, advice)
    return any_offset if any(offset is not None for offset, *_ in found) else None


def _at_row(part: Staged, row: int, column: str, problem: str, advice: str) -> SourceError:
    line, values = part.file.locate(row)
    problem = problem.format(f'"{values[column]}"')
    title = part.file.title(column)
    return SourceError(problem, advice, file=part.file.name, line=line, column=title)


# --- checks ---------------------------------------------------------------------------------------


def _check_ids(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    ids: Ids,
    keep_products: Collection[str],
    reading: Reading,
) -> None:
    """Raise a SourceError if an ID of a shopper or a product is not one."""
    for name, is_whole, words in (
        ("user_id", ids.users, reading.keep_ids),
        ("product_id", ids.products, keep_products),
    ):
        rules = [] if is_whole else [id_column(name, False).rule, purchases.no_word(name, words)]
        if name == "user_id" and not reading.skip_missing_shoppers:
            missing = Rule(name, "user_id is null", "{value} is not an id")
            rules.append(replace(missing, advice=purchases.HOW_TO_SKIP))
        elif rules:
            rules = [
                replace(rule, broken=f"{name} is not null and ({rule.broken})") for rule in rules
            ]
        if not rules:
            continue
        firsts = ", ".join(f"min(case when {rule.broken} then at_row end)" for rule in rules)
        distinct = f"select {name}, min(at_row) as at_row from events group by {name}"
        found = con.execute(f"select {firsts} from ({distinct})").fetchall()[0]
        for at_row, rule in zip(found, rules, strict=True):
            if at_row is not None:
                raise table.fault(con, at_row, name, rule.problem, rule.advice, rule.explain)


def _check_hours(con: duckdb.DuckDBPyConnection, table: Table, rows: int) -> None:
    has_hour = "occurred_at <> date_trunc('day', occurred_at)"
    sql = f"select true from events where {has_hour} limit 1"
    if rows > 1 and not con.execute(sql).fetchall():
        file = table.parts[0][0]
        raise SourceError(
            f"all {rows:,} times are midnight: they are dates without a time of day",
            "Export the time too: what happened in the hours before a purchase needs it. Without "
            "it, leave out the events file",
            file=file.name,
            column=file.title("occurred_at"),
        )


# --- events that do not count ---------------------------------------------------------------------


def _leave_out(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    rows: int,
    reading: Reading,
    notes: list[str],
    *,
    with_orders: bool,
) -> Table:
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
        _tell_unordered(con, notes)
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
    all_columns = ", ".join(_LANDED)
    with_id, without_id = con.execute(
        "select count(event_id) > 0, count(*) > count(event_id) from counted_events"
    ).fetchall()[0]
    digest = "hash(event_id)" if with_id else f"hash({all_columns})"
    if with_id and without_id:
        digest = f"case when event_id is null then hash({all_columns}) else {digest} end"
    slices = rows // _SLICE_ROWS + 1
    for slice_ in range(slices):
        con.execute(
            f"insert into twice select digest from (select {digest} as digest from counted_events) "
            f"where digest % {slices} = {slice_} group by digest having count(*) > 1"
        )
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


# --- notes ----------------------------------------------------------------------------------------


def _tell_heavy(con: duckdb.DuckDBPyConnection, notes: list[str]) -> None:
    """Add a note for each ID with so many events that it may stand for many shoppers."""
    con.execute(
        "create temp table shopper_events as "
        "select user_id, count(*) as events from kept_events group by user_id"
    )
    shoppers, events = con.execute("select count(*), sum(events) from shopper_events").fetchall()[0]
    share = _HEAVY_SHARE if shoppers >= _MANY_SHOPPERS else _HEAVY_SHARE_OF_FEW
    heavy = con.execute(
        "select user_id, events from shopper_events where events > ? order by events desc limit 3",
        [(events or 0) * max(share, _HEAVY_TIMES / max(shoppers, 1))],
    ).fetchall()
    if heavy:
        listed = ", ".join(f'"{user}" ({count:,}, {count / events:.0%})' for user, count in heavy)
        ids = ", ".join(f'"{user}"' for user, _ in heavy)
        notes.append(
            f"Shoppers with very many of the {events:,} events: {listed}. If an id is that of "
            f"visitors who are not logged in, add skip_shoppers = [{ids}] under [reading] in "
            "restock.toml."
        )


def _tell_late(con: duckdb.DuckDBPyConnection, notes: list[str]) -> None:
    late, latest = con.execute(
        """
        select count(*), max(known_at - occurred_at)
        from kept_events
        where known_at::date > occurred_at::date
        """
    ).fetchall()[0]
    if late:
        days = latest.total_seconds() / 86_400
        notes.append(
            f"{late:,} events were received on a later day, up to {days:.1f} days late. They count "
            "as known from then on."
        )


def _tell_strangers(con: duckdb.DuckDBPyConnection, notes: list[str]) -> None:
    """Add a note if no shopper of the events has an order."""
    known, event_user, order_user = con.execute(
        """
        select
            count(placed.user_id), min(shopper_events.user_id), (select min(user_id) from placed)
        from shopper_events
        left join (select distinct user_id from placed) as placed using (user_id)
        """
    ).fetchall()[0]
    if not known and event_user is not None:
        notes.append(
            "No shopper of the events has an order: ids of the events look like "
            f'"{event_user}", and those of the orders like "{order_user}". Export both with the '
            "same user_id."
        )


def _tell_unordered(con: duckdb.DuckDBPyConnection, notes: list[str]) -> None:
    """Add notes on purchase events that do not match the orders."""
    con.execute(
        """
        create temp table logged_purchases as
        select user_id, occurred_at, last.first_at - occurred_at as delay
        from (
            select distinct user_id, occurred_at, occurred_at + interval 1 day as until
            from judged_events
            where event_type = 'purchase'
                and reason = 'of purchases, which come from the orders'
        )
        asof left join (select user_id as shopper, first_at from placed) as last
            on user_id = last.shopper and until >= last.first_at
        """
    )
    total, unordered = con.execute(
        "select count(*), count_if(coalesce(delay < interval (-1) day, true)) from logged_purchases"
    ).fetchall()[0]
    if unordered:
        notes.append(
            f"{unordered:,} of {total:,} purchase events have no order of their shopper within a "
            "day. Purchases come from the orders only."
        )
    hours = con.execute(
        """
        select round(epoch(delay) / 3600)::integer as hours, count(*)
        from logged_purchases
        where delay >= interval (-1) day
        group by hours
        order by count(*) desc, hours
        limit 1
        """
    ).fetchall()
    if hours and hours[0][0] and hours[0][1] * 2 > total:
        shift, count = hours[0]
        which = "after" if shift > 0 else "before"
        notes.append(
            f"{count:,} of {total:,} orders are {abs(shift)} hours {which} their purchase event. "
            "Check that the times of the events and the orders are on the same clock."
        )


# --- orders from events ---------------------------------------------------------------------------


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
