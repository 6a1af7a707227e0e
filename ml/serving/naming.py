"""Requests for live scores as people write them, and scores with the names of the catalogue."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from ml.serving.index import Index
from ml.serving.live import Id, Order, Request, Scored, UnknownShopperError


def request(index: Index, wanted: Request) -> tuple[Request, list[Id]]:
    """Return a request with the IDs of a release, and the products that its catalogue lacks.

    An ID may be text anywhere. Without a shopper of the release, the orders are the whole history.

    Raises:
        UnknownShopperError: the release does not have the shopper, and there are no orders.
    """
    shopper = None if wanted.user_id is None else index.shopper(wanted.user_id)
    if shopper is None and not wanted.orders:
        who = "no shopper is named" if wanted.user_id is None else f"no shopper {wanted.user_id}"
        raise UnknownShopperError(f"There are no orders to score: {who}. Send their orders.")
    ids = dict.fromkeys(id for order in wanted.orders for id in order.product_ids)
    products = {id: index.product(id) for id in ids}

    def known(order: Order) -> Order:
        rows = [row for id in order.product_ids if (row := products[id]) is not None]
        return replace(order, product_ids=[index.product_id(row) for row in rows])

    named = replace(
        wanted,
        user_id=None if shopper is None else index.user_id(shopper),
        orders=[known(order) for order in wanted.orders],
    )
    return named, [id for id, row in products.items() if row is None]


def rows(
    index: Index, scored: Scored, *, without: Collection[Id] = (), limit: int | None = None
) -> list[dict[str, Any]]:
    """Return the likeliest products of a request by rank, as `Index.predictions` does.

    Args:
        index: the index of the release.
        scored: the scores.
        without: products to leave out.
        limit: most rows; None for all.
    """
    left_out = {index.product(id) for id in without}
    found: list[dict[str, Any]] = []
    for at in scored.rank.argsort():
        product = index.product(scored.product_id[at])
        if len(found) == limit:
            break
        if product is not None and product not in left_out:
            found.append(
                {
                    "product_id": scored.product_id[at],
                    "product_name": index.product_name(product),
                    "reorder_probability": float(scored.probability[at]),
                    "rank_in_user": int(scored.rank[at]),
                    "in_basket": bool(scored.in_basket[at]),
                    "reason": scored.reason[at],
                }
            )
    return found
