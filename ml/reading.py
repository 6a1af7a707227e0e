"""How to read an order log: `[reading]`, `[columns]` and `[events]` of restock.toml."""

import codecs
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any, Self

COLUMNS = (
    *("user_id", "order_id", "ordered_at", "product_id", "cart_position"),
    *("quantity", "price", "sales_value"),
    *("product_name", "aisle", "department"),
)
"""The columns of an order log, which ``[columns]`` in ``restock.toml`` maps to a shop's own."""
EVENT_COLUMNS = (
    *("user_id", "occurred_at", "event_type"),
    *("event_id", "product_id", "session_id", "value", "received_at"),
)
"""The columns of an event log, which ``[events]`` in ``restock.toml`` maps to a shop's own."""
PROMOTION_COLUMNS = {"starts_on": "from", "ends_on": "to"}
"""Columns of the promotions whose names in the file are words of SQL."""
TIME_COLUMNS = ("ordered_at", "occurred_at", "received_at")
TIME_FORMATS = ("epoch", "epoch_ms", "excel")
"""Formats of `TIME_COLUMNS` besides those of strptime: seconds or milliseconds since 1970, and
Excel's days since 1900."""
_DIRECTIVES = set("YymdbBHIMSfpzaA%")


@dataclass(frozen=True)
class Mapping:
    """Where a column comes from: an entry of ``[columns]`` or ``[events]``."""

    column: str
    names: tuple[str, ...]
    """The columns in the shop's file; several are joined to one value."""
    format: str = ""
    """How a time is written, as for strptime, or one of `TIME_FORMATS`; empty for ISO 8601."""
    day_1: str = ""
    """The date of day 1, if the first of the columns counts days."""
    table: str = "columns"
    """The table of ``restock.toml``."""

    @classmethod
    def from_toml(cls, table_name: str, column: str, entry: Any) -> Self:
        """Read an entry such as ``"Email"``, or ``{name = "Created at", format = "%d/%m/%Y"}``.

        Raises:
            ValueError: the entry is invalid; the message says why.
        """
        table = entry if isinstance(entry, dict) else {"name": entry}
        allowed = ("name", "format", "day_1") if column in TIME_COLUMNS else ("name",)
        if unknown := table.keys() - set(allowed):
            raise ValueError(f"unknown key '{min(unknown)}': use {', '.join(allowed)}")
        names = table.get("name")
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list) or not names or not all(map(_is_filled, names)):
            raise ValueError('write the name of a column, or a list of names: ["Date", "Time"]')
        format_, day_1 = table.get("format", ""), str(table.get("day_1", ""))
        _check_format(format_, day_1)
        if day_1:
            try:
                day_1 = date.fromisoformat(day_1).isoformat()
            except ValueError:
                raise ValueError(f"invalid day_1 '{day_1}': write it as 2023-01-01") from None
        return cls(column, tuple(names), format_, day_1, table_name)


