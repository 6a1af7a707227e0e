"""Compare the products of the order lines with those of the catalogue."""

from __future__ import annotations

import duckdb

from ml.sources.landing import Table
from ml.sources.raw import SourceError

_FEW = 0.5
"""Below this share of products with a catalogue row, the user is told."""

# Two spellings of one id: 0663713001 and 663713001, '5901 and 5901, ="001" and 1, AB-1 and ab1.
_ALIKE = "ltrim(regexp_replace(lower(product_id::varchar), '[^0-9a-z]', '', 'g'), '0')"


def check_catalogue(
    con: duckdb.DuckDBPyConnection, lines: Table, products: Table, notes: list[str]
) -> None:
    """Raise a SourceError if no product of the order lines has a catalogue row.

    If fewer than half have one, add a note.
    """
    bought = f"(select distinct product_id from {lines.name})"
    total, known, without = con.execute(
        f"""
        select
            count(*),
            count(products.product_id),
            min(case when products.product_id is null then bought.product_id end)
        from {bought} as bought
        left join {products.name} as products using (product_id)
        """
    ).fetchall()[0]
    file, line_file = products.parts[0][0].name, lines.parts[0][0].name
    if total == 0:  # A log of events without products.
        return
    if known == 0:
        raise SourceError(_how_they_differ(con, bought, products, line_file), _ADVICE, file=file)
    if known < _FEW * total:
        notes.append(
            f"{file} has only {known:,} of the {total:,} products in the order lines "
            f'(not "{without}", for example); the others have no name.'
        )


_ADVICE = "Export both files with the same product_id, as text"


def _how_they_differ(
    con: duckdb.DuckDBPyConnection, bought: str, products: Table, line_file: str
) -> str:
    problem = f"no product_id of {line_file} is in this file"
    pair = con.execute(
        f"""
        select bought.product_id, listed.product_id
        from (select product_id, {_ALIKE} as alike from {bought}) as bought
        inner join (select product_id, {_ALIKE} as alike from {products.name}) as listed
            using (alike)
        where alike <> ''
        order by all
        limit 1
        """
    ).fetchone()
    if pair:
        return f'{problem}: "{pair[0]}" there is "{pair[1]}" here'
    ((there, here),) = con.execute(
        f"select (select min(product_id) from {bought}), min(product_id) from {products.name}"
    ).fetchall()
    return f'{problem}: ids there look like "{there}", and here like "{here}"'
