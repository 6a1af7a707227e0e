"""A macro with a version for DuckDB gives what its standard SQL gives."""

import duckdb
import pytest
from conftest import ROOT
from jinja2 import Environment, FileSystemLoader

MACROS = Environment(loader=FileSystemLoader(ROOT / "macros"))
HISTORIES = MACROS.get_template("purchase_history.sql").module
COLUMNS = "user_id, product_id, order_number, purchase_number, gap_orders, gap_days"


def history(engine: str, lines: str) -> str:
    """Return the purchases of lines, by the macro of an engine."""
    return f"select {COLUMNS} from ({getattr(HISTORIES, f'{engine}__purchase_history')(lines)})"


@pytest.mark.parametrize("engine", ["default", "duckdb"])
def test_purchases_of_a_product_follow_each_other(engine: str) -> None:
    """The first purchase has no gap, also after the last one of another product or shopper."""
    lines = """(values
        (1, 5, 3, 9), (2, 5, 5, 30), (1, 5, 1, 0), (1, 5, 4, 16), (1, 6, 2, 5), (1, 4, 1, 0)
    ) as lines (user_id, product_id, order_number, order_day)"""
    assert duckdb.execute(history(engine, lines)).fetchall() == [
        (1, 4, 1, 1, None, None),
        (1, 5, 1, 1, None, None),
        (1, 5, 3, 2, 2, 9),
        (1, 5, 4, 3, 1, 7),
        (1, 6, 2, 1, None, None),
        (2, 5, 5, 1, None, None),
    ]


def test_purchases_are_numbered_alike_in_any_order_of_the_lines() -> None:
    with duckdb.connect() as con:
        con.execute(
            """
            create table lines as
            select
                (hash(range) % 300)::integer as user_id,
                (hash(range, 1) % 40)::varchar as product_id,
                row_number() over () as order_number,
                order_number * 3 as order_day
            from range(60_000)
            """
        )
        standard = con.execute(history("default", "lines")).fetchall()
        for seed in range(3):
            con.execute(f"create table shuffled as from lines order by hash(order_number, {seed})")
            assert con.execute(history("duckdb", "shuffled")).fetchall() == standard
            con.execute("drop table shuffled")
