"""From raw text to a typed Parquet file: every value read strictly, every rule checked, in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ml.sources.raw import EXPORT_AGAIN, RawFile, SourceError, parquet, quoted


@dataclass(frozen=True)
class Column:
    """A column to land.

    `sql` reads its text strictly: NULL where the text is malformed. A required column refuses
    NULL; an optional one turns what is malformed into a value that `valid` refuses, so that only
    an empty text lands as NULL.
    """

    name: str
    sql: str
    means: str
    valid: str = "true"
    required: bool = True

    @property
    def rule(self) -> Rule:
        """The rule that a landed value must keep."""
        missing = f"{self.name} is null or " if self.required else ""
        return Rule(self.name, f"{missing}not ({self.valid})", "{value} is not " + self.means)


def identifier(name: str) -> Column:
    """Return a column of whole numbers that must be written as a database writes them.

    An id is compared with ids of other files, so it must survive the way to a number and back.
    """
    return Column(
        name, f"case when {_unpadded(name, 'bigint')} then {name}::bigint end", "a whole number"
    )


def count(
    name: str, means: str, valid: str, *, type: str = "smallint", required: bool = True
) -> Column:
    """Return a column of numbers that count or rank something, however they are written.

    Kaggle's files write an hour as `08`, and pandas writes a whole number as `8.0`.
    """
    is_whole = f"{_unpadded(name, type)} or regexp_full_match({name}, '[0-9]+([.]0+)?')"
    number = f"case when {is_whole} then try_cast({name} as {type}) end"
    return Column(name, number if required else _or_minus_one(name, number), means, valid, required)


def _unpadded(name: str, type: str) -> str:
    # DuckDB casts 1.5, 1e3, 0x10 and ' 7' to integers. Comparing with the text tells them apart.
    return f"try_cast({name} as {type})::varchar = {name}"


def decimal(name: str, means: str, valid: str) -> Column:
    """Return an optional column of decimal numbers, none of them negative."""
    strict = f"case when regexp_full_match({name}, '[0-9]+([.][0-9]+)?') then {name}::double end"
    return Column(name, _or_minus_one(name, strict), means, valid, required=False)


def text(name: str, means: str = "a text", valid: str = "true", *, required: bool = True) -> Column:
    """Return a column of text."""
    return Column(name, name, means, valid, required)


def _or_minus_one(name: str, strict: str) -> str:
    return f"case when {name} is not null then coalesce({strict}, -1) end"


@dataclass(frozen=True)
class Rule:
    """What one row must keep: `broken` is true where it does not; `problem` may hold `{value}`."""

    column: str
    broken: str
    problem: str


@dataclass(frozen=True)
class Check:
    """What rows must keep together.

    `sql` selects offending rows: their number in the table (`at_row`) and what `problem` names.
    """

    table: str
    column: str
    sql: str
    problem: str
    advice: str = EXPORT_AGAIN


@dataclass(frozen=True)
class Table:
    """A landed table: its Parquet file, and the raw files whose rows it holds in turn."""

    path: Path
    parts: tuple[tuple[RawFile, int], ...]

    @property
    def name(self) -> str:
        """The table's name, which is its file's."""
        return self.path.stem

    def fault(self, row: int, column: str, problem: str, advice: str = EXPORT_AGAIN) -> SourceError:
        """Return the error that tells where a landed row (0 is the first) is in its raw file."""
        parts = iter(self.parts)
        file, rows = next(parts)
        while row >= rows:
            row -= rows
            file, rows = next(parts)
        line, texts = file.locate(row)
        value = f'"{texts[column]}"' if texts.get(column) else "an empty value"
        problem = problem.replace("{value}", value)
        return SourceError(problem, advice, file=file.name, line=line, column=column)


def copy(con: duckdb.DuckDBPyConnection, parts: Sequence[tuple[RawFile, str]], path: Path) -> int:
    """Write queries over raw files to one Parquet file, rows in their order; return their number.

    Raises:
        SourceError: a raw file cannot be read.
        duckdb.Error: the Parquet file cannot be written.
    """
    query = " union all ".join(f"({sql})" for _, sql in parts)
    try:
        con.execute(f"copy ({query}) to {quoted(path)} (format parquet)")
    except duckdb.Error:
        for file, sql in parts:  # Is it the fault of a raw file, or of the disk?
            file.probe(sql)
        raise
    return con.fetchall()[0][0]


def land(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    parts: Sequence[tuple[RawFile, str]],
    columns: Sequence[Column],
    rules: Sequence[Rule] = (),
) -> Table:
    """Land raw files as one table, and check each of its rows.

    Args:
        con: an in-memory database.
        path: the Parquet file to write.
        parts: raw files, each with the SQL that gives its columns as text.
        columns: what to land.
        rules: what rows must keep beside the rules of the columns.

    Raises:
        SourceError: a file cannot be read or has no rows, or a row breaks a rule.
    """
    select = ", ".join(f"{column.sql} as {column.name}" for column in columns)
    landed = copy(con, [(file, f"select {select} from ({sql})") for file, sql in parts], path)
    counts = [file.count_lines() for file, _ in parts]
    if sum(counts) != landed:  # blank lines, or values with line breaks in them
        counts = [file.count_rows() for file, _ in parts]
    names = " and ".join(file.name for file, _ in parts)
    if sum(counts) != landed:
        problem = f"{sum(counts)} rows were counted and {landed} read"
        raise SourceError(problem, "Look for quotes that are not closed", file=names)
    for (file, _), rows in zip(parts, counts, strict=True):
        if rows == 0:
            raise SourceError("the file has no rows", EXPORT_AGAIN, file=file.name)
    table = Table(path, tuple((file, n) for (file, _), n in zip(parts, counts, strict=True)))
    con.execute(
        f"create or replace temp view {table.name} as "
        f"select *, file_row_number as at_row from {parquet(path)}"
    )
    _check_rows(con, table, [*(column.rule for column in columns), *rules])
    return table


def land_nothing(con: duckdb.DuckDBPyConnection, path: Path, columns: Sequence[Column]) -> None:
    """Land a table without rows, in place of a raw file that is not there."""
    texts = ", ".join(f"null::varchar as {column.name}" for column in columns)
    select = ", ".join(f"{column.sql} as {column.name}" for column in columns)
    con.execute(f"copy (select {select} from (select {texts}) limit 0) to {quoted(path)}")


def _check_rows(con: duckdb.DuckDBPyConnection, table: Table, rules: Sequence[Rule]) -> None:
    firsts = ", ".join(f"min(case when {rule.broken} then at_row end)" for rule in rules)
    found = con.execute(f"select {firsts} from {table.name}").fetchall()[0]
    broken = [(row, rule) for row, rule in zip(found, rules, strict=True) if row is not None]
    if broken:
        row, rule = min(broken, key=lambda pair: pair[0])
        raise table.fault(row, rule.column, rule.problem)


def check_together(
    con: duckdb.DuckDBPyConnection, tables: Mapping[str, Table], checks: Sequence[Check]
) -> None:
    """Raise a SourceError that tells of the first row which breaks one of the checks."""
    for check in checks:
        hit = con.execute(f"from ({check.sql}) order by at_row limit 1").fetchone()
        if hit:
            row, *named = hit
            problem = check.problem.format(*named)
            raise tables[check.table].fault(row, check.column, problem, check.advice)


def unique(table: str, *columns: str, problem: str, slices: Sequence[str] = ("true",)) -> Check:
    """Return the check that no two rows of a table have the same values in these columns.

    Args:
        table: a landed table.
        columns: the key; the error is about the last of them.
        problem: what is wrong, with a `{}` for each column of the key.
        slices: conditions on the first column, of which each value meets one. A big table is
            looked through slice by slice, which takes less memory and less time.
    """
    key = ", ".join(columns)
    doubles = " union all ".join(
        f"(select {key} from {table} where {slice_} group by {key} having count(*) > 1)"
        for slice_ in slices
    )
    return Check(
        table,
        columns[-1],
        f"""
        select max(at_row) as at_row, {key}
        from {table}
        inner join ({doubles}) using ({key})
        group by {key}
        """,
        problem,
        advice="Remove the double, or export the file again",
    )