@dataclass(frozen=True)
class Reading:
    """How to read the raw files of an order log.

    The tables ``[reading]``, ``[columns]`` and ``[events]`` of ``restock.toml``.
    """

    columns: tuple[Mapping, ...] = ()
    """The columns of the order lines and the products."""
    event_columns: tuple[Mapping, ...] = ()
    """The columns of the events."""
    table: str = "columns"
    """The table of ``restock.toml`` that `columns` come from."""
    order_lines: str = ""
    """The name of the file or collection of order lines, such as ``orders_export*.csv``; empty if
    Restock's."""
    products: str = ""
    """The name of the file or collection of products; empty if Restock's."""
    events: str = ""
    """The name of the file or collection of events; empty if Restock's."""
    delimiter: str = ","
    """What separates the values in a csv file."""
    decimal: str = "."
    """The decimal sign of numbers."""
    encoding: str = "utf-8"
    """The encoding of csv files, such as latin-1."""
    timezone: str = ""
    """The time zone of the shop, for times in UTC; empty for UTC. ``RESTOCK_TIMEZONE`` sets it."""
    allow_future: bool = False
    """Whether to accept orders ahead of today."""
    allow_gap: bool = False
    """Whether to accept a few orders that are years before or after all others."""
    cancelled_prefix: str = ""
    """What the ids of cancelled orders start with; empty to recognise them by their quantities."""
    skip_missing_shoppers: bool = False
    """Whether to leave out lines without a shopper; otherwise such a line is an error."""
    skip_shoppers: tuple[str, ...] = ()
    """Ids of shoppers to leave out, such as the one of all customers without an account."""
    keep_ids: tuple[str, ...] = ()
    """Ids that look like a word for a missing value, such as ``NAN``."""

    @classmethod
    def from_toml(cls, reading: Any, columns: Any, events: Any = None) -> Self:
        """Read the tables ``[reading]``, ``[columns]`` and ``[events]``.

        Raises:
            ValueError: a key is unknown, or its value is invalid; the message says which.
        """
        events = {} if events is None else events
        for name, table in (("reading", reading), ("columns", columns), ("events", events)):
            if not isinstance(table, dict):
                raise ValueError(f"[{name}]: make it a table")
        tables = ("columns", "event_columns", "table")
        options = [field.name for field in fields(cls) if field.name not in tables]
        reading = {n: tuple(v) if isinstance(v, list) else v for n, v in reading.items()}
        kinds = {str: "a text", bool: "true or false", tuple: 'a list of texts, such as ["0"]'}
        for name, value in reading.items():
            if name not in options:
                raise ValueError(f"[reading]: unknown key '{name}': use {', '.join(options)}")
            kind = type(getattr(cls, name))
            texts = value if kind is tuple else [value]
            if not isinstance(value, kind) or (
                kind is not bool and not all(map(_is_filled, texts))
            ):
                raise ValueError(f"[reading]: invalid {name} '{value}': write {kinds[kind]}")
        mapped = {
            name: tuple(_mappings(name, table, known, options))
            for name, table, known in (
                ("columns", columns, COLUMNS),
                ("events", events, EVENT_COLUMNS),
            )
        }
        found = cls(mapped["columns"], mapped["events"], **reading)
        if len(found.delimiter) != 1 or found.delimiter in "\"'\r\n":
            raise ValueError(f"[reading]: invalid delimiter '{found.delimiter}': use one character")
        if found.decimal not in (".", ","):
            raise ValueError(f"[reading]: invalid decimal '{found.decimal}': use . or ,")
        try:
            codecs.lookup(found.encoding)
        except LookupError:
            raise ValueError(
                f"[reading]: unknown encoding '{found.encoding}': use a name such as latin-1"
            ) from None
        return found

    @property
    def of_promotions(self) -> Self:
        """How to read the promotions, whose columns have Restock's names."""
        return replace(self, columns=(), table="")

    @property
    def of_events(self) -> Self:
        """How to read the events: `columns` are those of the events."""
        return replace(self, columns=self.event_columns, table="events")

    def mapping(self, column: str) -> Mapping:
        """Return where a column comes from: by default, a column of the same name."""
        mapped = {mapping.column: mapping for mapping in self.columns}
        usual = PROMOTION_COLUMNS.get(column, column)
        return mapped.get(column) or Mapping(column, (usual,), table=self.table)


def _mappings(
    name: str, table: dict[str, Any], known: Collection[str], options: Collection[str]
) -> Iterator[Mapping]:
    """Yield the entries of ``[columns]`` or ``[events]``.

    Raises:
        ValueError: a column is unknown, or its entry is invalid; the message says which.
    """
    for column, entry in table.items():
        if column not in known:
            place = "put it into [reading]" if column in options else f"use {', '.join(known)}"
            raise ValueError(f"[{name}]: unknown key '{column}': {place}")
        try:
            yield Mapping.from_toml(name, column, entry)
        except ValueError as error:
            raise ValueError(f"[{name}]: invalid {column}: {error}") from None


def _is_filled(value: Any) -> bool:
    return isinstance(value, str) and value.strip(" ") != ""


def _check_format(format_: Any, day_1: str) -> None:
    """Raise a ValueError unless ``format_`` gives every time one meaning."""
    if not isinstance(format_, str):
        raise ValueError(f"invalid format '{format_}': write a text such as \"%d/%m/%Y %H:%M\"")
    if not format_ or format_ in TIME_FORMATS:
        return
    directives = re.findall("%(.?)", format_)
    if unknown := set(directives) - _DIRECTIVES:
        known = ", ".join(f"%{letter}" for letter in "YymdbBHIMSfpz")
        raise ValueError(f"unknown %{min(unknown)} in the format '{format_}': use {known}")
    has = set(directives)
    is_day = bool(day_1) or (has & set("Yy") and has & set("mbB") and "d" in has)
    if not is_day:
        raise ValueError(f"the format '{format_}' needs a year, a month and a day")
    if ("I" in has) != ("p" in has) or ("H" in has and "I" in has):
        raise ValueError(f"the format '{format_}' needs %I with %p, or %H alone")
    if "z" in has and (not format_.endswith("%z") or directives.count("z") > 1):
        raise ValueError(f"the format '{format_}' must end with %z")
