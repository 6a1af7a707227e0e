"""A macro with a version for DuckDB gives what its standard SQL gives."""

from pathlib import Path

import duckdb
import pytest
from conftest import Place

HISTORY = """
with lines as (
    select * exclude (purchase_number, gap_orders, gap_days)
    from {{ ref('fct_order_items') }}
    order by hash(order_id, product_id)
),
standard as ({{ restock.default__purchase_history('lines') }}),
streamed as ({{ restock.duckdb__purchase_history('lines') }})
"""
COMPARED = """
(
    from standard select user_id, product_id, order_number, purchase_number, gap_orders, gap_days
    {} from streamed
    select user_id, product_id, order_number, purchase_number, gap_orders, gap_days
)
"""


@pytest.mark.slow
def test_purchases_are_numbered_alike_from_lines_in_any_order(
    published: Place, place: Place, instacart_files: Path
) -> None:
    compiled = place.call(
        *("dbt", "compile", "--quiet", "--inline", HISTORY),
        RESTOCK_WAREHOUSE=str(published.warehouse),
        RESTOCK_SOURCE="instacart",
        RESTOCK_RAW_DIR=str(instacart_files),
    )
    assert compiled.returncode == 0, compiled.stdout
    with duckdb.connect(published.warehouse, read_only=True) as con:
        rows = {
            how: con.execute(compiled.stdout + COMPARED.format(how)).fetchall()
            for how in ("except all", "intersect all")
        }
        lines = con.execute("select count(*) from fct_order_items").fetchall()[0][0]
    assert rows["except all"] == [] and len(rows["intersect all"]) == lines
