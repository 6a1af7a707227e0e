"""The statement in a model's folder gives the features and reasons of the warehouse."""

import duckdb
import pytest
from conftest import Place, needs_shared_data

from ml.warehouse import population

pytestmark = pytest.mark.slow

SHOPPERS = 200


@pytest.mark.parametrize(
    ("name", "as_of"),
    [
        ("published", None),
        pytest.param("instacart_sample", None, marks=needs_shared_data),
        ("complete_journey", "2018-01-01"),
    ],
)
def test_features_of_given_shoppers_equal_the_warehouse_to_the_bit(
    name: str, as_of: str | None, request: pytest.FixtureRequest
) -> None:
    place: Place = request.getfixturevalue(name)
    statement = (place.model / "features.sql").read_text()
    with duckdb.connect() as con:
        con.execute(f"attach '{place.warehouse}' as restock (read_only)")
        con.execute("create schema given; create schema population")
        for table in population.FILES:
            file = place.model / f"{table}.parquet"
            con.execute(f"create table population.{table} as from '{file}'")
        con.execute(
            f"""
            create table chosen as
            select user_id from restock.dim_users order by md5(user_id::varchar) limit {SHOPPERS};
            create table given.orders as
            from restock.fct_orders semi join chosen using (user_id);
            create table given.order_items as
            select order_id, product_id, cart_position, quantity, sales_value
            from restock.fct_order_items semi join chosen using (user_id);
            create table given.promotions as from restock.fct_promotions;
            """
        )
        con.execute(f"create table now as {statement}", {"as_of": as_of, "as_of_days": None})
        # A shop without promotions has no features of them.
        columns = [name for name, *_ in con.execute("describe now").fetchall()][:-1]
        assert ("context_mailer_count" in columns) == (name == "complete_journey")
        theirs = (
            f"select {', '.join(columns)} "
            "from restock.examples semi join chosen using (user_id) where cutoff = 0"
        )
        ours = "select * exclude (reason) from now"
        assert con.execute(f"from ({theirs}) limit 0").description == (
            con.execute(f"{ours} limit 0").description
        )
        for one, other in ((theirs, ours), (ours, theirs)):
            # `except all` compares missing values too.
            assert con.execute(f"select count(*) from ({one} except all {other})").fetchall() == [
                (0,)
            ]
        assert con.execute(
            "select count(*) > 100, count(*) filter (theirs.reason is distinct from now.reason) "
            "from restock.pair_reasons as theirs semi join chosen using (user_id) "
            "left join now using (user_id, product_id)"
        ).fetchall() == [(True, 0)]
