"""Read the columns of raw files by their own names, as text in Restock's notation.

What `ml.sources.mapping` and `restock.toml` say about names, formats and decimal signs is done
here, so that everything after it reads files with Restock's columns.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb

from ml.reading import Reading
from ml.sources import purchases, times
from ml.sources.landing import copy
from ml.sources.mapping import locate_columns, require_same_columns
from ml.sources.packings import WORKBOOK
from ml.sources.raw import RawFile, SourceError, parquet

NUMBERS = ("cart_position", *purchases.AMOUNTS, "value")
DATES = ("starts_on", "ends_on")
TIMES = ("ordered_at", "occurred_at", "received_at", *DATES)

# Allowed types of Parquet columns, and what to do about any other type.
_WHOLE = r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DECIMAL\(\d+,0\)"
_TEXT = r"VARCHAR|UUID|ENUM\(.*\)"
_NUMBER = rf"{_WHOLE}|FLOAT|DOUBLE|DECIMAL\(.*\)"
_DATE = f"DATE|TIMESTAMP.*|{_TEXT}", "Cast it to a date"
_CLOCK = f"TIMESTAMP.*|{_TEXT}", "Cast it to a timestamp"
_TYPES = {
    "id": (f"{_WHOLE}|{_TEXT}", "Cast it to an integer or to text"),
    "ordered_at": (f"DATE|TIMESTAMP.*|{_TEXT}", "Cast it to a timestamp or to a date"),
    "occurred_at": _CLOCK,
    "received_at": _CLOCK,
    **dict.fromkeys(DATES, _DATE),
    "cart_position": (f"{_WHOLE}|FLOAT|DOUBLE|{_TEXT}", "Cast it to an integer"),
    **dict.fromkeys((*purchases.AMOUNTS, "value"), (f"{_NUMBER}|{_TEXT}", "Cast it to a number")),
}
# Types that need no text in between.
_NATIVE = {
    "id": r"U?(TINY|SMALL)INT|U?INTEGER|BIGINT",
    "date": "DATE",
    "time": r"TIMESTAMP(_S|_MS|_NS)?|TIMESTAMP WITH TIME ZONE",
    "number": _NUMBER,
}


@dataclass(frozen=True)
class Staged:
    """A raw file, and the query for those of its columns that it has, in the order of its rows.

    Attributes:
        file: the raw file.
        source: SQL that selects the columns, without those that the file lacks.
        path: the Parquet file that `source` reads.
        lacks: the columns that the file lacks.
        native: the type of each column that is not text.
        texts: SQL for the columns of the file to copy to `path`, if it is not copied yet.
        answers: what `ask` has found out about the file.
    """

    file: RawFile
    source: str
    path: Path
    lacks: tuple[str, ...]
    native: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)

    def copy(self, con: duckdb.DuckDBPyConnection) -> None:
        """Copy the file to `path`, unless that is done."""
        if not self.path.exists():
            copy(con, [(self.file, self.file.select(self.texts))], self.path)

    @property
    def rows(self) -> str:
        """SQL for the columns that the file has, with `file_row_number`."""
        return f"select {self.source}, file_row_number from {parquet(self.path)}"

    @property
    def sql(self) -> str:
        """SQL for all columns, with `file_row_number`."""
        lacking = "".join(f", null::varchar as {column}" for column in self.lacks)
        return f"select *{lacking} from ({self.rows})"


def stage(
    con: duckdb.DuckDBPyConnection,
    table: str,
    files: Sequence[RawFile],
    columns: tuple[Sequence[str], Sequence[str]],
    reading: Reading,
    scratch: Path,
    more: Sequence[str] = (),
    *,
    in_place: bool = False,
) -> list[Staged]:
    """Find the columns of a table in its raw files, and copy them to Parquet files as text.

    Args:
        con: an in-memory database.
        table: the name of the table.
        files: the parts of the table.
        columns: the required and the optional columns.
        reading: how to read the files.
        scratch: where to write.
        more: columns to copy if they are there.
        in_place: do not copy Parquet files, and keep the types of columns where all parts have the
            type of an ID, a time or a number. Large tables are read several times faster. Other
            files are copied when they are first read.
    """
    required, optional = columns
    wanted = (*required, *optional, *more)
    located: list[RawFile] = []
    for number, raw in enumerate(files):
        file = _prepared(raw, reading, scratch / f"{table}.{number}.csv")
        if located:
            require_same_columns(file, located[0])
        located.append(locate_columns(file, required, optional, more, reading=reading))
    native = _native(located, wanted, reading) if in_place else {}
    staged: list[Staged] = []
    for number, file in enumerate(located):
        texts = {
            column: file.column(file.origins[column][0])
            if column in native
            else _as_text(file, column, reading)
            for column in wanted
            if column in file.origins
        }
        lacks = tuple(column for column in wanted if column not in texts)
        if in_place and file.is_parquet:
            # A csv file has no empty texts.
            texts |= {c: f"nullif({sql}, '')" for c, sql in texts.items() if c not in native}
            source = ", ".join(f"{sql} as {column}" for column, sql in texts.items())
            staged.append(Staged(file, source, file.path, lacks, native))
        else:
            path = scratch / f"{table}.{number}.parquet"
            staged.append(Staged(file, "*", path, lacks, texts=texts))
            if not in_place:
                staged[-1].copy(con)
    return staged


def query(con: duckdb.DuckDBPyConnection, part: Staged, sql: str) -> list[tuple[Any, ...]]:
    """Run a query over one staged file.

    Raises:
        SourceError: the file cannot be read.
    """
    part.copy(con)
    try:
        return con.execute(sql).fetchall()
    except duckdb.Error:
        part.file.probe(part.sql)
        raise


def ask(con: duckdb.DuckDBPyConnection, part: Staged, question: str, sql: str) -> Any:
    """Run a query over one staged file, unless its `answers` have the result.

    Raises:
        SourceError: the file cannot be read.
    """
    if question not in part.answers:
        part.answers[question] = query(con, part, sql)
    return part.answers[question]


def _native(files: Sequence[RawFile], columns: Sequence[str], reading: Reading) -> dict[str, str]:
    """Return the type of each column that needs no text, because all files are of one such type."""
    native = {}
    for column in columns:
        mapping = reading.mapping(column)
        kind = "id" if column in ("user_id", "product_id") else "number"
        kind = "time" if column in TIMES else kind
        kind = "date" if column in DATES else kind
        if kind == "number" and column not in NUMBERS:
            continue
        if mapping.format or mapping.day_1 or len(mapping.names) > 1:
            continue
        types = {
            file.types[file.origins[column][0]]
            if file.is_parquet and column in file.origins
            else ""
            for file in files
        }
        is_zoned = {"ZONE" in type_ for type_ in types}
        if len(is_zoned) == 1 and all(re.fullmatch(_NATIVE[kind], type_) for type_ in types):
            native[column] = max(types)
    return native


def _prepared(file: RawFile, reading: Reading, scratch: Path) -> RawFile:
    """Return a csv file with its delimiter, in UTF-8."""
    if file.is_parquet or file.name.lower().endswith(WORKBOOK):
        return file
    if reading.encoding.lower() not in ("utf-8", "utf8"):
        try:
            with (
                file.path.open(encoding=reading.encoding, newline="") as source,
                scratch.open("w", encoding="utf-8", newline="") as sink,
            ):
                shutil.copyfileobj(source, sink)
        except UnicodeError as error:
            problem = f"the text is not {reading.encoding} ({error})"
            advice = "Correct encoding, under [reading] in restock.toml"
            raise SourceError(problem, advice, file=file.name) from error
        file = replace(file, path=scratch)
    return replace(file, delimiter=reading.delimiter)


def _as_text(file: RawFile, column: str, reading: Reading) -> str:
    """Return SQL for a column as text, as a file with Restock's names would write it."""
    names, mapping = file.origins[column], reading.mapping(column)
    is_mapped = mapping in reading.columns
    kind = "id" if column.endswith("_id") else column
    allowed, advice = _TYPES.get(kind, (".*", ""))
    if column in TIMES and (mapping.format or mapping.day_1):
        allowed = f"{allowed}|{_WHOLE}|FLOAT|DOUBLE"
    for name in names if file.is_parquet else ():
        if not re.fullmatch(allowed, file.types[name]):
            problem = f"the type {file.types[name]} is not supported"
            raise SourceError(problem, advice, file=file.name, column=file.title(column))
    texts = [file.text(name) for name in names]
    if column in TIMES:
        is_time = file.is_parquet and file.types[names[0]].startswith(("DATE", "TIMESTAMP"))
        return texts[0] if is_time else times.canonical(texts, mapping)
    if kind == "id" and is_mapped:
        # pandas writes whole numbers beside empty values as 17850.0.
        texts = [f"regexp_replace({sql}, '^([0-9]{{1,15}})[.]0$', '\\1')" for sql in texts]
    if column in NUMBERS and reading.decimal == ",":
        texts = [f"translate({sql}, ',.', '.,')" for sql in texts]
    if len(texts) == 1:
        if column == "user_id" and reading.skip_missing_shoppers:
            return purchases.shopper_or_null(texts[0], reading)
        return texts[0]
    if kind != "id":
        return " || ' ' || ".join(texts)
    # With these escapes, different values never make the same id.
    escaped = (f"replace(replace({sql}, '\\', '\\\\'), '|', '\\|')" for sql in texts)
    return " || '|' || ".join(escaped)


def are_whole(con: duckdb.DuckDBPyConnection, staged: Sequence[Staged], name: str) -> bool:
    """Return whether all IDs in a column are whole numbers in canonical form."""
    for part in staged:
        origins = part.file.origins.get(name)
        if origins is None or name in part.native:
            continue
        if part.file.is_parquet and re.fullmatch(_TEXT, part.file.types[origins[0]]):
            return False
        are_whole = (
            f"bool_and(coalesce(try_cast({name} as bigint)::varchar = {name}, {name} is null))"
        )
        # A part may have no rows.
        sql = f"select coalesce({are_whole}, true) from ({part.sql})"
        if not ask(con, part, f"whole {name}", sql)[0][0]:
            return False
    return True
