"""Promotions of an order log: which product is on offer from which day to which, and how.

A row is a product on offer, in a store if `store_id` names one. `from` and `to` are the first and
the last day; they land as `starts_on` and `ends_on`. `kind` says how customers hear of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from ml.reading import Reading
from ml.sources.ids import id_column
from ml.sources.landing import Column, Rule, Table, check_rows, land, land_nothing, text
from ml.sources.raw import RawFile
from ml.sources.staging import Staged, stage

COLUMNS = (("product_id", "starts_on", "ends_on"), ("store_id", "kind"))
"""Required and optional columns."""


def stage_promotions(
    con: duckdb.DuckDBPyConnection, files: Sequence[RawFile], reading: Reading, scratch: Path
) -> list[Staged]:
    """Find the columns of the promotions in their raw files."""
    return stage(con, "promotions", files, COLUMNS, reading.of_promotions, scratch, in_place=True)


def land_promotions(
    con: duckdb.DuckDBPyConnection,
    staged: Sequence[Staged],
    folder: Path,
    notes: list[str],
    *,
    whole_products: bool,
) -> Table | None:
    """Land the promotions, or an empty table if there are none.

    Args:
        con: an in-memory database with the view `order_lines`.
        staged: the raw files.
        folder: where to write.
        notes: the list to add to.
        whole_products: whether the ids of products are whole numbers in all files.

    Raises:
        SourceError: a file is malformed, or a promotion ends before it starts.
    """
    path = folder / "promotions.parquet"
    native = staged[0].native if staged else {}
    product = id_column("product_id", whole_products)
    if "product_id" in native:
        type_ = "bigint" if whole_products else "varchar"
        product = replace(product, sql=f"product_id::{type_}")
    columns = (
        product,
        *(_date(name, name in native) for name in ("starts_on", "ends_on")),
        text("store_id", required=False),
        Column("kind", "nullif(lower(trim(kind)), '')", "text", required=False),
    )
    if not staged:
        land_nothing(con, path, columns)
        return None
    table = land(con, path, [(part.file, part.sql) for part in staged], columns)
    backwards = Rule(
        "ends_on",
        "ends_on < starts_on",
        "{value} is before the promotion starts",
        "Correct the file: from and to are the first and the last day of a promotion",
    )
    check_rows(con, table, [backwards])
    _tell_calendar(con, table, notes)
    return table


def _date(name: str, native: bool) -> Column:
    date = name if native else f"try_cast(substring({name}, 1, 10) as date)"
    return Column(
        name,
        date,
        "a date between 1990 and 2100",
        f"{name} between date '1990-01-01' and date '2100-12-31'",
        advice="Write the year first, as in 2024-03-31",
    )


def _tell_calendar(con: duckdb.DuckDBPyConnection, table: Table, notes: list[str]) -> None:
    """Add a note if no promotion runs on the day after the newest order."""
    newest, ends_on = con.execute(
        "select (select cast(max(ordered_at) as date) from order_lines), max(ends_on) "
        f"from {table.name}"
    ).fetchall()[0]
    if newest and ends_on <= newest:
        notes.append(
            f"The promotions in {table.parts[0][0].name} end on {ends_on}, and the newest order is "
            f"of {newest}. The model does not know what is on offer when it looks ahead: export "
            "promotions up to the day that you predict for."
        )
