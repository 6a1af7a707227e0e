"""Baselines, checked against hand calculations and plain loops over the papers' formulas."""

from functools import partial

import numpy as np
import pytest

from ml.modelling import baselines
from ml.modelling.baselines import Past, peers, scores, tifu_knn, up_cf
from ml.modelling.basket import Floats, Ints

# Shopper 0: {0, 1}, {0}, {0, 2}. Shopper 1: {0, 1}. Shopper 2: {2}, {3}.
ORDERS = [[{0, 1}, {0}, {0, 2}], [{0, 1}], [{2}, {3}]]


def past_of(shoppers: list[list[set[int]]]) -> Past:
    lines = [
        (user, product, number)
        for user, orders in enumerate(shoppers)
        for number, order in enumerate(orders, start=1)
        for product in sorted(order)
    ]
    user, product, order_number = np.array(lines).T
    return Past(user, product, order_number, np.array([len(orders) for orders in shoppers]))


def candidates_of(past: Past) -> tuple[Ints, Ints]:
    return tuple(np.unique(np.stack([past.user, past.product]), axis=1))


def random_shoppers(seed: int, count: int = 40, products: int = 30) -> list[list[set[int]]]:
    """Return shoppers with 1 to 11 orders of 1 to 6 products, some products more often."""
    rng = np.random.default_rng(seed)
    return [
        [
            {int(p) for p in rng.beta(0.5, 2, rng.integers(1, 7)) * products}
            for _ in range(rng.integers(1, 12))
        ]
        for _ in range(count)
    ]


def plain_tifu_knn(shoppers: list[list[set[int]]], products: int, neighbours: int) -> Floats:
    """Score by Hu et al. 2020 with seven groups, one shopper and one order at a time."""
    vectors = np.zeros((len(shoppers), products))
    for u, orders in enumerate(shoppers):
        groups = min(7, len(orders))
        short, longer = divmod(len(orders), groups)
        start = 0
        for g in range(groups):
            size = short + (g >= groups - longer)
            for place in range(size):
                for product in orders[start + place]:
                    within = 0.9 ** (size - 1 - place) / size
                    vectors[u, product] += within * 0.7 ** (groups - 1 - g) / groups
            start += size
    result = np.empty_like(vectors)
    for u in range(len(shoppers)):
        distance = np.linalg.norm(vectors - vectors[u], axis=1)
        distance[u] = np.inf
        nearest = np.argsort(distance)[:neighbours]
        result[u] = 0.7 * vectors[u] + 0.3 * vectors[nearest].mean(axis=0)
    return result


def plain_up_cf(shoppers: list[list[set[int]]], products: int) -> Floats:
    """Score by Faggioli et al. 2020 with a window of 3, locality 5 and asymmetry 0.25."""
    result = np.zeros((len(shoppers), products))
    for u, mine in enumerate(shoppers):
        for theirs in shoppers:
            a, b = set.union(*mine), set.union(*theirs)
            similarity = len(a & b) / (len(a) ** 0.25 * len(b) ** 0.75)
            for product in range(products):
                share = np.mean([product in order for order in theirs[-3:]])
                result[u, product] += similarity**5 * share
    return result


def test_tifu_knn_matches_a_hand_calculation() -> None:
    # Shopper 0 has two groups: the first order and the last two. Product 0 scores 1 in the first
    # group, times the group decay, and (0.5 * 1 + 1 * 1) / 2 in the last. The vector is the mean.
    past = past_of(ORDERS)
    user, product = np.array([0, 0, 0]), np.array([0, 1, 2])
    own = [(0.75 + 0.1 * 1) / 2, 0.1 / 2, (1 / 2) / 2]
    tifu = partial(tifu_knn, past, user, product, groups=2, decay=0.5, group_decay=0.1)
    assert tifu(alpha=1) == pytest.approx(own)
    # The squared distance of shopper 0 to shopper 1, (1, 1, 0, 0), is 0.331 + 0.903 + 0.063. To
    # shopper 2, (0, 0, 0.05, 0.5), it is 0.181 + 0.003 + 0.04 + 0.25, so shopper 2 is nearest.
    near = tifu(alpha=0.6, neighbours=1)
    assert near == pytest.approx(0.6 * np.array(own) + 0.4 * np.array([0, 0, 0.05]))


def test_up_cf_matches_a_hand_calculation() -> None:
    # Shopper 0's last two orders have product 0 twice and product 2 once. Of shopper 0's three
    # products, shopper 1 shares two and has two, shopper 2 shares one and has two. The similarity
    # is the symmetric cosine, squared.
    past = past_of(ORDERS)
    score = up_cf(past, np.zeros(4, int), np.arange(4), recency=2, locality=2, asymmetry=0.5)
    first, second = 4 / 6, 1 / 6
    assert score == pytest.approx([1 + first, first, 0.5 + second * 0.5, second * 0.5])
    # With asymmetry 1, only the shopper's own count divides.
    score = up_cf(past, np.zeros(1, int), np.ones(1, int), recency=2, locality=1, asymmetry=1)
    assert score == pytest.approx([2 / 3])


@pytest.mark.parametrize("cells", [2**24, 100])  # one block for all, then two shoppers a block
@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_plain_loops(seed: int, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_BLOCK_CELLS", cells)
    shoppers = random_shoppers(seed)
    past = past_of(shoppers)
    user, product = candidates_of(past)
    tested = user % 3 > 0  # score some shoppers with the past of all
    user, product = user[tested], product[tested]
    expected = plain_tifu_knn(shoppers, 30, neighbours=10)[user, product]
    assert tifu_knn(past, user, product, neighbours=10) == pytest.approx(expected)
    expected = plain_up_cf(shoppers, 30)[user, product]
    ours = up_cf(past, user, product, recency=3, locality=5, asymmetry=0.25)
    assert ours == pytest.approx(expected)


def test_tifu_knn_accepts_fewer_shoppers_than_neighbours() -> None:
    past = past_of(ORDERS)
    everyone = tifu_knn(past, *candidates_of(past), neighbours=2)
    assert tifu_knn(past, *candidates_of(past)).tolist() == everyone.tolist()


def test_a_single_shopper_is_scored_by_their_own_orders() -> None:
    past = past_of(ORDERS[:1])
    result = peers(past, *candidates_of(past))
    assert result["tifu_knn"].argsort().tolist() == [1, 2, 0]
    assert result["up_cf"] == pytest.approx([1, 1 / 3, 1 / 3])


def test_simple_scores_read_the_columns_of_examples() -> None:
    columns = {
        "pair_order_share": np.array([0.9, 1.0, 0.25]),
        "pair_decay_5_orders_share": np.array([1.9, 2.5, 0.7]),
        "pair_last_1_count": np.array([0.0, 1.0, 1.0]),
    }
    result = scores(columns)
    assert result["personal_frequency"].tolist() == [0.9, 1.0, 0.25]
    assert result["recency_decay"].tolist() == [1.9, 2.5, 0.7]
    # The last order's two products come first, the more frequent one before the other.
    assert result["last_basket"].argsort().tolist() == [0, 2, 1]
