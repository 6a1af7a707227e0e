"""What a model must beat: scores made of nothing but past orders.

Scores rank the products of a shopper; they are not probabilities. The simple three are columns
of ``examples``. The peers, TIFU-KNN and UP-CF, are re-implemented from their papers. Their
default parameters are those published for Ta-Feng, a grocer: by the authors' own code for
TIFU-KNN, and for UP-CF by that of Li, Jullien, Ariannezhad, de Rijke 2023, "A next basket
recommendation reality check". Of the published settings,
Ta-Feng's was chosen because it did best on our data; none was fitted to them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ml.modelling.basket import Floats, Ints

_BLOCK_CELLS = 2**24  # of a dense block of shoppers by shoppers: 128 MB


def scores(columns: Mapping[str, Floats]) -> dict[str, Floats]:
    """Score candidates by columns of ``examples``, each of shape (n_pairs,).

    - ``personal_frequency``: share of the shopper's past orders that have the product.
    - ``recency_decay``: share of past orders that have it, each halved for every 5 orders ago.
    - ``last_basket``: whether the last order had it; ties broken by personal frequency.
    """
    return {
        "personal_frequency": columns["pair_order_share"],
        "recency_decay": columns["pair_decay_5_orders_share"],
        "last_basket": columns["pair_last_1_count"] + columns["pair_order_share"] / 2,
    }


@dataclass(frozen=True)
class Past:
    """Every shopper's past purchases, one entry per order and product.

    Attributes:
        user: code of the shopper, 0 to n_users - 1, shape (n_purchases,).
        product: code of the product, 0 to n_products - 1, shape (n_purchases,).
        order_number: 1 for the shopper's first order, shape (n_purchases,).
        orders: past orders of each shopper, at least 1, shape (n_users,).
    """

    user: Ints
    product: Ints
    order_number: Ints
    orders: Ints

    def matrix(self, weight: Floats) -> sparse.csr_array:
        """Sum weights, shape (n_purchases,), by shopper and product."""
        shape = (len(self.orders), self.product.max(initial=-1) + 1)
        return sparse.coo_array((weight, (self.user, self.product)), shape).tocsr()


def peers(past: Past, user: Ints, product: Ints) -> dict[str, Floats]:
    """Score candidates by `tifu_knn` and `up_cf` with their default parameters.

    Args:
        past: of the candidates' shoppers and of all whom they may be like.
        user: codes in ``past``, ascending, shape (n_pairs,).
        product: codes in ``past``, shape (n_pairs,).
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
    """Score by temporal item frequency, the shopper's own and that of the nearest shoppers.

    Hu, He, Gao, Zhang 2020, "Modeling personalized item frequency information for next-basket
    recommendation", section 4. A shopper's orders are cut into ``groups`` of equal size, the
    later ones larger by one where that does not divide. The shopper's vector is the mean over
    groups, weighted by ``group_decay`` to the power of the groups that follow, of the mean over
    a group's orders, weighted by ``decay`` to the power of the orders that follow in the group.
    The score is ``alpha`` times that vector plus ``1 - alpha`` times the mean vector of the
    nearest ``neighbours`` in Euclidean distance (of all others, where there are fewer).
    """
    orders = past.orders[past.user]
    used = np.minimum(groups, orders)
    size, longer = np.divmod(orders, used)  # of the early groups; of the last `longer`, one more
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
        distance[np.arange(len(shoppers)), shoppers] = np.inf  # nobody is their own neighbour
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
    """Score by how popular the product was of late with similar shoppers.

    Faggioli, Polato, Aiolli 2020, "Recency aware collaborative filtering for next basket
    recommendation", section 4 (UP-CF@r). The score is the sum over all shoppers v, the shopper
    u among them, of ``similarity(u, v) ** locality`` times the share of v's last ``recency``
    orders that have the product. Similarity is the asymmetric cosine of the sets of products
    bought, ``common / (count(u) ** asymmetry * count(v) ** (1 - asymmetry))``.
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
    """Return for each pair the weighted sum of the product's column over all shoppers.

    ``weights`` takes the codes of some shoppers and returns their weights of all shoppers. It
    is asked for as many at once as fit into a block, so memory does not grow with the data.
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
