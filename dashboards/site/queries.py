"""Runs a page's queries. Each result is a temporary table that other queries can read."""

import decimal
import hashlib
import itertools
import math
import re
from collections.abc import Mapping
from typing import Any

import duckdb

from .errors import SiteError, located, suggest
from .formats import Field, Fields
from .tree import Query

QUERY = re.compile(r"\$\{(\w+)\}")
INPUT = re.compile(r"'?\$\{inputs\.(\w+)(?:\.value)?\}'?")
MAX_OPTIONS = 25  # a dropdown shows no more, and says so
MAX_ROWS = 5_000  # a page shows no more of a query, and says so

Choice = Mapping[str, int]
"""For each dropdown, the position of the chosen option."""


class Queries:
    """The queries of a page; each runs once for every choice that it depends on.

    A method raises a ValueError if a name is wrong, and a SiteError if the SQL is.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, queries: Mapping[str, Query]) -> None:
        self.options: dict[str, list[Any]] = {}  # the values of each dropdown
        self._connection, self.known = connection, queries

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
        try:
            # The SQL starts on the first line, so that DuckDB counts lines as the author does.
            self._connection.execute(f"create temp table if not exists {table} as {sql}", values)
        except duckdb.Error as error:
            what, _, where = str(error).partition("\n\nLINE ")
            place = f"{query.path}:{query.line + int(where.partition(':')[0] or 1) - 1}"
            what = " ".join(what.split())
            raise SiteError(place, f"query {name!r} fails: {what}; correct the SQL") from error
        return table

    def run(self, name: str, choice: Choice, rows: int = MAX_ROWS) -> Fields:
        """Return the first rows of a query for a choice, by column."""
        found = self._connection.sql(f"from {self.table(name, choice)} limit {rows}")
        kept = [[_plain(value) for value in row] for row in found.fetchall()]
        return {c: Field(c, [row[n] for row in kept]) for n, c in enumerate(found.columns)}

    def count(self, name: str, choice: Choice) -> int:
        """Return how many rows a query has for a choice."""
        ((count,),) = self._connection.sql(
            f"select count(*) from {self.table(name, choice)}"
        ).fetchall()
        return count


def _plain(value: Any) -> Any:
    if not isinstance(value, (float, decimal.Decimal)):
        return value
    return float(value) + 0.0 if math.isfinite(value) else None  # -0.0 + 0.0 has no sign
