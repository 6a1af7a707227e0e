"""One raw file: read it as text, count its rows, and locate a row."""

from __future__ import annotations

import csv
import difflib
import glob
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import duckdb

from ml import errors

EXPORT_AGAIN = "Correct the file, or export it again"
_BLOCK = 1 << 20

# Errors of DuckDB's csv reader: (pattern, what is wrong, what to do).
_CSV_FAULTS = (
    (
        r"Expected Number of Columns: (\d+) Found: (\d+)",
        "the header has {0} columns, but this line has {1}",
        "Export the file again: it may be truncated, or a value may contain an unquoted comma",
    ),
    (
        r"unterminated quote",
        "a quoted value is not closed properly",
        'Close the quote, and write a quote inside a value as ""',
    ),
    (r"Invalid unicode", "the text is not UTF-8", "Save the file as UTF-8"),
    (
        r"state machine reached an invalid state",
        "this line and the first line of the file have different line endings",
        "Use the same line ending throughout: LF or CRLF",
    ),
    (
        r"Maximum line size",
        "the line is longer than 2 MB",
        "Look for an unclosed quote on this line",
    ),
)


class SourceError(errors.SourceError):
    """The raw files are missing or malformed. The message says where, what is wrong and what to do.

    Attributes:
        file: the raw file as the user knows it, such as `orders.csv` or `kaggle.zip/orders.csv`.
        line: line of a csv file (the header is 1) or row of a Parquet file (the first is 1).
        column: the column at fault.
    """

    def __init__(
        self,
        problem: str,
        advice: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: str | None = None,
    ) -> None:
        unit = "row" if file and file.endswith(".parquet") else "line"
        where = (file, line and f"{unit} {line}", column and f"column {column}")
        place = ", ".join(part for part in where if part)
        super().__init__(f"{place + ': ' if place else ''}{problem}. {advice}.")
        self.file, self.line, self.column = file, line, column


def quoted(path: Path, *, pattern: bool = False) -> str:
    """Return a path as an SQL string; set `pattern` where DuckDB expands `*`, `?` and `[`."""
    text = glob.escape(str(path)) if pattern else str(path)
    return "'" + text.replace("'", "''") + "'"


def parquet(path: Path) -> str:
    """Return SQL that reads a Parquet file; a folder named user_id=7 does not add a column."""
    return f"read_parquet({quoted(path, pattern=True)}, hive_partitioning = false)"


