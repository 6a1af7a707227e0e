"""The basket with the highest expected F1, checked against brute force and Ye et al. (2012)."""

from itertools import combinations, product

import numpy as np
import pytest

from ml.modelling.basket import (
    Floats,
    expected_f1_basket,
    f1,
    fit_order_effect,
    given_order_effect,
    of_known_size,
    rank_in_user,
    top_k_basket,
    user_of_pair,
)


def plain_f1(chosen: set[int], bought: set[int]) -> float:
    """Return the F1 of two sets; two empty sets score 1."""
    return 2 * len(chosen & bought) / (len(chosen) + len(bought)) if chosen or bought else 1.0


def expected_f1(chosen: set[int], p: Floats) -> float:
    """Return the expected F1 by enumerating every possible order."""
    total = 0.0
    for outcome in product((0, 1), repeat=len(p)):
        chance = np.prod([q if y else 1 - q for q, y in zip(p, outcome, strict=True)])
        total += float(chance) * plain_f1(chosen, {i for i, y in enumerate(outcome) if y})
    return total


def expected_f1_by_size(p: Floats) -> Floats:
    """Return the expected F1 of the first 0 to n products (Ye et al. 2012, algorithm 1).

    Probabilities must be in descending order.
    """
    n = len(p)
    hits = np.zeros((n + 1, n + 1))  # hits[k, i]: P(i of the first k are bought again)
    hits[0, 0] = 1
    for k in range(1, n + 1):
        hits[k] = hits[k - 1] * (1 - p[k - 1])
        hits[k, 1:] += hits[k - 1, :-1] * p[k - 1]
    result = np.empty(n + 1)
    inverse = np.r_[0, 1 / np.arange(1, 2 * n + 2)]  # inverse[a]: E[1 / (a + hits after k)]
    for k in range(n, 0, -1):
        i = np.arange(1, k + 1)
        result[k] = np.sum(2 * i * hits[k, i] * inverse[k + i])
        inverse[:-1] = p[k - 1] * inverse[1:] + (1 - p[k - 1]) * inverse[:-1]
    result[0] = np.prod(1 - p)
    return result


