"""The raw files of an event log, each landed as a Parquet file of its own.

A raw file that has not changed since the last landing is not read again: its Parquet file is linked
into the new landing. That file depends on nothing but its raw file and the rules by which it was
landed. What depends on other files too, such as which events are doubles, is kept apart.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ml.sources.landing import PART, ROW, Column, Table, copy, counted
from ml.sources.raw import RawFile, parquet, quoted
from ml.sources.staging import Staged

LANDED = (
    *("user_id", "event_id", "occurred_at", "known_at", "event_type"),
    *("product_id", "session_id", "value"),
)
"""The columns of an event."""
FOLDER, DOUBLES, DAYS = "events", "events/doubles.parquet", "event_days.parquet"
"""The folder of the landed files, the list of the doubles, and the number of events on each day."""
CONTENT = f"hash({', '.join(LANDED)})"
"""SQL for a digest of an event."""
_PARTS = "events/parts.json"


def every(folder: Path) -> str:
    """Return SQL for all landed events, with `part`, the number of the raw file, and its `row`.

    A row does not count on its own if it has a `reason`. `digest` is the same for doubles.
    """
    paths = quoted(folder / FOLDER, pattern=True)[:-1] + "/part_*.parquet'"
    return (
        f"(select *, file_index::usmallint as part, {ROW} as row "
        f"from read_parquet({paths}, hive_partitioning = false))"
    )


def landed_events(folder: Path) -> str:
    """Return SQL for the landed events that count."""
    return (
        f"select {', '.join(LANDED)} from {every(folder)} "
        f"anti join read_parquet({quoted(folder / DOUBLES, pattern=True)}) using (part, row) "
        "where reason is null"
    )


@dataclass(frozen=True)
class Part:
    """A landed raw file.

    Attributes:
        name: the raw file as the user knows it.
        stamp: its size and modification time.
        rows: its number of rows.
        days: each day on which events became known: how many count, and the sum of their digests,
            before doubles are left out.
        answers: what is known about the raw file, see `ml.sources.staging.ask`.
    """

    name: str
    stamp: tuple[int, int]
    rows: int
    days: Sequence[tuple[str, int, str]]
    answers: dict[str, Any]


@dataclass(frozen=True)
class Landing:
    """The landed raw files of an event log, in order.

    Attributes:
        folder: where they were landed.
        rules: all that a landed row depends on besides its raw file.
        parts: the raw files.
    """

    folder: Path
    rules: Any
    parts: Sequence[Part]

    def path(self, number: int) -> Path:
        """Return the Parquet file of a raw file."""
        return self.folder / FOLDER / f"part_{number:05}.parquet"

    def write(self, con: duckdb.DuckDBPyConnection) -> None:
        """Write what goes with the Parquet files: the table `doubles`, the days and the record."""
        stored = {"rules": self.rules, "parts": [vars(part) for part in self.parts]}
        (self.folder / _PARTS).write_text(json.dumps(stored), encoding="utf-8")
        con.execute(
            f"copy (select (at_row // {PART})::usmallint as part, at_row % {PART} as row, "
            f"* exclude (at_row) from doubles) to {quoted(self.folder / DOUBLES)}"
        )
        names = {"day": pa.string(), "event_count": pa.int64(), "digest": pa.string()}
        days = [dict(zip(names, day, strict=True)) for part in self.parts for day in part.days]
        con.register("landed_days", pa.Table.from_pylist(days, pa.schema(names)))
        con.execute(
            f"""
            copy (
                select
                    day::date as day,
                    sum(event_count)::bigint as event_count,
                    sum(digest::hugeint)::varchar as digest
                from (
                    from landed_days
                    union all
                    select day::varchar, -1, (-content::hugeint)::varchar
                    from doubles where content is not null
                )
                group by all
                having sum(event_count) > 0
                order by all
            ) to {quoted(self.folder / DAYS)}
            """
        )

    def answers(self, file: RawFile) -> dict[str, Any]:
        """Return what is known about a raw file, if it has not changed."""
        same = (part for part in self.parts if (part.name, part.stamp) == (file.name, file.stamp))
        return next((part.answers for part in same), {})


NOTHING = Landing(Path(), None, ())
"""A landing without any raw file."""


def read(folder: Path) -> Landing:
    """Return what was landed in a folder; nothing if it has no events."""
    if not (folder / _PARTS).exists():
        return NOTHING
    stored = json.loads((folder / _PARTS).read_text(encoding="utf-8"))
    parts = [Part(**{**part, "stamp": tuple(part["stamp"])}) for part in stored["parts"]]
    return Landing(folder, stored["rules"], parts)


def land(
    con: duckdb.DuckDBPyConnection,
    staged: Sequence[Staged],
    folder: Path,
    last: Landing,
    rules: Any,
    columns: Sequence[Column],
    derived: str,
    check: Callable[[Table], None],
) -> tuple[Landing, dict[int, int]]:
    """Land the raw files that are not in the last landing, and link the others.

    Args:
        con: an in-memory database.
        staged: the raw files.
        folder: where to write.
        last: the last landing.
        rules: all that a landed row depends on besides its raw file, as JSON has it.
        columns: the columns to land.
        derived: SQL for `reason` and `digest`, computed from them.
        check: raises a SourceError if the rows of a raw file, which are in a view, break a rule.

    Returns:
        What was landed, and the raw files that were linked: the number of each in the last landing
        and its number now.

    Raises:
        SourceError: a raw file cannot be read, or breaks a rule.
    """
    known = {(part.name, part.stamp): number for number, part in enumerate(last.parts)}
    (folder / FOLDER).mkdir()
    landing = Landing(folder, rules, parts := [])
    linked = {}
    for number, part in enumerate(staged):
        before = known.get((part.file.name, part.file.stamp))
        if before is None:
            parts.append(_land(con, part, landing.path(number), columns, derived, check))
        else:
            linked[before] = number
            _link(last.path(before), landing.path(number))
            parts.append(last.parts[before])
    return landing, linked


def _land(
    con: duckdb.DuckDBPyConnection,
    part: Staged,
    path: Path,
    columns: Sequence[Column],
    derived: str,
    check: Callable[[Table], None],
) -> Part:
    part.copy(con)
    file = part.file
    select = ", ".join(f"{column.sql} as {column.name}" for column in columns)
    sql = f"select *, {derived} from (select {select} from ({part.sql}))"
    # IDs of events are not worth a dictionary.
    rows = copy(con, [(file, sql)], path, "format parquet, dictionary_size_limit 1000")
    table = Table(path, counted([file], rows))
    con.execute(f"create temp view {table.name} as select *, {ROW} as at_row from {parquet(path)}")
    check(table)
    days = con.execute(
        f"select known_at::date::varchar, count(*), sum({CONTENT})::varchar from {table.name} "
        "where reason is null group by all order by all"
    ).fetchall()
    con.execute(f"drop view {table.name}")
    return Part(file.name, file.stamp, rows, days, part.answers)


def _link(landed: Path, path: Path) -> None:
    """Make a landed file appear in another landing, too."""
    try:
        os.link(landed, path)
    except OSError:  # The file system has no links.
        shutil.copyfile(landed, path)