@dataclass(frozen=True)
class RawFile:
    """One raw file, unpacked: `name` is shown to the user, `path` is its place on disk."""

    name: str
    path: Path

    @property
    def is_parquet(self) -> bool:
        """Whether the file is Parquet; otherwise it is csv."""
        return self.path.suffix == ".parquet"

    @cached_property
    def types(self) -> dict[str, str]:
        """DuckDB type of each column of a Parquet file.

        Raises:
            SourceError: the file is not valid Parquet.
        """
        return {name: type_ for name, type_, *_ in self._query(f"describe from {self._scan()}")}

    @cached_property
    def header(self) -> tuple[str, ...]:
        """Names of the columns.

        Raises:
            SourceError: the header is missing or unreadable.
        """
        if self.is_parquet:
            return tuple(self.types)
        _, header = next(self._csv_rows(), (1, []))
        if not header:
            raise SourceError("the file has no header", EXPORT_AGAIN, file=self.name)
        if re.search("[\0\ufffd]", "".join(header)):
            raise SourceError("the text is not UTF-8", "Save the file as UTF-8", file=self.name)
        return tuple(header)

    def require(self, columns: Collection[str], optional: Collection[str] = ()) -> None:
        """Raise a SourceError unless the file has each of these columns exactly once.

        An optional column may be missing, but not misspelt.
        """
        for column in (*columns, *optional):
            times = self.header.count(column)
            if times == 1 or (times == 0 and column in optional and not self._similar(column, 0.9)):
                continue
            problem = "the column is missing; found " + ", ".join(map(repr, self.header))[:300]
            advice = f"Add a column {column!r}"
            if times:
                problem, advice = "the column is repeated", "Rename or remove one of them"
            elif len(self.header) == 1 and re.search(r"[;\t|]", self.header[0]):
                advice = "Separate the values with commas"
            elif near := set(self._similar(column, 0.6)) - {*columns, *optional}:
                advice = f"Rename {min(near)!r} to {column!r}"
            elif not set(columns) & set(self.header):
                advice = f"Add a header as the first line: {', '.join(columns)}"
            raise SourceError(problem, advice, file=self.name, column=column)

    def _similar(self, column: str, cutoff: float) -> list[str]:
        folded = {name.strip().casefold().replace(" ", "_"): name for name in self.header}
        return [folded[near] for near in difflib.get_close_matches(column, folded, 1, cutoff)]

    def _csv_rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row of a csv file, header first: the line it starts on, and its values."""
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            try:
                for row in reader:
                    yield reader.line_num - sum(value.count("\n") for value in row), row
            except csv.Error as error:
                problem, line = f"the file is not valid csv ({error})", reader.line_num
                raise SourceError(problem, EXPORT_AGAIN, file=self.name, line=line) from error

    def _scan(self) -> str:
        if self.is_parquet:
            return parquet(self.path)
        # Name columns by position: a header may contain any text, and the same name twice.
        columns = ", ".join(f"c{place}: 'VARCHAR'" for place in range(len(self.header)))
        return (
            f"read_csv({quoted(self.path, pattern=True)}, hive_partitioning = false, "
            "auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', "
            f"strict_mode = true, columns = {{{columns}}})"
        )

    def as_text(self, columns: Sequence[str]) -> str:
        """Return SQL that selects these columns as text, in row order; empty values are NULL."""
        names = [n if self.is_parquet else f"c{self.header.index(n)}" for n in columns]
        texts = (
            f"{name}::varchar as {column}" for name, column in zip(names, columns, strict=True)
        )
        return f"select {', '.join(texts)} from {self._scan()}"

    def probe(self, sql: str) -> None:
        """Run a query over this file alone, and raise a SourceError if the file cannot be read."""
        self._query(f"select max(columns(*)) from ({sql})")

    def _query(self, sql: str) -> list[tuple]:
        """Run a query over this file alone; a DuckDB error becomes a SourceError about the file."""
        try:
            with duckdb.connect() as con:
                return con.execute(sql).fetchall()
        except duckdb.Error as error:
            raise self._source_error(str(error)) from error

    def _source_error(self, message: str) -> SourceError:
        if self.is_parquet:
            problem = f"the file is not valid Parquet ({message.splitlines()[0]})"
            return SourceError(problem, EXPORT_AGAIN, file=self.name)
        found = re.search(r"Line: (\d+)", message)
        line = int(found[1]) if found else None
        for pattern, problem, advice in _CSV_FAULTS:
            if match := re.search(pattern, message):
                line = line or self._different_line_ending()
                problem = problem.format(*match.groups())
                return SourceError(problem, advice, file=self.name, line=line)
        problem = f"the file cannot be read ({message.splitlines()[0]})"
        return SourceError(problem, EXPORT_AGAIN, file=self.name, line=line)

    def _different_line_ending(self) -> int | None:
        with self.path.open("rb") as lines:
            first = next(lines).count(b"\r")
            return next((n for n, line in enumerate(lines, 2) if line.count(b"\r") != first), None)

    def count_lines(self) -> int:
        """Count the lines after the header: a fast row count if every row is on one line."""
        if self.is_parquet:
            return self.count_rows()
        last, lines = b"", 0
        with self.path.open("rb") as blocks:
            while block := blocks.read(_BLOCK):
                last, lines = block, lines + block.count(b"\n")
        return lines - last.endswith(b"\n")

    def count_rows(self) -> int:
        """Count the rows without DuckDB's csv reader.

        Blank lines are not rows, and a quoted value may span several lines.

        Raises:
            SourceError: the file is not valid csv, or not valid Parquet.
        """
        if self.is_parquet:
            path = quoted(self.path, pattern=True)
            return self._query(f"select sum(num_rows) from parquet_file_metadata({path})")[0][0]
        return sum(1 for _, row in self._csv_rows() if row) - 1

    def locate(self, row: int) -> tuple[int, dict[str, str]]:
        """Locate a row (0 is the first) and read its values.

        Returns:
            The line in a csv file (the header is 1) or the row in a Parquet file (the first is 1);
            and the raw text by column name, "" if the value is empty.
        """
        if self.is_parquet:
            sql = f"select columns(*)::varchar from {self._scan()} where file_row_number = {row}"
            texts = [value or "" for value in self._query(sql)[0]]
            return row + 1, dict(zip(self.header, texts, strict=True))
        filled = ((line, texts) for line, texts in self._csv_rows() if texts)
        line, texts = next(islice(filled, row + 1, None))
        return line, dict(zip(self.header, texts, strict=False))
