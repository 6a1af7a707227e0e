"""The list of likely buyers: its cut, its ranking and what is expected of it."""

from typing import Any

import duckdb
import numpy as np
import pytest

from ml.errors import SettingsError
from ml.modelling.folds import part_in_fold, place
from ml.modelling.purchase_list import ListRule, is_held_out

P = np.array([0.1, 0.6, 0.3, 0.6, 0.4])  # adds up to 2


def day(n: int = 5000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).beta(0.5, 3, n)


def test_a_list_by_recall_matches_a_hand_calculation() -> None:
    found = ListRule(recall=0.8).choose(P)
    # 0.6 + 0.6 + 0.4 is 1.6 of 2. The first of the two shoppers with 0.6 ranks first.
    assert found.rank.tolist() == [5, 1, 4, 2, 3]
    assert found.is_targeted.tolist() == [False, True, False, True, True]
    assert found.decile.tolist() == [9, 1, 7, 3, 5]
    assert found.expected_recall == pytest.approx(0.8)
    assert found.expected_precision == pytest.approx(1.6 / 3)
    assert found.expected_gain_per_1000 is None


@pytest.mark.parametrize("recall", [0.01, 0.5, 0.8, 0.95, 0.999, 1.0])
def test_a_list_by_recall_is_the_shortest_that_holds_it(recall: float) -> None:
    p = day()
    found = ListRule(recall=recall).choose(p)
    assert found.expected_recall == pytest.approx(p[found.is_targeted].sum() / p.sum())
    assert found.expected_recall >= recall * (1 - 1e-9)
    without_last = found.is_targeted & (found.rank < found.is_targeted.sum())
    assert p[without_last].sum() < recall * p.sum()
    if found.is_targeted.sum() < len(p):
        assert p[found.is_targeted].min() >= p[~found.is_targeted].max()


def test_rounding_adds_nobody_to_a_list_by_recall() -> None:
    for n in (20, 100, 1000, 20_000):
        for p in (0.1, 0.15, 0.3):
            assert ListRule(recall=0.95).choose(np.full(n, p)).is_targeted.sum() == n * 95 // 100
            assert ListRule(recall=1).choose(np.full(n, p)).is_targeted.all()


def test_recall_and_precision_come_out_as_expected_if_probabilities_are_calibrated() -> None:
    p = day(100_000)
    bought = np.random.default_rng(1).random(len(p)) < p
    found = ListRule(recall=0.95).choose(p)
    assert bought[found.is_targeted].sum() / bought.sum() == pytest.approx(0.95, abs=0.005)
    observed = bought[found.is_targeted].mean()
    assert observed == pytest.approx(found.expected_precision, abs=0.005)


def test_a_list_by_size_holds_the_likeliest() -> None:
    found = ListRule(size=2).choose(P)
    assert found.is_targeted.tolist() == [False, True, False, True, False]
    assert found.expected_recall == pytest.approx(1.2 / 2)
    assert found.expected_precision == pytest.approx(0.6)
    assert ListRule(size=99).choose(P).is_targeted.all()
    nobody = ListRule(size=0).choose(P)
    assert not nobody.is_targeted.any()
    assert nobody.expected_recall == 0
    assert np.isnan(nobody.expected_precision)


def test_a_list_by_cost_holds_the_shoppers_worth_their_cost() -> None:
    found = ListRule(cost=0.3, gain=1).choose(P)
    assert found.is_targeted.tolist() == [False, True, False, True, True]  # 0.3 gains nothing
    # Three contacts cost 0.9 and are expected to gain 1.6, with five shoppers that day.
    assert found.expected_gain_per_1000 == pytest.approx(1000 * (1.6 - 0.9) / 5)
    assert ListRule(cost=0, gain=2).choose(P).is_targeted.all()
    nobody = ListRule(cost=5, gain=2).choose(P)
    assert not nobody.is_targeted.any()
    assert nobody.expected_gain_per_1000 == 0


def test_no_other_size_is_expected_to_gain_more_than_the_list_by_cost() -> None:
    p, cost, gain = day(), 0.2, 1.5
    found = ListRule(cost=cost, gain=gain).choose(p)
    best = np.max(np.cumsum(gain * np.sort(p)[::-1] - cost)) * 1000 / len(p)
    assert found.expected_gain_per_1000 == pytest.approx(best)


def test_deciles_are_of_equal_size_and_ordered() -> None:
    p = day(5003)
    found = ListRule(size=1).choose(p)
    count = np.bincount(found.decile)[1:]
    assert len(count) == 10
    assert set(count) == {500, 501}
    assert np.all(np.diff(found.decile[np.argsort(found.rank)]) >= 0)
    assert sorted(found.rank) == list(range(1, 5004))


def test_a_day_without_shoppers_has_an_empty_list() -> None:
    for rule in (ListRule(recall=0.95), ListRule(size=3), ListRule(cost=1, gain=2)):
        found = rule.choose(np.empty(0))
        assert len(found.is_targeted) == len(found.rank) == len(found.decile) == 0
        assert np.isnan(found.expected_recall)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "a list needs one rule"),
        ({"recall": 0.9, "size": 3}, "a list needs one rule"),
        ({"size": 3, "cost": 1}, "a list needs one rule"),
        ({"cost": 1}, "gain is missing"),
        ({"gain": 1}, "cost is missing"),
        ({"recall": 0}, "recall is 0"),
        ({"recall": 95}, "recall is 95"),
        ({"recall": float("nan")}, "recall is nan"),
        ({"size": -1}, "size is -1"),
        ({"cost": -1, "gain": 1}, "cost is -1"),
        ({"cost": 1, "gain": 0}, "gain is 0"),
        ({"cost": 1, "gain": float("inf")}, "gain is inf"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ListRule(**arguments)


def test_a_missing_probability_is_refused() -> None:
    with pytest.raises(ValueError, match=r"probability\[1\] is nan"):
        ListRule(recall=0.95).choose(np.array([0.5, np.nan]))


def test_a_tenth_is_held_out_in_every_split() -> None:
    ids = np.arange(20_000)
    held_out = is_held_out(ids)
    assert held_out.mean() == pytest.approx(0.1, abs=0.006)
    assert np.array_equal(held_out[::7], is_held_out(ids[::7]))
    part = part_in_fold(place(ids), 0, 5)
    for name in ("train", "validation", "test"):
        assert held_out[part == name].mean() == pytest.approx(0.1, abs=0.02)
    assert is_held_out(np.array(["anna", "béla", "anna"])).tolist()[::2] in (
        [True] * 2,
        [False] * 2,
    )


def test_sql_holds_out_the_same_shoppers() -> None:
    rows = duckdb.execute(
        "select user_id, substr(md5(cast(user_id as varchar)), 13, 4) <= '1999' as is_held_out "
        "from range(5000) as shoppers (user_id)"
    ).fetchnumpy()
    assert np.array_equal(rows["is_held_out"], is_held_out(rows["user_id"]))