def random_shoppers(seed: int, sizes: list[int]) -> tuple[Floats, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.beta(0.5, rng.uniform(0.5, 4), sum(sizes)), np.r_[0, np.cumsum(sizes)]


def test_no_subset_is_better_than_the_basket() -> None:
    probability, offsets = random_shoppers(seed=1, sizes=[1, 2, 3, 4, 5, 6, 6, 7, 7, 7])
    in_basket, expected = expected_f1_basket(probability, offsets)
    for u in range(len(offsets) - 1):
        p = probability[offsets[u] : offsets[u + 1]]
        chosen = set(np.flatnonzero(in_basket[offsets[u] : offsets[u + 1]]).tolist())
        every = [set(s) for k in range(len(p) + 1) for s in combinations(range(len(p)), k)]
        assert expected[u] == pytest.approx(max(expected_f1(s, p) for s in every), abs=1e-12)
        assert expected[u] == pytest.approx(expected_f1(chosen, p), abs=1e-12)


def test_equals_the_dynamic_programme_on_long_histories() -> None:
    probability, offsets = random_shoppers(seed=2, sizes=[15, 63, 64, 200, 750, 1, 40])
    in_basket, expected = expected_f1_basket(probability, offsets)
    for u in range(len(offsets) - 1):
        p = np.sort(probability[offsets[u] : offsets[u + 1]])[::-1]
        by_size = expected_f1_by_size(p)
        assert expected[u] == pytest.approx(by_size.max(), abs=1e-10)
        assert in_basket[offsets[u] : offsets[u + 1]].sum() == by_size.argmax()


@pytest.mark.parametrize(
    ("probability", "basket", "expected"),
    [
        ([0.0], [False], 1.0),
        ([1.0], [True], 1.0),
        ([0.4], [False], 0.6),
        ([0.6], [True], 0.6),
        ([0.5], [False], 0.5),  # a tie goes to the smaller basket
        ([], [], 1.0),
        ([0.0, 1.0, 0.0], [False, True, False], 1.0),
        ([1.0] * 900, [True] * 900, 1.0),
        ([1.0, 0.5], [True, False], 5 / 6),  # a tie: 1/2 * 1 + 1/2 * 2/3 for both
        ([1e-300, 1e-300], [False, False], 1.0),
        ([0.3, 0.3, 0.3], [True, True, True], 0.3 * 3 * (0.49 / 2 + 0.42 * 2 / 5 + 0.09 / 3)),
    ],
)
def test_edge_cases(probability: list[float], basket: list[bool], expected: float) -> None:
    in_basket, f1s = expected_f1_basket(np.array(probability), np.array([0, len(probability)]))
    assert in_basket.tolist() == basket
    assert f1s.tolist() == pytest.approx([expected], abs=1e-10)


def test_no_subset_is_better_with_an_order_effect() -> None:
    probability, offsets = random_shoppers(seed=4, sizes=[1, 2, 4, 5, 6, 6])
    in_basket, expected = expected_f1_basket(probability, offsets, order_effect=1.2)
    given, chance = given_order_effect(probability, 1.2)
    for u in range(len(offsets) - 1):
        rows = slice(offsets[u], offsets[u + 1])
        chosen = set(np.flatnonzero(in_basket[rows]).tolist())

        def mean_f1(basket: set[int], rows: slice = rows) -> float:
            kinds = [expected_f1(basket, p) for p in given[:, rows]]
            return float(chance @ kinds)

        products = range(offsets[u + 1] - offsets[u])
        every = [set(s) for k in range(len(products) + 1) for s in combinations(products, k)]
        assert expected[u] == pytest.approx(max(mean_f1(s) for s in every), abs=1e-12)
        assert expected[u] == pytest.approx(mean_f1(chosen), abs=1e-12)


@pytest.mark.parametrize("order_effect", [0.0, 0.3, 1.0, 2.5])
def test_an_order_effect_preserves_each_probability(order_effect: float) -> None:
    probability = np.concatenate([np.geomspace(1e-9, 0.5, 50), 1 - np.geomspace(1e-9, 0.5, 50)])
    given, chance = given_order_effect(probability, order_effect)
    assert chance.sum() == pytest.approx(1)
    np.testing.assert_allclose(chance @ given, probability, rtol=1e-4)
    # Every product is more likely in a larger order.
    assert len(given) == 1 or np.all(np.diff(given, axis=0) > 0)


def test_fit_order_effect_recovers_the_true_effect() -> None:
    rng = np.random.default_rng(5)
    offsets = np.arange(0, 60_001, 30)
    probability = rng.beta(0.6, 6, 60_000)
    order = user_of_pair(offsets)
    given, chance = given_order_effect(probability, 1.5)
    kind = rng.choice(len(chance), len(offsets) - 1, p=chance)[order]
    shifted = given[kind, np.arange(60_000)]
    with_effect, without = (
        (rng.random(60_000) < chances).astype(int) for chances in (shifted, probability)
    )
    assert fit_order_effect(probability, with_effect, offsets) == pytest.approx(1.5, abs=0.1)
    assert fit_order_effect(probability, without, offsets) < 0.2


def test_f1_of_each_shopper() -> None:
    in_basket = np.array([True, True, False, False, True])
    label = np.array([1, 0, 1, 0, 0])
    assert f1(in_basket, label, np.array([0, 3, 4, 5])).tolist() == [0.5, 1.0, 0.0]


def test_a_basket_does_not_depend_on_other_shoppers() -> None:
    probability, offsets = random_shoppers(seed=3, sizes=[30, 31, 0, 500, 29, 30] * 20)
    in_basket, expected = expected_f1_basket(probability, offsets)
    for u in range(len(offsets) - 1):
        rows = slice(offsets[u], offsets[u + 1])
        p = probability[rows]
        alone, f1_alone = expected_f1_basket(p, np.array([0, len(p)]))
        assert in_basket[rows].tolist() == alone.tolist()
        assert expected[u] == f1_alone[0]


def test_each_shoppers_ranks_start_at_one_and_ties_go_to_the_earlier_row() -> None:
    score, offsets = np.array([0.1, 0.9, 0.1, 0.5, 0.5, 0.7]), np.array([0, 3, 3, 6])
    assert rank_in_user(score, offsets).tolist() == [2, 1, 3, 2, 3, 1]
    assert top_k_basket(score, offsets, 2).tolist() == [True, True, False, True, False, True]
    assert top_k_basket(score, offsets, 9).all()


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1])
def test_rejects_a_bad_probability_and_names_its_row(bad: float) -> None:
    with pytest.raises(ValueError, match=r"probability\[1\] is"):
        expected_f1_basket(np.array([0.5, bad]), np.array([0, 2]))


@pytest.mark.parametrize("offsets", [[0, 1], [1, 2], [0, 3]])
def test_rejects_offsets_that_do_not_match_the_pairs(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="there are 2 pairs"):
        rank_in_user(np.array([0.5, 0.1]), np.array(offsets))


def test_probabilities_of_a_known_size_add_up_to_it() -> None:
    """The shift is one for the whole order, so ranks and odds ratios stay."""
    p = np.array([0.1, 0.5, 0.9, 0.2, 0.3, 0.4, 0.6])
    label = np.array([1, 0, 1, 0, 0, 1, 1])
    offsets = np.array([0, 3, 5, 7])  # two of three, none of two, both of two
    found = of_known_size(p, label, offsets)
    assert np.add.reduceat(found, offsets[:-1]) == pytest.approx([2, 0, 2], abs=1e-9)
    odds, before = (each[:3] / (1 - each[:3]) for each in (found, p))
    assert odds / odds[0] == pytest.approx(before / before[0])
    assert ((found > 0) & (found <= 1)).all()
