"""An order log: a format that any retailer can export, with one row per order line.

Ids are whole numbers or text. An id column lands as bigint if every value is a whole number in
canonical form (no leading zeros), otherwise as text. Text in a Parquet file stays text.
`product_id` lands with the same type from both files.

`ordered_at` is an ISO 8601 date or time. A time with an offset lands in UTC; to keep the local hour
of the day, export local times without an offset. `is_timed` is false where the hour is unknown: for
a date, and for every row if all times in the file are midnight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import duckdb

from ml.sources.landing import (
    Check,
    Column,
    Table,
    check_together,
    copy,
    count,
    identifier,
    land,
    land_nothing,
    text,
    unique,
)
from ml.sources.raw import RawFile, SourceError, parquet

FILES = {
    "order_lines": ("order_lines.parquet", "order_lines.csv"),
    "products": ("products.parquet", "products.csv"),
}
OPTIONAL = frozenset({"products"})

# Required and optional columns of each file.
_COLUMNS = {
    "order_lines": (("user_id", "order_id", "ordered_at", "product_id"), ("cart_position",)),
    "products": (("product_id",), ("product_name", "aisle", "department")),
}

# Allowed types of Parquet columns, and what to do about any other type.
_WHOLE = r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DECIMAL\(\d+,0\)"
_TEXT = r"VARCHAR|UUID|ENUM\(.*\)"
_PARQUET_TYPES = {
    "id": (f"{_WHOLE}|{_TEXT}", "Cast it to an integer or to text"),
    "ordered_at": (f"DATE|TIMESTAMP.*|{_TEXT}", "Cast it to a timestamp or to a date"),
    "cart_position": (f"{_WHOLE}|FLOAT|DOUBLE|{_TEXT}", "Cast it to an integer"),
}

# Outer blanks, control characters, numbers mangled by a spreadsheet or pandas, words for null.
_NO_ID = (
    r"^\s|\s$|[[:cntrl:]]"
    r"|^-?[0-9]+[.]0+$|^-?[0-9]+([.][0-9]+)?[eE][+][0-9]+$"
    r"|^(?i:null|none|nan|n/a|na|\\n)$"
)
# DuckDB also accepts `2024-3-1`, `10:5`, `epoch` and time zone names.
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = "[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
_OFFSET = "(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
_HAS_CLOCK = "length(ordered_at) > 10"
_HAS_OFFSET = f"regexp_matches(ordered_at, ':.*{_OFFSET}$')"


def _id(name: str, whole_numbers: bool) -> Column:
    if whole_numbers:
        return identifier(name)
    means = "an id (a whole number, or text without leading or trailing blanks)"
    # Concatenated files repeat the header between the rows.
    return text(name, means, f"not regexp_matches({name}, '{_NO_ID}|^{name}$')")


def _stage(con: duckdb.DuckDBPyConnection, table: str, file: RawFile, path: Path) -> str:
    """Copy the columns of a raw file to a Parquet file as text; return SQL that reads it."""
    required, optional = _COLUMNS[table]
    file.require(required, optional)
    present = [name for name in (*required, *optional) if name in file.header]
    for name in present if file.is_parquet else ():
        kind = "id" if name.endswith("_id") else name
        allowed, advice = _PARQUET_TYPES.get(kind, (".*", ""))
        if not re.fullmatch(allowed, file.types[name]):
            problem = f"the type {file.types[name]} is not supported"
            raise SourceError(problem, advice, file=file.name, column=name)
    absent = "".join(f", null::varchar as {name}" for name in optional if name not in present)
    copy(con, [(file, f"select *{absent} from ({file.as_text(present)})")], path)
    return f"select *, file_row_number from {parquet(path)}"


def _are_whole(con: duckdb.DuckDBPyConnection, file: RawFile, staged: str, name: str) -> bool:
    if file.is_parquet and re.fullmatch(_TEXT, file.types[name]):
        return False
    sql = f"select bool_and(coalesce(try_cast({name} as bigint)::varchar = {name}, {name} is null))"
    return con.execute(f"{sql} from ({staged})").fetchall()[0][0] is True


def _ordered_at(con: duckdb.DuckDBPyConnection, file: RawFile, staged: str) -> tuple[Column, ...]:
    """Return the columns `ordered_at` and `is_timed`, which depend on all times in the file."""
    any_offset, any_hour, first_without = con.execute(
        f"""
        select
            bool_or({_HAS_OFFSET}),
            bool_or({_HAS_CLOCK} and substring(ordered_at, 12, 8) not in ('00:00', '00:00:00')),
            min(case when {_HAS_CLOCK} and not {_HAS_OFFSET} then file_row_number end),
        from ({staged})
        """
    ).fetchall()[0]
    if any_offset and first_without is not None:
        line, texts = file.locate(first_without)
        raise SourceError(
            f'"{texts["ordered_at"]}" has no UTC offset, but other times in the file have one',
            "Add an offset to every time, or to none",
            file=file.name,
            line=line,
            column="ordered_at",
        )
    is_timed = _HAS_CLOCK if any_hour else "false"
    # The session's time zone is UTC; a cast to `timestamp` would silently drop an offset.
    instant = "try_cast(ordered_at as timestamptz)::timestamp"
    date = f"case when {instant} is not null then substring(ordered_at, 1, 10)::timestamp end"
    iso = f"regexp_full_match(ordered_at, '{_DATE}({_CLOCK}{_OFFSET}?)?')"
    at = f"case when {iso} then case when {is_timed} then {instant} else {date} end end"
    return (
        Column(
            "ordered_at",
            at,
            "a date or time such as 2024-03-31 or 2024-03-31T18:05:00, between 1990 and 2100",
            "ordered_at >= timestamp '1990-01-01' and ordered_at < timestamp '2101-01-01'",
        ),
        Column("is_timed", f"coalesce({is_timed}, false)", "known", required=False),
    )


_ONE_SHOPPER = Check(
    "order_lines",
    "order_id",
    """
    select max(at_row) as at_row, order_id, min(user_id), max(user_id)
    from order_lines
    group by order_id
    having min(user_id) <> max(user_id)
    """,
    "order {} belongs to two shoppers, {} and {}",
    "Make order_id unique, for example by adding the shopper or the day to it",
)
_ONE_ROW = unique("products", "product_id", problem="product_id {} appears twice")


def land_files(
    con: duckdb.DuckDBPyConnection, files: Mapping[str, RawFile], folder: Path, scratch: Path
) -> list[Table]:
    """Land order_lines, products and events; without a products file, that table is empty.

    Nothing reads an events file yet, so `events` is always empty.

    A product may appear twice in an order (a common way to write quantities): both lines land.

    Raises:
        SourceError: a file is malformed, or an order belongs to two shoppers.
    """
    lines, products = files["order_lines"], files.get("products")
    staged = _stage(con, "order_lines", lines, scratch / "order_lines.parquet")
    whole_products = _are_whole(con, lines, staged, "product_id")
    if products:
        catalogue = _stage(con, "products", products, scratch / "products.parquet")
        whole_products &= _are_whole(con, products, catalogue, "product_id")

    user_id = _id("user_id", _are_whole(con, lines, staged, "user_id"))
    line_columns = (
        user_id,
        _id("order_id", _are_whole(con, lines, staged, "order_id")),
        *_ordered_at(con, lines, staged),
        _id("product_id", whole_products),
        count(
            "cart_position",
            "a whole number of at least 1",
            "cart_position >= 1",
            type="integer",
            required=False,
        ),
    )
    product_columns = (
        _id("product_id", whole_products),
        *(text(name, required=False) for name in _COLUMNS["products"][1]),
    )
    path = folder / "order_lines.parquet"
    tables = {"order_lines": land(con, path, [(lines, staged)], line_columns)}
    check_together(con, tables, [_ONE_SHOPPER])
    path = folder / "products.parquet"
    if products:
        tables["products"] = land(con, path, [(products, catalogue)], product_columns)
        check_together(con, tables, [_ONE_ROW])
    else:
        land_nothing(con, path, product_columns)
    event_columns = (
        user_id,
        text("event_id"),
        *(Column(name, f"{name}::timestamp", "a time") for name in ("occurred_at", "known_at")),
        text("event_type"),
        _id("product_id", whole_products),
        text("session_id"),
        Column("value", "value::double", "a number"),
    )
    land_nothing(con, folder / "events.parquet", event_columns)
    return list(tables.values())
