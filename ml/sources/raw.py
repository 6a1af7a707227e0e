"""One raw file: read it as text, count its rows, and locate a row."""

from __future__ import annotations

import csv
import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
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
        problem: what is wrong.
        advice: what to do.
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
        unit = "row" if file and file.lower().endswith(".parquet") else "line"
        where = (file, line and f"{unit} {line}", column and f"column {column}")
        place = ", ".join(part for part in where if part)
        super().__init__(f"{place + ': ' if place else ''}{problem}. {advice}.")
        self.problem, self.advice = problem, advice
        self.file, self.line, self.column = file, line, column


def quoted(path: Path, *, pattern: bool = False) -> str:
    """Return a path as an SQL string; set `pattern` where DuckDB expands `*`, `?` and `[`."""
    text = glob.escape(str(path)) if pattern else str(path)
    return "'" + text.replace("'", "''") + "'"


def parquet(path: Path) -> str:
    """Return SQL that reads a Parquet file; a folder named user_id=7 does not add a column."""
    return f"read_parquet({quoted(path, pattern=True)}, hive_partitioning = false)"


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """Return a database for questions about one file. Opening one for each takes 15 ms of CPU."""
    return duckdb.connect()


@dataclass(frozen=True)
class RawFile:
    """One raw file, or a part of one, unpacked.

    Attributes:
        name: the file as the user knows it.
        path: its place on disk.
        is_part: whether other files continue it.
        delimiter: what separates the values in a csv file.
        origins: the file's own columns for each column to land, where the names differ.
        stamp: size and modification time, in ns, of the file in the raw folder that it comes from.
    """

    name: str
    path: Path
    is_part: bool = False
    delimiter: str = ","
    origins: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stamp: tuple[int, int] = (0, 0)

    @property
    def is_parquet(self) -> bool:
        """Whether the file is Parquet; otherwise it is csv."""
        return self.path.suffix.lower() == ".parquet"

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

    def title(self, column: str) -> str:
        """Return a column's name in an error message: the file's own name first."""
        names = " and ".join(self.origins.get(column, (column,)))
        return names if names == column else f"{names} ({column})"

    def _csv_rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row of a csv file, header first: the line it starts on, and its values."""
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            reader = csv.reader(lines, strict=True, delimiter=self.delimiter)
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
            f"auto_detect = false, header = true, delim = '{self.delimiter}', "
            "quote = '\"', escape = '\"', "
            f"strict_mode = true, columns = {{{columns}}})"
        )

    def column(self, name: str) -> str:
        """Return SQL for a column of the file; in a csv file, an empty value is NULL."""
        if self.is_parquet:
            return '"' + name.replace('"', '""') + '"'
        return f"c{self.header.index(name)}"

    def text(self, name: str) -> str:
        """Return SQL for a column of the file as text."""
        return f"{self.column(name)}::varchar"

    def select(self, columns: Mapping[str, str]) -> str:
        """Return SQL that selects columns, each a name and its SQL, in row order."""
        texts = ", ".join(f"{sql} as {column}" for column, sql in columns.items())
        return f"select {texts} from {self._scan()}"

    def as_text(self, columns: Sequence[str]) -> str:
        """Return SQL that selects these columns as text, in row order; empty values are NULL."""
        return self.select({column: self.text(column) for column in columns})

    def probe(self, sql: str) -> None:
        """Run a query over this file alone, and raise a SourceError if the file cannot be read."""
        self._query(f"select max(columns(*)) from ({sql})")

    def _query(self, sql: str) -> list[tuple]:
        """Run a query over this file alone; a DuckDB error becomes a SourceError about the file."""
        try:
            with _database().cursor() as con:
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
            line, values = row + 1, [value or "" for value in self._query(sql)[0]]
        else:
            filled = ((line, texts) for line, texts in self._csv_rows() if texts)
            line, values = next(islice(filled, row + 1, None))
        texts = dict(zip(self.header, values, strict=False))
        named = {
            column: " ".join(filter(None, (texts.get(name) for name in names)))
            for column, names in self.origins.items()
        }
        return line, texts | named
