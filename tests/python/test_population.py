"""The population of a model version, as files in its folder."""

from pathlib import Path

import duckdb
import pytest

from ml.errors import RestockError
from ml.warehouse import population


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The population of a shop with three aisles, one of products that are in no catalogue."""
    with duckdb.connect() as con:
        con.execute(
            """
            create table usual_gap as select 7 as days;
            create table reorder_hazards as
            select * from (values (0, 1, 1, 0.5), (1, 1, 1, 0.9))
                as t (cutoff, times_bought, orders, expected_purchases);
            create table feat_products as
            select * from (values (0, 10, 3), (1, 10, 2))
                as t (cutoff, product_id, purchases_again);
            create table aisle_totals as
            select * from (values (0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 1, 9))
                as t (cutoff, aisle_id, purchases_again);
            create table dim_products as
            select * from (values
                (10, 1, 'dairy', 'milk', true), (11, 1, 'dairy', 'milk', true),
                (12, 2, 'food', 'bread', true), (13, 0, 'unknown', 'unknown', false)
            ) as t (product_id, aisle_id, department, aisle, is_in_catalogue)
            """
        )
        population.write(con, tmp_path)
    return tmp_path


def test_a_version_has_the_population_of_cutoff_0(trained: Path) -> None:
    with duckdb.connect() as con:
        population.read(con, trained)
        assert con.execute("select * from usual_gap").fetchall() == [(7,)]
        assert con.execute(
            "select cutoff, product_id, purchases_again from feat_products"
        ).fetchall() == [(0, 10, 3)]
        assert con.execute("select count(*) from reorder_hazards").fetchall() == [(1,)]


def test_aisles_get_the_numbers_of_another_catalogue(trained: Path) -> None:
    """An aisle that is first by name, and one that has a new name, which has no population."""
    with duckdb.connect() as con:
        con.execute(
            """
            create table dim_products as
            select * from (values
                (14, 1, 'baby', 'food', true), (10, 2, 'dairy', 'milk', true),
                (12, 3, 'food', 'rolls', true), (13, 0, 'unknown', 'unknown', false),
                (15, 4, 'unknown', 'unknown', true)
            ) as t (product_id, aisle_id, department, aisle, is_in_catalogue)
            """
        )
        population.read(con, trained)
        population.renumber_aisles(con, trained)
        assert con.execute(
            "select aisle_id, purchases_again from aisle_totals order by aisle_id"
        ).fetchall() == [(0, 1), (2, 2)]


def test_a_version_without_a_population_cannot_score_new_orders(trained: Path) -> None:
    (trained / "feat_products.parquet").unlink()
    with duckdb.connect() as con, pytest.raises(RestockError, match="restock run --full"):
        population.read(con, trained)
