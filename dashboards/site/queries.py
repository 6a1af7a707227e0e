"""Runs a page's queries. Each result is a temporary table that other queries can read."""

import csv
import decimal
import hashlib
import io
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import duckdb

from .errors import SiteError, located, suggest
from .formats import Field, Fields
from .tree import Query

QUERY = re.compile(r"\$\{(\w+)\}")
INPUT = re.compile(r"'?\$\{(?:inputs|params)\.(\w+)(?:\.value)?\}'?")
MAX_OPTIONS = 25  # a dropdown shows no more, and says so
MAX_ROWS = 5_000  # a page shows no more of a query, and says so
MAX_DOWNLOAD = 50_000  # a download has no more rows, and the page says so

Choice = Mapping[str, int]
"""For each dropdown, the position of the chosen option; a parameter has one option."""


class Queries:
    """The queries of a page; each runs once for every choice that it depends on.

    A method raises a ValueError if a name is wrong, and a SiteError if the SQL is.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, queries: Mapping[str, Query]) -> None:
        self.options: dict[str, list[Any]] = {}  # the values of each dropdown
        self._connection, self.known = connection, queries
        self._tables: set[str] = set()  # those that are made
        self._results: dict[str, Fields] = {}  # by table

    def inputs(self, name: str, path: tuple[str, ...] = ()) -> set[str]:
        """Return the dropdowns that a query depends on, directly or through other queries."""
        if name not in self.known:
            raise ValueError(f"unknown query {name!r}; {suggest(name, self.known)}")
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            raise ValueError(f"circular queries: {circle}; remove one reference")
        query = self.known[name]
        found = set(INPUT.findall(query.sql))
        for used in QUERY.finditer(query.sql):
            with located(query.place(used.start())):
                found |= self.inputs(used[1], (*path, name))
        return found

    def choices(self, inputs: set[str]) -> list[dict[str, int]]:
        """Return every combination of options of these dropdowns."""
        for name in inputs - self.options.keys():
            raise ValueError(f"unknown dropdown {name!r}; {suggest(name, self.options)}")
        names = sorted(inputs)
        picks = list(itertools.product(*(range(len(self.options[name])) for name in names)))
        if len(picks) > MAX_OPTIONS:
            what = f"{len(picks)} options of {' and '.join(names)}, at most {MAX_OPTIONS}"
            raise ValueError(f"{what}; group the rest in SQL")
        return [dict(zip(names, pick, strict=True)) for pick in picks]

    def table(self, name: str, choice: Choice) -> str:
        """Return the temporary table with a query's rows for a choice."""
        if self.inputs(name) - choice.keys():
            raise ValueError(f"query {name!r} depends on a dropdown; use one that does not")
        query = self.known[name]
        values = {each: self.options[each][choice[each]] for each in INPUT.findall(query.sql)}
        sql = INPUT.sub(r"$\1", query.sql)
        sql = QUERY.sub(lambda used: self.table(used[1], choice), sql)
        table = f'temp."{hashlib.sha256(repr((sql, values)).encode()).hexdigest()}"'
        if table in self._tables:
            return table
        try:
            # The SQL starts on the first line, so that DuckDB counts lines as the author does.
            self._connection.execute(f"create temp table if not exists {table} as {sql}", values)
        except duckdb.Error as error:
            what, _, where = str(error).partition("\n\nLINE ")
            place = f"{query.path}:{query.line + int(where.partition(':')[0] or 1) - 1}"
            what = " ".join(what.split())
            raise SiteError(place, f"query {name!r} fails: {what}; correct the SQL") from error
        self._tables.add(table)
        return table

    def run(self, name: str, choice: Choice) -> Fields:
        """Return the rows of a query for a choice by column, but no more than a download has."""
        table = self.table(name, choice)
        if table not in self._results:
            found = self._connection.sql(f"from {table} limit {MAX_DOWNLOAD}")
            kept = [[_plain(value) for value in row] for row in found.fetchall()]
            columns = enumerate(found.columns)
            self._results[table] = {c: Field(c, [row[n] for row in kept]) for n, c in columns}
        return self._results[table]

    def count(self, name: str, choice: Choice) -> int:
        """Return how many rows a query has for a choice."""
        ((count,),) = self._connection.sql(
            f"select count(*) from {self.table(name, choice)}"
        ).fetchall()
        return count

    def sql(self, name: str, choice: Choice) -> str:
        """Return the SQL of a query for a choice, with all that it reads, to paste into DuckDB."""
        needed: dict[str, str] = {}

        def add(name: str) -> None:
            sql = self.known[name].sql.strip().rstrip(";")
            for used in QUERY.findall(sql):
                if used not in needed:
                    add(used)
            sql = INPUT.sub(lambda each: _literal(self.options[each[1]][choice[each[1]]]), sql)
            needed[name] = QUERY.sub(r'"\1"', sql)

        add(name)
        last = needed.pop(name)
        if not needed:
            return last
        parts = ",\n".join(f'"{each}" as (\n{sql}\n)' for each, sql in needed.items())
        return f"with {parts}\n" + (
            f"from (\n{last}\n)" if last.lower().startswith("with") else last
        )


def as_csv(fields: Iterable[Field]) -> str:
    """Return columns as the text of a csv file, with the mark by which Excel knows UTF-8."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow([field.name for field in fields])
    lines.writerows(zip(*(field.values for field in fields), strict=True))
    return "\ufeff" + out.getvalue()


def _literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, (bool, int, float)):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def _plain(value: Any) -> Any:
    if not isinstance(value, (float, decimal.Decimal)):
        return value
    return float(value) + 0.0 if math.isfinite(value) else None  # -0.0 + 0.0 has no sign
