"""An order log: a format that any retailer can export, with one row per order line.

Ids are whole numbers or text. An id column lands as bigint if every value is a whole number in
canonical form (no leading zeros), otherwise as text. Text in a Parquet file stays text.
`product_id` lands with the same type from both files.

`ordered_at` is a date or a time (`ml.sources.times`) on the shop's clock (`ml.sources.clock`).
`is_timed` is false where the hour is unknown: for a date, and for every row if all times in the
file are midnight.

The optional columns `quantity`, `price` and `sales_value` are numbers. `ml.sources.purchases`
leaves out the lines that are no purchases.

The order lines may be in several files. `restock.toml` may say which column is which; then a value
of an order that is on one of its lines only, such as the time, holds for all of them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import duckdb

from ml.reading import Reading
from ml.sources import clock, orders, purchases, times
from ml.sources.catalogue import check_catalogue
from ml.sources.folder import Wanted
from ml.sources.ids import id_column
from ml.sources.landing import (
    Column,
    Table,
    check_together,
    copy,
    count,
    land,
    land_nothing,
    tell_ignored,
    text,
    unique,
)
from ml.sources.mapping import locate_columns, require_same_columns
from ml.sources.packings import WORKBOOK, bare_name
from ml.sources.raw import RawFile, SourceError, parquet, quoted

_SUFFIXES = (".parquet", ".csv", WORKBOOK)
# A part of the order lines has a number or a date in its name: order_lines_2023-03.csv.
_LINES = (
    *(f"order_lines{s}" for s in _SUFFIXES),
    *(f"order_lines[-_]*[0-9]*{s}" for s in _SUFFIXES),
)
_PRODUCTS = tuple(f"products{suffix}" for suffix in _SUFFIXES)

# Required and optional columns of each file.
_NAMES = ("product_name", "aisle", "department")
_COLUMNS = {
    "order_lines": (
        ("user_id", "order_id", "ordered_at", "product_id"),
        ("cart_position", *purchases.AMOUNTS),
    ),
    "products": (("product_id",), _NAMES),
}
_NUMBERS = ("cart_position", *purchases.AMOUNTS)

# Allowed types of Parquet columns, and what to do about any other type.
_WHOLE = r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DECIMAL\(\d+,0\)"
_TEXT = r"VARCHAR|UUID|ENUM\(.*\)"
_PARQUET_TYPES = {
    "id": (f"{_WHOLE}|{_TEXT}", "Cast it to an integer or to text"),
    "ordered_at": (f"DATE|TIMESTAMP.*|{_TEXT}", "Cast it to a timestamp or to a date"),
    "cart_position": (f"{_WHOLE}|FLOAT|DOUBLE|{_TEXT}", "Cast it to an integer"),
    **dict.fromkeys(
        purchases.AMOUNTS,
        (rf"{_WHOLE}|FLOAT|DOUBLE|DECIMAL\(.*\)|{_TEXT}", "Cast it to a number"),
    ),
}


def wanted(reading: Reading) -> Wanted:
    """Return the raw files to look for."""
    names = {
        "order_lines": (reading.order_lines, _LINES),
        "products": (reading.products, _PRODUCTS),
    }
    files = {stem: (bare_name(own),) if own else usual for stem, (own, usual) in names.items()}
    return Wanted(files, optional=("products",))


@dataclass(frozen=True)
class _Staged:
    """A raw file, and its columns as text in a Parquet file, without those that it lacks."""

    file: RawFile
    path: Path
    lacks: tuple[str, ...]

    @property
    def rows(self) -> str:
        return f"select *, file_row_number from {parquet(self.path)}"

    @property
    def sql(self) -> str:
        lacks = "".join(f", null::varchar as {column}" for column in self.lacks)
        return f"select *{lacks} from ({self.rows})"


def _stage(
    con: duckdb.DuckDBPyConnection,
    table: str,
    files: Sequence[RawFile],
    reading: Reading,
    scratch: Path,
    more: Sequence[str] = (),
) -> list[_Staged]:
    """Copy the columns of raw files to Parquet files as text.

    Args:
        con: an in-memory database.
        table: `order_lines` or `products`.
        files: the parts of the table.
        reading: how to read the files.
        scratch: where to write.
        more: columns to copy if they are there.
    """
    staged: list[_Staged] = []
    for number, raw in enumerate(files):
        file = _prepared(raw, reading, scratch / f"{table}.{number}.csv")
        required, optional = _COLUMNS[table]
        if staged:
            require_same_columns(file, staged[0].file)
        file = locate_columns(file, required, optional, more, reading=reading)
        wanted = (*required, *optional, *more)
        columns = {c: _as_text(file, c, reading) for c in wanted if c in file.origins}
        path = scratch / f"{table}.{number}.parquet"
        copy(con, [(file, file.select(columns))], path)
        lacks = tuple(column for column in wanted if column not in columns)
        staged.append(_Staged(file, path, lacks))
    return staged


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
    allowed, advice = _PARQUET_TYPES.get(kind, (".*", ""))
    if column == "ordered_at" and (mapping.format or mapping.day_1):
        allowed = f"{allowed}|{_WHOLE}|FLOAT|DOUBLE"
    for name in names if file.is_parquet else ():
        if not re.fullmatch(allowed, file.types[name]):
            problem = f"the type {file.types[name]} is not supported"
            raise SourceError(problem, advice, file=file.name, column=file.title(column))
    texts = [file.text(name) for name in names]
    if column == "ordered_at":
        is_time = file.is_parquet and file.types[names[0]].startswith(("DATE", "TIMESTAMP"))
        return texts[0] if is_time else times.canonical(texts, mapping)
    if kind == "id" and is_mapped:
        # pandas writes whole numbers beside empty values as 17850.0.
        texts = [f"regexp_replace({sql}, '^([0-9]{{1,15}})[.]0$', '\\1')" for sql in texts]
    if column in _NUMBERS and reading.decimal == ",":
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


def _carry_over(con: duckdb.DuckDBPyConnection, staged: Sequence[_Staged], scratch: Path) -> None:
    """Fill the shopper and the time of an order's lines from its first line that has them."""
    columns = ("user_id", "ordered_at")
    lines = " union all ".join(
        f"(select {number} as file_number, file_row_number, order_id, {', '.join(columns)} "
        f"from ({part.rows}))"
        for number, part in enumerate(staged)
    )
    gaps = " or ".join(f"count(*) > count({column})" for column in columns)
    if not con.execute(f"select {gaps} from ({lines})").fetchall()[0][0]:
        return
    first = ", ".join(
        f"arg_min({column}, (file_number, file_row_number)) as {column}" for column in columns
    )
    con.execute(
        f"create or replace temp table firsts as "
        f"select order_id, {first} from ({lines}) where order_id is not null group by order_id"
    )
    filled = ", ".join(f"coalesce(part.{c}, firsts.{c}) as {c}" for c in columns)
    for part in staged:
        whole = scratch / "filled.parquet"
        con.execute(
            f"copy (select part.* exclude (file_row_number) replace ({filled}) "
            f"from ({part.rows}) as part left join firsts using (order_id) "
            f"order by part.file_row_number) to {quoted(whole)} (format parquet)"
        )
        whole.replace(part.path)


