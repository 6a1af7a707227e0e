"""Live scores equal those of a batch, bit for bit, whoever's orders they come from."""

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import shops
from conftest import Place

from ml.errors import RestockError
from ml.serving.index import Index
from ml.serving.live import Live, Order, Request, RequestError, Scored, UnknownShopperError
from ml.serving.why import why
from ml.settings import Settings

pytestmark = pytest.mark.slow

SHOPPERS = 150
Theirs = dict[Any, dict[str, Any]]


class Shop:
    """A published shop, its index and its live scores."""

    def __init__(self, place: Place) -> None:
        self.query = place.query
        release = place.warehouse.resolve().parent
        self.index = Index((release / "index").resolve())
        batch = self.index.batches["reorder"]
        assert batch
        self.settings = Settings.load(warehouse=place.warehouse)
        self.live = Live(self.settings, batch.model_version)

    def drawn(self, count: int) -> list[Any]:
        order = f"select user_id from dim_users order by md5('live' || user_id) limit {count}"
        return [user_id for (user_id,) in self.query(order)]

    def never_bought(self, user_id: Any) -> Any:
        bought = f"select product_id from fct_order_items where user_id = {user_id!r}"
        ((product_id,),) = self.query(
            f"select min(product_id) from dim_products where product_id not in ({bought})"
        )
        return product_id

    def published(self, user_id: Any) -> list[tuple[Any, ...]]:
        rows = self.index.predictions(self.index.shopper(user_id) or 0, 1_000_000)
        return sorted(tuple(row.values()) for row in rows)

    def compared(self, scored: Scored | RequestError, user_id: Any) -> list[tuple[Any, ...]]:
        """The scores as the index has them: a product beyond the basket has no reason."""
        assert isinstance(scored, Scored), scored
        reasons = {id: reason for id, *_, reason in self.published(user_id)}
        return sorted(
            (
                id,
                self.index.product_name(self.index.product(id) or 0),
                float(scored.probability[at]),
                int(scored.rank[at]),
                bool(scored.in_basket[at]),
                scored.reason[at] if reasons[id] else None,
            )
            for at, id in enumerate(scored.product_id)
        )

    def history(self, user_id: Any) -> list[Order]:
        """The shopper's orders, as a request would bring them."""
        rows = self.query(
            f"""
            select
                any_value(ordered_at), any_value(order_hour), any_value(order_dow),
                any_value(days_since_prior_order), list(product_id order by cart_position)
            from fct_orders inner join (
                select order_id, product_id, cart_position from fct_order_items
            ) using (order_id)
            where user_id = {user_id!r} and not is_open
            group by order_number
            order by order_number
            """
        )
        return [
            Order(products, at, hour is not None)
            if at
            else Order(products, None, True, dow, hour, days)
            for at, hour, dow, days, products in rows
        ]


@pytest.fixture(scope="module")
def shop_of(
    request: pytest.FixtureRequest, small_shop: Callable[[str, list[shops.Line]], Place]
) -> Iterator[Callable[[str], Shop]]:
    opened: dict[str, Shop] = {}

    def of(name: str) -> Shop:
        if name not in opened:
            is_small = name == "twenty"
            place = small_shop(name, shops.small(20)) if is_small else request.getfixturevalue(name)
            opened[name] = Shop(place)
        return opened[name]

    yield of
    for shop in opened.values():
        shop.live.close()


@pytest.mark.parametrize("name", ["published", "incremented", "twenty", "complete_journey"])
def test_known_shoppers_get_the_scores_of_the_batch(
    shop_of: Callable[[str], Shop], name: str
) -> None:
    """A full run and an update, shops with and without dates, with numbers and text for IDs."""
    shop = shop_of(name)
    drawn = shop.drawn(SHOPPERS)
    for user_id, scored in zip(
        drawn, shop.live.score([Request(user_id) for user_id in drawn]), strict=True
    ):
        assert shop.compared(scored, user_id) == shop.published(user_id)


@pytest.mark.parametrize("name", ["published", "twenty", "complete_journey"])
def test_a_history_out_of_nothing_gets_the_scores_of_the_shopper_who_has_it(
    shop_of: Callable[[str], Shop], name: str
) -> None:
    shop = shop_of(name)
    drawn = [
        user_id
        for user_id in shop.drawn(20)
        # An open order says on which day the products will be bought; a request cannot.
        if not shop.query(f"select 1 from fct_orders where user_id = {user_id!r} and is_open")
    ]
    # In a shop with dates, the day is the release's, also where the history ends earlier.
    requests = [Request(orders=shop.history(user_id)) for user_id in drawn]
    for user_id, scored in zip(drawn, shop.live.score(requests), strict=True):
        assert shop.compared(scored, user_id) == shop.published(user_id)
        assert isinstance(scored, Scored) and scored.known_order_count == 0
    assert len(drawn) > 3


@pytest.mark.parametrize("name", ["published", "twenty"])
def test_an_order_takes_the_place_of_the_newest_that_are_left_out(
    shop_of: Callable[[str], Shop], name: str
) -> None:
    shop = shop_of(name)
    for user_id in shop.drawn(5):
        *history, _, newest = shop.history(user_id)
        day = (None, 9) if name == "published" else (dt.date(2030, 1, 1), None)
        fewer, alone = shop.live.score(
            [
                Request(user_id, [newest], day=day, known_orders=len(history)),
                Request(orders=[*history, newest], day=day),
            ]
        )
        assert isinstance(fewer, Scored) and isinstance(alone, Scored)
        assert fewer.known_order_count == len(history) > 0
        assert fewer.product_id == alone.product_id and fewer.reason == alone.reason
        assert np.array_equal(fewer.X, alone.X, equal_nan=True)
        assert np.array_equal(fewer.probability, alone.probability)


