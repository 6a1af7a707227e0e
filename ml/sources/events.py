"""The event log of an order log: views, searches, carts, checkouts and purchases, one row each.

`ml.sources.event_types` says what the names of events mean. An event has a time of day, because
its day alone says nothing about the hours before a purchase. `received_at` is when the shop could
know of it.

Large logs are streamed: no step needs memory for more than a part of the events.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import duckdb

from ml.reading import Reading
from ml.sources import (
    clock,
    event_notes,
    event_parts,
    event_selection,
    event_types,
    purchases,
    times,
)
from ml.sources.event_parts import Landing
from ml.sources.ids import id_column
from ml.sources.landing import (
    PART,
    Column,
    Rule,
    Table,
    check_rows,
    check_together,
    land_nothing,
    reject_empty,
    text,
)
from ml.sources.raw import RawFile, SourceError
from ml.sources.staging import Staged, ask, stage

COLUMNS = (
    ("user_id", "occurred_at", "event_type"),
    ("event_id", "product_id", "session_id", "value", "received_at"),
)
_TIMES = ("occurred_at", "received_at")
_BEFORE_ALL = "timestamp '0001-01-01'"
_INFINITE = "'infinity'::double"
_NUMBER = "-?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?"


def stage_events(
    con: duckdb.DuckDBPyConnection,
    files: Sequence[RawFile],
    reading: Reading,
    scratch: Path,
    last: Landing,
) -> list[Staged]:
    """Find the columns of the events in their raw files."""
    staged = stage(con, "events", files, COLUMNS, reading.of_events, scratch, in_place=True)
    for part in staged:
        part.answers.update(last.answers(part.file))
    return staged


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
    landing = Landing(folder, None, ())
    (folder / event_parts.FOLDER).mkdir()
    columns = (
        *(ids.column("user_id"), text("event_id"), *times_, text("event_type")),
        *(ids.column("product_id"), text("session_id"), number, text("reason")),
        Column("digest", "digest::ubigint", "a digest"),
    )
    land_nothing(con, landing.path(0), columns)
    con.execute(
        f"create temp view events as select *, row as at_row from {event_parts.every(folder)}"
    )
    event_selection.find_doubles(con, landing, event_parts.NOTHING, {}, [])
    landing.write(con)


def land_events(
    con: duckdb.DuckDBPyConnection,
    staged: Sequence[Staged],
    folder: Path,
    last: Landing,
    ids: Ids,
    types: Mapping[str, str],
    keep_products: Collection[str],
    reading: Reading,
    notes: list[str],
    *,
    with_orders: bool,
) -> Table:
    """Land the events, check them, and find those that do not count.

    Creates the view `events` of all rows, and the view `kept_events` of those that count.

    Args:
        con: an in-memory database; with orders, it has the table `placed`.
        staged: the raw files.
        folder: where to write.
        last: the last landing.
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
    derived = event_selection.derived(reading, with_orders=with_orders)

    def check(table: Table) -> None:
        check_rows(con, table, [*(column.rule for column in columns), received])
        _check_ids(con, table, ids, keep_products, reading)

    parses = [column.sql for column in columns if column.name != "event_type"]
    rules = [parses, derived, sorted(types.items()), sorted(keep_products)]
    # As JSON stores it: tuples become lists.
    rules = json.loads(json.dumps(rules))
    if last.rules != rules:
        last = event_parts.NOTHING
    landing, linked = event_parts.land(con, staged, folder, last, rules, columns, derived, check)
    table = Table(
        folder / event_parts.FOLDER,
        tuple((part.file, of.rows) for part, of in zip(staged, landing.parts, strict=True)),
        is_apart=True,
    )
    reject_empty(table.parts)
    con.execute(
        f"create temp view events as select *, part * {PART} + row as at_row "
        f"from {event_parts.every(folder)}"
    )
    late = replace(clock.EVENTS, column="known_at")
    received_ahead = [replace(c, column="received_at") for c in clock.dates(reading, late)[:1]]
    ahead = [] if reading.allow_future else received_ahead
    check_together(con, {"events": table}, [*clock.dates(reading, clock.EVENTS), *ahead])
    _check_hours(con, table)
    event_selection.find_doubles(con, landing, last, linked, notes)
    landing.write(con)
    table = event_selection.leave_out(con, table, notes)
    event_notes.tell_heavy(con, notes)
    event_notes.tell_late(con, notes)
    if with_orders:
        event_notes.tell_unordered(con, notes)
        event_notes.tell_strangers(con, notes)
    return table


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
            utc[column] = have_offsets and all(clock.is_utc(con, part, column) for part in staged)
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
        ask(
            con,
            part,
            f"offsets {column}",
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
        distinct = f"select {name}, min(at_row) as at_row from {table.name} group by {name}"
        found = con.execute(f"select {firsts} from ({distinct})").fetchall()[0]
        for at_row, rule in zip(found, rules, strict=True):
            if at_row is not None:
                raise table.fault(con, at_row, name, rule.problem, rule.advice, rule.explain)


def _check_hours(con: duckdb.DuckDBPyConnection, table: Table) -> None:
    rows = sum(count for _, count in table.parts)
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
