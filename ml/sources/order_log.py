"""An order log: a format that any retailer can export, with one row per order line.

Ids are whole numbers or text. An id column lands as bigint if every value is a whole number in
canonical form (no leading zeros), otherwise as text. Text in a Parquet file stays text.
`product_id` lands with the same type from both files.

`ordered_at` is a date or a time (`ml.sources.times`) on the shop's clock (`ml.sources.clock`).
`is_timed` is false where the hour is unknown: for a date, and for every row if all times in the
file are midnight.

The optional columns `quantity`, `price` and `sales_value` are numbers. `ml.sources.purchases`
leaves out the lines that are no purchases.

`ml.sources.promotions` reads what was on offer when.

The order lines may be in several files. `restock.toml` may say which column is which; then a value
of an order that is on one of its lines only, such as the time, holds for all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import duckdb

from ml.reading import Reading
from ml.sources import (
    clock,
    event_orders,
    event_parts,
    event_types,
    events,
    orders,
    promotions,
    purchases,
    times,
)
from ml.sources.catalogue import check_catalogue
from ml.sources.folder import Wanted
from ml.sources.ids import id_column
from ml.sources.landing import (
    Column,
    Table,
    check_together,
    count,
    land,
    land_nothing,
    tell_ignored,
    text,
    unique,
)
from ml.sources.packings import WORKBOOK, bare_name
from ml.sources.raw import RawFile, SourceError, quoted
from ml.sources.staging import Staged, are_whole, stage

_SUFFIXES = (".parquet", ".csv", WORKBOOK)
# A part of the order lines has a number or a date in its name: order_lines_2023-03.csv.
_LINES = (
    *(f"order_lines{s}" for s in _SUFFIXES),
    *(f"order_lines[-_]*[0-9]*{s}" for s in _SUFFIXES),
)
_PRODUCTS = tuple(f"products{suffix}" for suffix in _SUFFIXES)
_EVENTS = tuple(name.replace("order_lines", "events") for name in _LINES)
_PROMOTIONS = tuple(name.replace("order_lines", "promotions") for name in _LINES)
_EVENT_TYPES = tuple(f"event_types{suffix}" for suffix in _SUFFIXES)

# Required and optional columns of each file.
_NAMES = ("product_name", "aisle", "department")
COLUMNS = {
    "order_lines": (
        ("user_id", "order_id", "ordered_at", "product_id"),
        ("cart_position", *purchases.AMOUNTS),
    ),
    "products": (("product_id",), _NAMES),
}


def wanted(reading: Reading) -> Wanted:
    """Return the raw files to look for."""
    names = {
        "order_lines": (reading.order_lines, _LINES),
        "products": (reading.products, _PRODUCTS),
        "events": (reading.events, _EVENTS),
        "event_types": ("", _EVENT_TYPES),
        "promotions": ("", _PROMOTIONS),
    }
    files = {stem: (bare_name(own),) if own else usual for stem, (own, usual) in names.items()}
    optional = ("products", "events", "event_types", "promotions")
    return Wanted(files, optional, instead={"order_lines": "events"})


def _carry_over(con: duckdb.DuckDBPyConnection, staged: Sequence[Staged], scratch: Path) -> None:
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


def _ordered_at(
    con: duckdb.DuckDBPyConnection,
    staged: Sequence[Staged],
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
    utc = any_offset and all(clock.is_utc(con, part) for part in staged)
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
    last: Path,
    reading: Reading,
    notes: list[str],
) -> list[Table]:
    """Land order_lines, products, events and promotions.

    Raw files of events that have not changed since the landing in `last` are not read again.

    Without a products file, the names in the order lines are the catalogue. A product may appear
    twice in an order (a common way to write quantities): both lines land. Lines that are no
    purchases are left out. Without order lines, purchases come from the events.

    Raises:
        SourceError: a file is malformed, `ml.sources.orders` rejects an order, or no product of
            the order lines is in the catalogue.
    """
    products = files.get("products", ())
    names_in_lines = () if products else _NAMES
    lines, catalogue = (
        stage(con, table, files.get(table, ()), COLUMNS[table], reading, scratch, more)
        for table, more in (("order_lines", names_in_lines), ("products", ()))
    )
    before = event_parts.read(last)
    logged = events.stage_events(con, files.get("events", ()), reading, scratch, before)
    offers = promotions.stage_promotions(con, files.get("promotions", ()), reading, scratch)
    types = event_types.known(con, files.get("event_types", ()), reading, scratch) if logged else {}
    if reading.columns and lines:
        _carry_over(con, lines, scratch)
    firsts = (*lines[:1], *catalogue[:1], *logged[:1], *offers[:1])
    tell_ignored([part.file for part in firsts], notes)
    ids = events.Ids(
        users=are_whole(con, [*lines, *logged], "user_id"),
        products=are_whole(con, [*lines, *catalogue, *logged, *offers], "product_id"),
    )
    words = [word for part in catalogue for word in purchases.named_words(con, part.sql)]
    keep = {*reading.keep_ids, *words}
    tables: dict[str, Table] = {}
    if lines:
        tables["order_lines"] = _land_lines(con, lines, folder, ids, keep, reading, notes)
    if logged:
        tables["events"] = events.land_events(
            con, logged, folder, before, ids, types, keep, reading, notes, with_orders=bool(lines)
        )
    else:
        events.land_none(con, folder, ids)
    bought = tables.get("order_lines") or event_orders.land_orders(
        con, tables["events"], folder, notes
    )
    path = folder / "products.parquet"
    product_columns = (
        id_column("product_id", ids.products),
        *(text(name, required=False) for name in _NAMES),
    )
    if products:
        no_words = () if ids.products else (purchases.no_word("product_id", keep),)
        tables["products"] = land(con, path, _parts(catalogue), product_columns, no_words)
        check_together(con, tables, [_ONE_ROW])
        check_catalogue(con, bought, tables["products"], notes)
    elif lines and set(_NAMES) & set(lines[0].file.origins):
        _land_names(con, lines, path, product_columns)
    else:
        land_nothing(con, path, product_columns)
    on_offer = promotions.land_promotions(con, offers, folder, notes, whole_products=ids.products)
    if on_offer:
        tables["promotions"] = on_offer
    if lines:
        purchases.keep(con, tables["order_lines"], scratch)
    return list(tables.values())


def _land_lines(
    con: duckdb.DuckDBPyConnection,
    lines: Sequence[Staged],
    folder: Path,
    ids: events.Ids,
    keep: Collection[str],
    reading: Reading,
    notes: list[str],
) -> Table:
    """Land and check the order lines, and leave out those that are no purchases."""
    whole_orders = are_whole(con, lines, "order_id")
    rules = [] if ids.products else [purchases.no_word("product_id", keep)]
    if not whole_orders:
        rules.append(purchases.no_word("order_id", reading.keep_ids))
    users = replace(
        id_column("user_id", ids.users),
        required=not reading.skip_missing_shoppers,
        advice=purchases.HOW_TO_SKIP,
    )
    if not ids.users:
        no_word = purchases.no_word("user_id", reading.keep_ids)
        rules.append(replace(no_word, advice=f"{users.advice}, or add an id to keep_ids"))
    columns = (
        users,
        id_column("order_id", whole_orders),
        *_ordered_at(con, lines, reading, notes),
        id_column("product_id", ids.products),
        count(
            "cart_position",
            "a whole number of at least 1",
            "cart_position >= 1",
            type="integer",
            required=False,
        ),
        *purchases.amounts(),
    )
    landed = land(con, folder / "order_lines.parquet", _parts(lines), columns, rules)
    table = purchases.leave_out(con, landed, reading, notes)
    orders.check(con, {"order_lines": table}, reading, notes)
    return table


def _parts(staged: Sequence[Staged]) -> list[tuple[RawFile, str]]:
    return [(part.file, part.sql) for part in staged]


def _land_names(
    con: duckdb.DuckDBPyConnection,
    lines: Sequence[Staged],
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
