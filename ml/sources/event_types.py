"""What the names of events mean: `seeds/event_types.csv`, and a file of the user's own."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from ml.reading import Reading
from ml.settings import PROJECT
from ml.sources.mapping import folded
from ml.sources.purchases import texts
from ml.sources.raw import RawFile, SourceError
from ml.sources.staging import Staged, ask, query, stage

TYPES = ("view", "search", "cart", "remove", "checkout", "purchase")
IGNORE = "ignore"
SEED = PROJECT / "seeds" / "event_types.csv"
COLUMNS = ("event_name", "event_type")
_OTHERS = "*"
_COMMONEST = 10


def known(
    con: duckdb.DuckDBPyConnection, own: Sequence[RawFile], reading: Reading, scratch: Path
) -> dict[str, str]:
    """Return the type of each known name, and under `*` that of all others if the user gives one.

    Raises:
        SourceError: a row of the user's own file is invalid.
    """
    with SEED.open(encoding="utf-8", newline="") as file:
        types = {_key(row["event_name"]): row["event_type"] for row in csv.DictReader(file)}
    own_types: dict[str, str] = {}
    plain = Reading(delimiter=reading.delimiter, encoding=reading.encoding)
    for part in stage(con, "event_types", own, (COLUMNS, ()), plain, scratch):
        columns = f"{', '.join(COLUMNS)}, file_row_number"
        rows = query(con, part, f"select {columns} from ({part.sql}) order by file_row_number")
        for name, type_, row in rows:
            key = _key(name or "")
            event_type = (type_ or "").strip().casefold()
            problem, column = "", "event_type"
            if not key:
                problem, column = "the name of the event is empty", "event_name"
            elif event_type not in (*TYPES, IGNORE):
                problem = f'"{type_ or ""}" is not a type of event'
            elif own_types.get(key, event_type) != event_type:
                problem = f'"{name}" is there twice, as {own_types[key]} and as {event_type}'
            if problem:
                line, _ = part.file.locate(row)
                advice = f"Write one of {', '.join(TYPES)} and {IGNORE} for each name"
                name = part.file.name
                raise SourceError(problem, advice, file=name, line=line, column=column)
            own_types[key] = event_type
    return types | own_types


def _key(name: str) -> str:
    """Return what a name is known by: case, blanks, `-` and `_` do not count."""
    return folded(name) or name.strip()


def typed(
    con: duckdb.DuckDBPyConnection, staged: Sequence[Staged], types: Mapping[str, str]
) -> str:
    """Return SQL for the type of an event.

    Raises:
        SourceError: the files have names that are not known.
    """
    counts: dict[str, int] = {}
    for part in staged:
        sql = (
            f"select event_type, count(*) from ({part.sql}) where event_type is not null group by 1"
        )
        for name, events in ask(con, part, "event types", sql):
            counts[name] = counts.get(name, 0) + events
    commonest = sorted(counts, key=lambda name: (-counts[name], name))
    found = {name: types.get(_key(name), types.get(_OTHERS)) for name in commonest}
    if unknown := [name for name, type_ in found.items() if type_ is None]:
        raise _unknown(unknown, counts, types, staged[0].file)
    names: dict[str, list[str]] = {}
    for name, type_ in found.items():
        names.setdefault(type_ or "", []).append(name)
    whens = (f"when event_type in ({texts(of)}) then '{type_}'" for type_, of in names.items())
    return f"case {' '.join(whens)} end" if names else "event_type"


def _unknown(
    unknown: Sequence[str], counts: Mapping[str, int], types: Mapping[str, str], file: RawFile
) -> SourceError:
    listed = []
    for name in unknown[:_COMMONEST]:
        near = difflib.get_close_matches(_key(name), types, 1, 0.7)
        like = f", like {near[0]}: {types[near[0]]}" if near else ""
        listed.append(f'"{name}" ({counts[name]:,}{like})')
    rows = sum(counts[name] for name in unknown)
    which = "name of an event is" if len(unknown) == 1 else "names of events are"
    commonest = ", the commonest" if len(unknown) > _COMMONEST else ""
    return SourceError(
        f"{len(unknown):,} {which} unknown, in {rows:,} of {sum(counts.values()):,} events"
        f"{commonest}: {', '.join(listed)}",
        "Add an event_types.csv with the columns event_name and event_type to the folder, and a "
        f"row for each name; the types are {', '.join(TYPES)} and {IGNORE}. A last row *,{IGNORE} "
        "leaves out all other events",
        file=file.name,
        column=file.title("event_type"),
    )