def test_one_request_gets_the_same_scores_alone_and_among_others(
    shop_of: Callable[[str], Shop],
) -> None:
    """The others have another day, newer orders, mistakes, or are of the same shopper."""
    shop = shop_of("complete_journey")
    user_id, other = shop.drawn(2)
    newer = Order([shop.published(user_id)[0][0]], dt.datetime(2018, 1, 3, 12), is_timed=True)
    requests = [
        Request(user_id),
        Request(user_id, [newer]),
        Request(other, day=(dt.date(2018, 2, 1), None)),
        Request(user_id, day=(dt.date(2016, 1, 1), None)),
        Request(user_id, [newer], day=(dt.date(2018, 1, 3), None)),
    ]
    together = shop.live.score(requests)
    for request, scored in zip(requests, together, strict=True):
        (alone,) = shop.live.score([request])
        if isinstance(scored, RequestError):
            assert str(alone) == str(scored)
        else:
            assert isinstance(alone, Scored)
            assert (alone.probability == scored.probability).all()
            assert (np.isnan(alone.X) == np.isnan(scored.X)).all()
    assert [isinstance(scored, Scored) for scored in together] == [True, True, True, False, True]
    assert shop.compared(together[0], user_id) == shop.published(user_id)


def test_a_newer_order_moves_the_day_and_counts_as_a_purchase(
    shop_of: Callable[[str], Shop],
) -> None:
    shop = shop_of("complete_journey")
    (user_id,) = shop.drawn(1)
    product_id = shop.published(user_id)[0][0]
    order = Order([product_id, product_id], dt.datetime(2018, 3, 1, 12))
    before, after = shop.live.score([Request(user_id), Request(user_id, [order])])
    assert isinstance(before, Scored) and isinstance(after, Scored)
    assert before.day == shop.live.day and after.day == (dt.date(2018, 3, 2), None)
    names = [feature.name for feature in shop.live.features]
    for name, change in (("user_order_count", 1), ("pair_purchase_count", 1)):
        at = names.index(name)
        row = before.product_id.index(product_id)
        assert after.X[row, at] - before.X[row, at] == change
    assert after.X[row, names.index("pair_days_since_last")] == 1


@pytest.mark.parametrize(
    ("name", "request_", "message"),
    [
        ("complete_journey", Request(-1), "Add orders"),
        ("complete_journey", Request(orders=[Order([1])]), "needs ordered_at"),
        ("complete_journey", Request(day=(None, 3)), "Use as_of"),
        (
            "complete_journey",
            Request(
                orders=[Order([1], dt.datetime(2018, 1, day)) for day in (3, 2)],
            ),
            "oldest first",
        ),
        ("published", Request(day=(dt.date(2018, 1, 1), None)), "Use as_of_days"),
        ("published", Request(orders=[Order([1], dt.datetime(2018, 1, 1))]), "not ordered_at"),
    ],
)
def test_a_request_that_cannot_be_scored_says_what_to_change(
    shop_of: Callable[[str], Shop], name: str, request_: Request, message: str
) -> None:
    (error,) = shop_of(name).live.score([request_])
    assert isinstance(error, RequestError) and message in str(error)
    assert isinstance(error, UnknownShopperError) == (message == "Add orders")


def test_orders_that_the_release_has_already_are_refused(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("complete_journey")
    (user_id,) = shop.drawn(1)
    (error,) = shop.live.score([Request(user_id, shop.history(user_id)[:1])])
    assert isinstance(error, RequestError) and "Give only orders that are newer" in str(error)


def test_what_the_features_add_makes_the_probability(shop_of: Callable[[str], Shop]) -> None:
    shop = shop_of("complete_journey")
    (user_id,) = shop.drawn(1)
    product_id, name, probability, rank, in_basket, reason = next(
        row for row in shop.published(user_id) if row[3] == 1
    )
    found = why(shop.settings, str(user_id), str(product_id))
    assert found["reorder_probability"] == probability
    assert [found[key] for key in ("product_name", "rank_in_user", "in_basket", "reason")] == [
        *(name, rank, in_basket, reason)
    ]
    calibrated = shop.live.model.calibrator.transform(np.array([found["uncalibrated_probability"]]))
    assert np.float32(calibrated[0]) == pytest.approx(probability, rel=1e-6)
    values = {row["feature"]: row["value"] for row in found["contributions"]}
    assert len(found["history"]) == values["pair_purchase_count"]
    assert found["history"][-1]["days_ago"] == values["pair_days_since_last"]
    sizes = [abs(row["log_odds"]) for row in found["contributions"]]
    assert sizes == sorted(sizes, reverse=True)
    for shopper, product, message in (
        ("-1", str(product_id), "no scores of shopper"),
        (str(user_id), "-1", "catalogue has no product"),
        (str(user_id), str(shop.never_bought(user_id)), "never bought"),
    ):
        with pytest.raises(RestockError, match=message):
            why(shop.settings, shopper, product)