def _are_whole(con: duckdb.DuckDBPyConnection, staged: Sequence[_Staged], name: str) -> bool:
    for part in staged:
        origins = part.file.origins[name]
        if part.file.is_parquet and re.fullmatch(_TEXT, part.file.types[origins[0]]):
            return False
        are_whole = (
            f"bool_and(coalesce(try_cast({name} as bigint)::varchar = {name}, {name} is null))"
        )
        # A part may have no rows.
        sql = f"select coalesce({are_whole}, true) from ({part.sql})"
        if not con.execute(sql).fetchall()[0][0]:
            return False
    return True


def _ordered_at(
    con: duckdb.DuckDBPyConnection,
    staged: Sequence[_Staged],
    reading: Reading,
    notes: list[str],
) -> tuple[Column, ...]:
    """Return the columns `ordered_at` and `is_timed`, which depend on all times in the files."""
    clock.check_timezone(con, reading.timezone)
    has_clock, has_offset = times.has_clock("ordered_at"), times.has_offset("ordered_at")
    found = [
        con.execute(
            f"""
            select
                coalesce(bool_or({has_offset}), false),
                coalesce(bool_or({has_clock} and not {times.is_midnight("ordered_at")}), false),
                min(case when {has_clock} and not {has_offset} then file_row_number end),
            from ({part.sql})
            """
        ).fetchall()[0]
        for part in staged
    ]
    any_offset, any_hour = (any(values) for values in list(zip(*found, strict=True))[:2])
    for part, (_, _, first_without) in zip(staged, found, strict=True):
        if any_offset and first_without is not None:
            line, texts = part.file.locate(first_without)
            raise SourceError(
                f'"{texts["ordered_at"]}" has no UTC offset, but other times in the file have one',
                "Add an offset to every time, or to none",
                file=part.file.name,
                line=line,
                column=part.file.title("ordered_at"),
            )
    is_timed = has_clock if any_hour else "false"
    utc = any_offset and all(clock.is_utc(con, part.sql) for part in staged)
    if any_hour:
        clock.tell_timezone(staged[0].file.name, utc=utc, timezone=reading.timezone, notes=notes)
    local = clock.local("ordered_at", offsets=any_offset, utc=utc, timezone=reading.timezone)
    date = f"case when {local} is not null then substring(ordered_at, 1, 10)::timestamp end"
    return (
        Column(
            "ordered_at",
            f"case when {is_timed} then {local} else {date} end",
            "a date or time such as 2024-03-31 or 2024-03-31T18:05:00, between 1990 and 2100",
            "ordered_at >= timestamp '1990-01-01' and ordered_at < timestamp '2101-01-01'",
            explain=partial(times.explain, mapping=reading.mapping("ordered_at")),
        ),
        Column("is_timed", f"coalesce({is_timed}, false)", "known", required=False),
    )


