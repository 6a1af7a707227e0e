"""An order log: a format that any retailer can export, with one row per order line.

Ids are whole numbers or text. An id column lands as bigint if every value is a whole number in
canonical form (no leading zeros), otherwise as text. Text in a Parquet file stays text.
`product_id` lands with the same type from both files.

`ordered_at` is an ISO 8601 date or time. A time with an offset keeps its local clock. If all times
in the file are in UTC, they are converted to the time zone of the settings. `is_timed` is false
where the hour is unknown: for a date, and for every row if all times in the file are midnight.

The optional columns `quantity`, `price` and `sales_value` are numbers. `ml.sources.purchases`
leaves out the lines that are no purchases.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

import duckdb

from ml.settings import Reading
from ml.sources import clock, orders, purchases
from ml.sources.landing import (
    Column,
    Table,
    check_together,
    copy,
    count,
    identifier,
    land,
    land_nothing,
    tell_ignored,
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
    "order_lines": (
        ("user_id", "order_id", "ordered_at", "product_id"),
        ("cart_position", *purchases.AMOUNTS),
    ),
    "products": (("product_id",), ("product_name", "aisle", "department")),
}

# Allowed types of Parquet columns, and what to do about any other type.
_WHOLE = r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DECIMAL\(\d+,0\)"
_TEXT = r"VARCHAR|UUID|ENUM\(.*\)"
_PARQUET_TYPES = {
    "id": (f"{_WHOLE}|{_TEXT}", "Cast it to an integer or to text"),
    "ordered_at": (f"DATE|TIMESTAMP.*|{_TEXT}", "Cast it to a timestamp or to a date"),
    "cart_position": (f"{_WHOLE}|FLOAT|DOUBLE|{_TEXT}", "Cast it to an integer"),
    **dict.fromkeys(
        purchases.AMOUNTS, (rf"{_WHOLE}|FLOAT|DOUBLE|DECIMAL\(.*\)|{_TEXT}", "Cast it to a number")
    ),
}

# Outer blanks, control characters, numbers mangled by a spreadsheet or pandas.
_NO_ID = (
    r"^\s|\s$|[[:cntrl:]]"
    r"|^-?[0-9]+[.]0+$|^-?[0-9]+([.][0-9]+)?[eE][+][0-9]+$"
)
# DuckDB also accepts `2024-3-1`, `10:5`, `epoch` and time zone names.
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = "[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
_OFFSET = "(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
_HAS_CLOCK = "length(ordered_at) > 10"
_HAS_OFFSET = f"regexp_matches(ordered_at, ':.*{_OFFSET}$')"


def _id(name: str, whole_numbers: bool, *, required: bool = True) -> Column:
    if whole_numbers:
        return replace(identifier(name), required=required)
    means = "an id (a whole number, or text without leading or trailing blanks)"
    # Concatenated files repeat the header between the rows.
    valid = f"not regexp_matches({name}, '{_NO_ID}|^{name}$')"
    return text(name, means, valid, required=required)


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
    copy(con, [(file, file.as_text(present))], path)
    return f"select *{absent}, file_row_number from {parquet(path)}"


def _are_whole(con: duckdb.DuckDBPyConnection, file: RawFile, staged: str, name: str) -> bool:
    if file.is_parquet and re.fullmatch(_TEXT, file.types[name]):
        return False
    sql = f"select bool_and(coalesce(try_cast({name} as bigint)::varchar = {name}, {name} is null))"
    return con.execute(f"{sql} from ({staged})").fetchall()[0][0] is True


def _ordered_at(
    con: duckdb.DuckDBPyConnection,
    file: RawFile,
    staged: str,
    timezone: str,
    notes: list[str],
) -> tuple[Column, ...]:
    """Return the columns `ordered_at` and `is_timed`, which depend on all times in the file."""
    clock.check_timezone(con, timezone)
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
    utc = any_offset and clock.is_utc(con, staged)
    if any_hour:
        clock.tell_timezone(file.name, utc=utc, timezone=timezone, notes=notes)
    local = clock.local("ordered_at", offsets=any_offset, utc=utc, timezone=timezone)
    date = f"case when {local} is not null then substring(ordered_at, 1, 10)::timestamp end"
    iso = f"regexp_full_match(ordered_at, '{_DATE}({_CLOCK}{_OFFSET}?)?')"
    at = f"case when {iso} then case when {is_timed} then {local} else {date} end end"
    return (
        Column(
            "ordered_at",
            at,
            "a date or time such as 2024-03-31 or 2024-03-31T18:05:00, between 1990 and 2100",
            "ordered_at >= timestamp '1990-01-01' and ordered_at < timestamp '2101-01-01'",
        ),
        Column("is_timed", f"coalesce({is_timed}, false)", "known", required=False),
    )


_ONE_ROW = unique("products", "product_id", problem="product_id {} appears twice")


def land_files(
    con: duckdb.DuckDBPyConnection,
    files: Mapping[str, RawFile],
    folder: Path,
    scratch: Path,
    reading: Reading,
    notes: list[str],
) -> list[Table]:
    """Land order_lines and products; without a products file, that table is empty.

    A product may appear twice in an order (a common way to write quantities): both lines land.
    Lines that are no purchases are left out.

    Raises:
        SourceError: a file is malformed, or `ml.sources.orders` rejects an order.
    """
    lines, products = files["order_lines"], files.get("products")
    tell_ignored([(file, chain(*_COLUMNS[table])) for table, file in files.items()], notes)
    staged = _stage(con, "order_lines", lines, scratch / "order_lines.parquet")
    staged = purchases.without_missing_shoppers(staged, reading)
    whole_products = _are_whole(con, lines, staged, "product_id")
    if products:
        catalogue = _stage(con, "products", products, scratch / "products.parquet")
        whole_products &= _are_whole(con, products, catalogue, "product_id")
    whole_users = _are_whole(con, lines, staged, "user_id")
    whole_orders = _are_whole(con, lines, staged, "order_id")
    keep = {*reading.keep_ids, *(purchases.named_words(con, catalogue) if products else ())}
    no_words = () if whole_products else (purchases.no_word("product_id", keep),)
    rules = (
        *purchases.known_shopper(whole_users, reading),
        *(() if whole_orders else (purchases.no_word("order_id", reading.keep_ids),)),
        *no_words,
    )

    line_columns = (
        _id("user_id", whole_users, required=False),
        _id("order_id", whole_orders),
        *_ordered_at(con, lines, staged, reading.timezone, notes),
        _id("product_id", whole_products),
        count(
            "cart_position",
            "a whole number of at least 1",
            "cart_position >= 1",
            type="integer",
            required=False,
        ),
        *purchases.amounts(),
    )
    product_columns = (
        _id("product_id", whole_products),
        *(text(name, required=False) for name in _COLUMNS["products"][1]),
    )
    path = folder / "order_lines.parquet"
    landed = land(con, path, [(lines, staged)], line_columns, rules)
    tables = {"order_lines": purchases.leave_out(con, landed, reading, notes)}
    orders.check(con, tables, reading, notes)
    path = folder / "products.parquet"
    if products:
        tables["products"] = land(con, path, [(products, catalogue)], product_columns, no_words)
        check_together(con, tables, [_ONE_ROW])
    else:
        land_nothing(con, path, product_columns)
    purchases.keep(con, tables["order_lines"], scratch)
    return list(tables.values())
