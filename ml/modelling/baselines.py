"""Baselines that a trained model must beat: scores computed from past orders alone.

The scores rank the products of a shopper; they are not probabilities. Three simple baselines are
columns of ``examples``. Two more, TIFU-KNN and UP-CF, compare a shopper with other shoppers; they
are reimplemented from their papers.

The default parameters are those published for Ta-Feng, a grocery data set: in the authors' code
for TIFU-KNN, and for UP-CF in the code of Li, Jullien, Ariannezhad, de Rijke 2023, "A next basket
recommendation reality check". Of all published parameter sets, Ta-Feng's scored best on our data.
No parameter was tuned on our data.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ml.modelling.basket import Floats, Ints

SIMPLE: dict[str, dict[str, float]] = {
    "personal_frequency": {"pair_order_share": 1},
    "recency_decay": {"pair_decay_5_orders_share": 1},
    "last_basket": {"pair_last_1_count": 1, "pair_order_share": 0.5},
}
"""The simple baselines: weights of columns of ``examples``.

- ``personal_frequency``: share of the shopper's past orders that contain the product.
- ``recency_decay``: the same share, with an order's weight halved for every 5 orders ago.
- ``last_basket``: whether the last order contains the product; personal frequency breaks ties.
"""
_BLOCK_CELLS = 2**24  # cells in a dense block of shoppers by shoppers: 128 MB


def scores(columns: Mapping[str, Floats]) -> dict[str, Floats]:
    """Compute the baselines in `SIMPLE` from columns of ``examples``, each of shape (n_pairs,)."""
    return {
        name: np.sum([weight * columns[column] for column, weight in weights.items()], axis=0)
        for name, weights in SIMPLE.items()
    }


@dataclass(frozen=True)
class Past:
    """The past purchases of all shoppers, one entry per order and product.

    Attributes:
        user: shopper code, 0 to n_users - 1, shape (n_purchases,).
        product: product code, 0 to n_products - 1, shape (n_purchases,).
        order_number: 1 for the shopper's first order, shape (n_purchases,).
        orders: number of past orders of each shopper, at least 1, shape (n_users,).
    """

    user: Ints
    product: Ints
    order_number: Ints
    orders: Ints

    def matrix(self, weight: Floats) -> sparse.csr_array:
        """Sum ``weight``, shape (n_purchases,), into a matrix of shape (n_users, n_products)."""
        shape = (len(self.orders), self.product.max(initial=-1) + 1)
        return sparse.coo_array((weight, (self.user, self.product)), shape).tocsr()


def peers(past: Past, user: Ints, product: Ints) -> dict[str, Floats]:
    """Score pairs with `tifu_knn` and `up_cf`, using their default parameters.

    Args:
        past: purchases of the shoppers to score and of all shoppers to compare them with.
        user: shopper codes in ``past``, ascending, shape (n_pairs,).
        product: product codes in ``past``, shape (n_pairs,).
    """
    return {"tifu_knn": tifu_knn(past, user, product), "up_cf": up_cf(past, user, product)}


def tifu_knn(
    past: Past,
    user: Ints,
    product: Ints,
    *,
    neighbours: int = 300,
    groups: int = 7,
    decay: float = 0.9,
    group_decay: float = 0.7,
    alpha: float = 0.7,
) -> Floats:
    """Score pairs by the temporal item frequency of the shopper and of the nearest shoppers.

    Hu, He, Gao, Zhang 2020, "Modeling personalized item frequency information for next-basket
    recommendation", section 4.

    A shopper's orders are split in sequence into ``groups`` of equal size; if they do not divide
    evenly, the later groups have one order more. A group's vector is the mean over its orders,
    each weighted by ``decay`` to the power of the number of later orders in the group. The
    shopper's vector is the mean over groups, each weighted by ``group_decay`` to the power of the
    number of later groups. The score is ``alpha`` times the shopper's vector plus ``1 - alpha``
    times the mean vector of the ``neighbours`` nearest shoppers by Euclidean distance (of all
    other shoppers, if there are fewer).
    """
    orders = past.orders[past.user]
    used = np.minimum(groups, orders)
    size, longer = np.divmod(orders, used)  # the last `longer` groups have `size + 1` orders
    place = past.order_number - 1
    early = (used - longer) * size  # orders in the early groups
    late = place >= early
    place, size = np.where(late, place - early, place), size + late
    group = place // size + np.where(late, used - longer, 0)
    weight = decay ** (size - 1 - place % size) / size * group_decay ** (used - 1 - group) / used
    vectors = past.matrix(weight)

    length = vectors.power(2).sum(axis=1)
    neighbours = min(neighbours, len(length) - 1)

    def nearest(shoppers: Ints) -> Floats:
        distance = length - 2 * (vectors[shoppers] @ vectors.T).toarray()
        distance[np.arange(len(shoppers)), shoppers] = np.inf  # no shopper is their own neighbour
        share = np.zeros_like(distance)
        order = np.argpartition(distance, max(neighbours - 1, 0), axis=1)
        np.put_along_axis(share, order[:, :neighbours], 1 / max(neighbours, 1), axis=1)
        return share

    pooled = _pool(vectors, nearest, user, product)
    return alpha * vectors[user, product] + (1 - alpha) * pooled


def up_cf(
    past: Past,
    user: Ints,
    product: Ints,
    *,
    recency: int = 10,
    locality: int = 10,
    asymmetry: float = 0.75,
) -> Floats:
    """Score pairs by the recent popularity of the product among similar shoppers.

    Faggioli, Polato, Aiolli 2020, "Recency aware collaborative filtering for next basket
    recommendation", section 4 (UP-CF@r).

    The score of shopper u is the sum over all shoppers v, including u, of
    ``similarity(u, v) ** locality`` times the share of v's last ``recency`` orders that contain
    the product. Similarity is the asymmetric cosine of the two sets of products bought,
    ``common / (count(u) ** asymmetry * count(v) ** (1 - asymmetry))``.
    """
    window = np.minimum(recency, past.orders)[past.user]
    recent = past.order_number > past.orders[past.user] - window
    popularity = past.matrix(recent / window)
    bought = past.matrix(np.ones(len(past.user))).sign()
    count = np.maximum(bought.sum(axis=1), 1)

    def similar(shoppers: Ints) -> Floats:
        common = (bought[shoppers] @ bought.T).toarray()
        scale = count[shoppers, None] ** asymmetry * count ** (1 - asymmetry)
        return (common / scale) ** locality

    return _pool(popularity, similar, user, product)


def _pool(
    matrix: sparse.csr_array, weights: Callable[[Ints], Floats], user: Ints, product: Ints
) -> Floats:
    """Return the weighted sum of the product's column over all shoppers, for each pair.

    ``weights`` takes shopper codes, shape (n,), and returns the weight that each of them gives to
    every shopper, shape (n, n_users). Shoppers are processed in blocks of at most `_BLOCK_CELLS`
    weights, so memory does not grow with the data.
    """
    from ml.modelling.kernels import write_weighted_columns

    columns = matrix.tocsc()
    shoppers, first = np.unique(user, return_index=True)
    first = np.append(first, len(user))
    step = max(1, _BLOCK_CELLS // matrix.shape[0])
    pooled = np.empty(len(user))
    for start in range(0, len(shoppers), step):
        block = shoppers[start : start + step]
        pairs = slice(first[start], first[start + len(block)])
        row = np.searchsorted(block, user[pairs])
        write_weighted_columns(
            *(columns.data, columns.indices, columns.indptr),
            *(weights(block), row, product[pairs], pooled[pairs]),
        )
    return pooled