_ONE_ROW = unique("products", "product_id", problem="product_id {} appears twice")


def land_files(
    con: duckdb.DuckDBPyConnection,
    files: Mapping[str, Sequence[RawFile]],
    folder: Path,
    scratch: Path,
    reading: Reading,
    notes: list[str],
) -> list[Table]:
    """Land order_lines, products and events, which is always empty: no reader of events exists.

    Without a products file, the names in the order lines are the catalogue. A product may appear
    twice in an order (a common way to write quantities): both lines land. Lines that are no
    purchases are left out.

    Raises:
        SourceError: a file is malformed, `ml.sources.orders` rejects an order, or no product of
            the order lines is in the catalogue.
    """
    products = files.get("products", ())
    names_in_lines = () if products else _NAMES
    lines = _stage(con, "order_lines", files["order_lines"], reading, scratch, names_in_lines)
    if reading.columns:
        _carry_over(con, lines, scratch)
    catalogue = _stage(con, "products", products, reading, scratch)
    tell_ignored([part.file for part in (*lines[:1], *catalogue[:1])], notes)
    whole_products = _are_whole(con, [*lines, *catalogue], "product_id")
    whole_users = _are_whole(con, lines, "user_id")
    whole_orders = _are_whole(con, lines, "order_id")
    words = [word for part in catalogue for word in purchases.named_words(con, part.sql)]
    keep = {*reading.keep_ids, *words}
    no_words = () if whole_products else (purchases.no_word("product_id", keep),)
    rules = [*no_words]
    if not whole_orders:
        rules.append(purchases.no_word("order_id", reading.keep_ids))
    users = replace(
        id_column("user_id", whole_users),
        required=not reading.skip_missing_shoppers,
        advice=purchases.HOW_TO_SKIP,
    )
    if not whole_users:
        no_word = purchases.no_word("user_id", reading.keep_ids)
        rules.append(replace(no_word, advice=f"{users.advice}, or add an id to keep_ids"))

    line_columns = (
        users,
        id_column("order_id", whole_orders),
        *_ordered_at(con, lines, reading, notes),
        id_column("product_id", whole_products),
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
        id_column("product_id", whole_products),
        *(text(name, required=False) for name in _NAMES),
    )
    path = folder / "order_lines.parquet"
    landed = land(con, path, _parts(lines), line_columns, rules)
    tables = {"order_lines": purchases.leave_out(con, landed, reading, notes)}
    orders.check(con, tables, reading, notes)
    path = folder / "products.parquet"
    if products:
        tables["products"] = land(con, path, _parts(catalogue), product_columns, no_words)
        check_together(con, tables, [_ONE_ROW])
        check_catalogue(con, tables["order_lines"], tables["products"], notes)
    elif set(_NAMES) & set(lines[0].file.origins):
        _land_names(con, lines, path, product_columns)
    else:
        land_nothing(con, path, product_columns)
    purchases.keep(con, tables["order_lines"], scratch)
    _land_no_events(con, folder, whole_users, whole_products)
    return list(tables.values())


def _land_no_events(
    con: duckdb.DuckDBPyConnection, folder: Path, whole_users: bool, whole_products: bool
) -> None:
    columns = (
        id_column("user_id", whole_users),
        text("event_id"),
        *(Column(name, f"{name}::timestamp", "a time") for name in ("occurred_at", "known_at")),
        text("event_type"),
        id_column("product_id", whole_products),
        text("session_id"),
        Column("value", "value::double", "a number"),
    )
    land_nothing(con, folder / "events.parquet", columns)


def _parts(staged: Sequence[_Staged]) -> list[tuple[RawFile, str]]:
    return [(part.file, part.sql) for part in staged]


def _land_names(
    con: duckdb.DuckDBPyConnection,
    lines: Sequence[_Staged],
    path: Path,
    columns: Sequence[Column],
) -> None:
    """Land the names that the order lines have, each product's as its last line writes them."""
    texts = " union all ".join(
        f"(select {number} as file_number, * from ({part.sql}))"
        for number, part in enumerate(lines)
    )
    last = ", ".join(f"arg_max({n}, (file_number, file_row_number)) as {n}" for n in _NAMES)
    select = ", ".join(f"{column.sql} as {column.name}" for column in columns)
    con.execute(
        f"copy (select {select} from (select product_id, {last} from ({texts}) "
        f"group by product_id) order by product_id) to {quoted(path)} (format parquet)"
    )
