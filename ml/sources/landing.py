"""Turn raw text into typed Parquet files with strict parsing and row checks, all in SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import duckdb

from ml.sources.raw import EXPORT_AGAIN, RawFile, SourceError, parquet, quoted

Explain = Callable[[str], tuple[str, str] | None]
"""Says what is wrong with the raw text of a value and what to do, or None."""


@dataclass(frozen=True)
class Column:
    """A column to land.

    `sql` parses the raw text strictly: malformed text becomes NULL. A required column rejects
    NULL. In an optional column, malformed text becomes a value that `valid` rejects, so only empty
    text lands as NULL.
    """

    name: str
    sql: str
    means: str
    valid: str = "true"
    required: bool = True
    explain: Explain | None = None
    advice: str = EXPORT_AGAIN

    @property
    def rule(self) -> Rule:
        """The rule that every landed value must meet."""
        missing = f"{self.name} is null or " if self.required else ""
        broken = f"{missing}not ({self.valid})"
        problem = "{value} is not " + self.means
        return Rule(self.name, broken, problem, self.advice, self.explain)


def identifier(name: str) -> Column:
    """Return a column of whole numbers in canonical form: `7` or `-22`, not `007` or `7.0`.

    Ids are compared across files, so the text must survive a conversion to a number and back.
    """
    return Column(
        name, f"case when {_is_canonical(name, 'bigint')} then {name}::bigint end", "a whole number"
    )


def count(
    name: str, means: str, valid: str, *, type: str = "smallint", required: bool = True
) -> Column:
    """Return a column of counts or ranks, which may have leading zeros or end in `.0`.

    Kaggle's files write an hour as `08`, and pandas writes a whole number as `8.0`.
    """
    is_whole = f"{_is_canonical(name, type)} or regexp_full_match({name}, '[0-9]+([.]0+)?')"
    number = f"case when {is_whole} then try_cast({name} as {type}) end"
    return Column(name, number if required else _or_minus_one(name, number), means, valid, required)


def _is_canonical(name: str, type: str) -> str:
    # DuckDB also casts 1.5, 1e3, 0x10 and ' 7' to integers, so compare the result with the text.
    return f"try_cast({name} as {type})::varchar = {name}"


def decimal(name: str, means: str, valid: str) -> Column:
    """Return an optional column of non-negative decimal numbers."""
    strict = f"case when regexp_full_match({name}, '[0-9]+([.][0-9]+)?') then {name}::double end"
    return Column(name, _or_minus_one(name, strict), means, valid, required=False)


def text(
    name: str,
    means: str = "text",
    valid: str = "true",
    *,
    required: bool = True,
    explain: Explain | None = None,
) -> Column:
    """Return a column of text."""
    return Column(name, name, means, valid, required, explain)


def _or_minus_one(name: str, strict: str) -> str:
    return f"case when {name} is not null then coalesce({strict}, -1) end"


@dataclass(frozen=True)
class Rule:
    """A rule for single rows: `broken` is true if a row breaks it, `problem` may use `{value}`."""

    column: str
    broken: str
    problem: str
    advice: str = EXPORT_AGAIN
    explain: Explain | None = None


@dataclass(frozen=True)
class Check:
    """A rule across rows.

    `sql` selects the offending rows: their position in the table (`at_row`), then the values that
    fill the placeholders of `problem`.
    """

    table: str
    column: str
    sql: str
    problem: str
    advice: str = EXPORT_AGAIN


# The column of `read_parquet` that numbers rows, and a number above every row of a raw file.
ROW, PART = "file_row_number", 10**12


@dataclass(frozen=True)
class Table:
    """A landed table: its Parquet file, and its raw files in order, each with its row count.

    In its view, `at_row` is the row in the Parquet file plus `PART` times the number of the raw
    file. So all rows of a raw file sort before those of the next.

    Rows can be left out after they are checked. `left_out` has the number of a raw file, why rows
    were left out, and how many.

    `is_apart` is true if each raw file has a Parquet file of its own, with a row for each of its.
    """

    path: Path
    parts: tuple[tuple[RawFile, int], ...]
    left_out: tuple[tuple[int, str, int], ...] = ()
    is_apart: bool = False

    @property
    def name(self) -> str:
        """The name of the table, which is the stem of its file."""
        return self.path.stem

    def fault(
        self,
        con: duckdb.DuckDBPyConnection,
        at_row: int,
        column: str,
        problem: str,
        advice: str = EXPORT_AGAIN,
        explain: Explain | None = None,
    ) -> SourceError:
        """Return an error that locates a landed row in its raw file."""
        part, row = divmod(at_row, PART)
        if len(self.parts) > 1 and not self.is_apart:
            sql = f"select count(*) from {parquet(self.path)} where part = ? and {ROW} < ?"
            row = con.execute(sql, [part, row]).fetchall()[0][0]
        file, _ = self.parts[part]
        line, texts = file.locate(row)
        text = texts.get(column, "")
        problem = problem.replace("{value}", f'"{text}"' if text else "an empty value")
        if explain and text:
            problem, advice = explain(text) or (problem, advice)
        title = file.title(column)
        return SourceError(problem, advice, file=file.name, line=line, column=title)


def copy(
    con: duckdb.DuckDBPyConnection,
    parts: Sequence[tuple[RawFile, str]],
    path: Path,
    options: str = "format parquet",
) -> int:
    """Write queries over raw files to one Parquet file, and return the row count.

    The rows of a raw file keep their order. With one thread, DuckDB may write some of them after
    rows of the next raw file, so several raw files need a column that tells them apart.

    Raises:
        SourceError: a raw file cannot be read.
        duckdb.Error: the Parquet file cannot be written.
    """
    query = " union all ".join(f"({sql})" for _, sql in parts)
    try:
        con.execute(f"copy ({query}) to {quoted(path)} ({options})")
    except duckdb.Error:
        for file, sql in parts:  # Blame a raw file if it fails on its own.
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
    """Land raw files as one table, and check every row.

    Args:
        con: an in-memory database.
        path: the Parquet file to write.
        parts: raw files, each with SQL that selects its columns as text.
        columns: the columns to land.
        rules: rules for rows beyond those of the columns.

    Raises:
        SourceError: a file cannot be read or has no rows, or a row breaks a rule.
    """
    select = ", ".join(f"{column.sql} as {column.name}" for column in columns)
    queries = [(file, f"select {select} from ({sql})") for file, sql in parts]
    at_row = ROW
    if len(parts) > 1:
        queries = [
            (file, f"select *, {part}::usmallint as part from ({sql})")
            for part, (file, sql) in enumerate(queries)
        ]
        at_row = f"part * {PART} + {ROW}"
    landed = copy(con, queries, path)
    table = Table(path, counted([file for file, _ in parts], landed))
    reject_empty(table.parts)
    con.execute(
        f"create or replace temp view {table.name} as "
        f"select *, {at_row} as at_row from {parquet(path)}"
    )
    check_rows(con, table, [*(column.rule for column in columns), *rules])
    return table


def counted(files: Sequence[RawFile], landed: int) -> tuple[tuple[RawFile, int], ...]:
    """Return raw files, each with its row count, which does not come from DuckDB's csv reader.

    Raises:
        SourceError: DuckDB has read another number of rows.
    """
    counts = [file.count_lines() for file in files]
    if sum(counts) != landed:  # blank lines, or values with line breaks
        counts = [file.count_rows() for file in files]
    if sum(counts) != landed:
        problem = f"Restock counted {sum(counts)} rows, but DuckDB read {landed}"
        names = " and ".join(file.name for file in files)
        raise SourceError(problem, "Look for unclosed quotes", file=names)
    return tuple(zip(files, counts, strict=True))


def reject_empty(parts: Sequence[tuple[RawFile, int]]) -> None:
    """Raise a SourceError if a raw file has no rows; one of several parts may have none."""
    landed = sum(rows for _, rows in parts)
    for file, rows in parts:
        if rows == 0 and not (file.is_part and landed):
            raise SourceError("the file has no rows", EXPORT_AGAIN, file=file.name)


def tell_ignored(files: Iterable[RawFile], notes: list[str]) -> None:
    """Add a note that names the columns of raw files that are not used."""
    ignored = []
    for file in files:
        used = {"_id", *chain.from_iterable(file.origins.values())}  # MongoDB adds `_id`
        if names := [name or "(no name)" for name in file.header if name not in used]:
            ignored.append(f"{', '.join(names)[:300]} ({file.name})")
    if ignored:
        notes.append(f"Ignored columns: {'; '.join(ignored)}.")


def land_nothing(con: duckdb.DuckDBPyConnection, path: Path, columns: Sequence[Column]) -> None:
    """Land an empty table in place of a missing raw file."""
    texts = ", ".join(f"null::varchar as {column.name}" for column in columns)
    select = ", ".join(f"{column.sql} as {column.name}" for column in columns)
    con.execute(f"copy (select {select} from (select {texts}) limit 0) to {quoted(path)}")


def check_rows(con: duckdb.DuckDBPyConnection, table: Table, rules: Sequence[Rule]) -> None:
    """Raise a SourceError about the first row that breaks a rule."""
    firsts = ", ".join(f"min(case when {rule.broken} then at_row end)" for rule in rules)
    found = con.execute(f"select {firsts} from {table.name}").fetchall()[0]
    broken = [(row, rule) for row, rule in zip(found, rules, strict=True) if row is not None]
    if broken:
        row, rule = min(broken, key=lambda pair: pair[0])
        raise table.fault(con, row, rule.column, rule.problem, rule.advice, rule.explain)


def check_together(
    con: duckdb.DuckDBPyConnection, tables: Mapping[str, Table], checks: Sequence[Check]
) -> None:
    """Raise a SourceError about the first row that fails a check."""
    for check in checks:
        hit = con.execute(f"from ({check.sql}) order by at_row limit 1").fetchone()
        if hit:
            row, *named = hit
            problem = check.problem.format(*named)
            raise tables[check.table].fault(con, row, check.column, problem, check.advice)


def unique(table: str, *columns: str, problem: str, slices: Sequence[str] = ("true",)) -> Check:
    """Return a check that no two rows of a table have the same values in these columns.

    Args:
        table: a landed table.
        columns: the key; the error names the last of them.
        problem: what is wrong, with a `{}` for each column of the key.
        slices: conditions on the first column; each value meets exactly one. Checking a large
            table slice by slice takes less memory and less time.
    """
    key = ", ".join(columns)
    duplicates = " union all ".join(
        f"(select {key} from {table} where {slice_} group by {key} having count(*) > 1)"
        for slice_ in slices
    )
    return Check(
        table,
        columns[-1],
        f"""
        select max(at_row) as at_row, {key}
        from {table}
        inner join ({duplicates}) using ({key})
        group by {key}
        """,
        problem,
        advice="Remove the duplicate, or export the file again",
    )
