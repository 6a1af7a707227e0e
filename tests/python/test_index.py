"""The index of a release has the published tables, and follows them."""

import json
from collections.abc import Callable

import pytest
import shops
from conftest import Place

from ml.errors import RestockError
from ml.serving.index import WINDOWS, Index

pytestmark = pytest.mark.slow

PREDICTIONS = """
select
    product_id, product_name, scores.reorder_probability, scores.rank_in_user, scores.in_basket,
    reason
from fct_predictions as scores
inner join dim_products using (product_id)
left join pair_reasons using (user_id, product_id)
where user_id = {}
order by scores.rank_in_user
"""
DISCOVERIES = """
select product_id, product_name, purchase_probability, rank_in_user
from fct_discoveries inner join dim_products using (product_id)
where user_id = {}
order by rank_in_user
"""
EVERYONE = "select user_id from dim_users order by user_id"


def opened(place: Place) -> Index:
    return Index((place.warehouse.resolve().parent / "index").resolve())


@pytest.fixture
def twenty(small_shop: Callable[[str, list[shops.Line]], Place]) -> Place:
    """A shop whose shoppers have text for IDs."""
    return small_shop("twenty", shops.small(20))


@pytest.mark.parametrize("name", ["published", "incremented", "twenty"])
def test_look_ups_equal_the_published_tables(name: str, request: pytest.FixtureRequest) -> None:
    """Of a full run, of an update that replaced some shoppers, and of a shop with text for IDs."""
    place: Place = request.getfixturevalue(name)
    index = opened(place)
    assert place.query("select count(*) from fct_predictions") == [(len(index),)]
    for (user_id,) in place.query(EVERYONE)[::10]:
        shopper = index.shopper(user_id)
        assert shopper is not None
        theirs = place.query(PREDICTIONS.format(repr(user_id)))
        found = index.predictions(shopper, 1_000_000)
        assert [tuple(row.values()) for row in found] == theirs
        assert index.predictions(shopper, 3) == found[:3]
        assert index.basket(shopper) == [row for row in found if row["in_basket"]]
        new = [tuple(row.values()) for row in index.discoveries(shopper)]
        assert new == place.query(DISCOVERIES.format(repr(user_id)))
    batch = index.batches["reorder"]
    assert batch and place.query("select distinct batch_id from fct_predictions") == [
        (batch.batch_id,)
    ]
    assert place.query("select max(model_version) from rpt_score_summary") == [
        (batch.model_version,)
    ]


def test_who_buys_next_and_the_demand_equal_the_published_tables(complete_journey: Place) -> None:
    index = opened(complete_journey)
    for task, table in WINDOWS.items():
        rows = complete_journey.query(
            "select user_id, cutoff_at, window_end_at, purchase_probability, rank, decile, "
            f"is_targeted, is_held_out from {table} order by md5(user_id::varchar) limit 100"
        )
        for user_id, *theirs in rows:
            window = index.window(task, index.shopper(user_id) or 0)
            assert window and list(window.values()) == theirs
    rows = complete_journey.query(
        "select product_id, expected_shoppers, shopper_count, expected_units "
        "from fct_expected_shoppers left join fct_demand using (product_id) "
        "order by md5(product_id::varchar) limit 300"
    )
    for product_id, *theirs in rows:
        product = index.demand(index.product(product_id) or 0)
        units = product["week"] and product["week"]["expected_units"]
        assert [product["expected_shoppers"], product["shopper_count"], units] == theirs


def test_ids_that_are_not_there_are_not_found(published: Place) -> None:
    index = opened(published)
    ((least, most),) = published.query("select min(user_id), max(user_id) from dim_users")
    assert index.shopper(least - 1) is None and index.shopper(most + 1) is None
    ((product_id,),) = published.query("select max(product_id) from dim_products")
    assert index.product(-1) is index.product(product_id + 1) is None
    assert index.product(str(product_id)) == index.product(product_id)
    assert index.product("") is index.product("x") is index.product("1" * 40) is None


def test_products_are_found_by_a_part_of_their_names(published: Place) -> None:
    index = opened(published)
    ((name,),) = published.query("select min(product_name) from dim_products")
    part = name[1:5].upper()
    rows = index.named(part, 1_000_000)
    expected = published.query(
        f"select product_id from dim_products where contains(upper(product_name), '{part}')"
    )
    assert sorted(index.product_id(row) for row in rows) == sorted(id for (id,) in expected)
    shoppers = [index.demand(row)["shopper_count"] for row in rows]
    assert shoppers == sorted(shoppers, reverse=True) and len(rows) > 1
    assert index.named(part, 1) == rows[:1] and index.named("no such product", 5) == []


def test_a_release_without_an_index_says_what_to_do(place: Place) -> None:
    with pytest.raises(RestockError, match="Run `restock run`"):
        Index(place.folder / "index")


def test_the_summary_of_a_run_counts_the_pairs(published_twice: Place) -> None:
    summary = json.loads((published_twice.folder / "summary.json").read_text())
    assert summary["index"]["rows"] == summary["score"]["rows"]
