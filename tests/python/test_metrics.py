"""Metrics match scikit-learn and hand calculations; intervals match a plain bootstrap."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from sklearn import metrics as sk

from ml.modelling.basket import user_of_pair
from ml.modelling.metrics import (
    ceiling,
    evaluate,
    evaluate_segments,
    paired,
    ranking_influence,
    reliability_bins,
    select,
)

# Three shoppers: the first bought rows 0 and 2 again, the second nothing, the third row 6.
LABEL = np.array([1, 0, 1, 0, 0, 0, 1])
SCORE = np.array([0.9, 0.8, 0.7, 0.1, 0.4, 0.3, 0.2])
OFFSETS = np.array([0, 4, 6, 7])


def sample(shoppers: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return probabilities, labels drawn from them, and offsets; shoppers vary in size and rate."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 40, shoppers)
    habit = np.repeat(rng.beta(1, 3, shoppers), sizes)
    probability = np.clip(habit * rng.uniform(0, 1.5, len(habit)), 0.001, 0.999).round(3)
    label = (rng.random(len(habit)) < probability).astype(int)
    return probability, label, np.concatenate([[0], np.cumsum(sizes)])


def values(**kwargs: object) -> dict[str, float]:
    arguments = {"score": SCORE, "label": LABEL, "offsets": OFFSETS} | kwargs
    return {name: e.value for name, e in evaluate(**arguments).items()}  # type: ignore[arg-type]


def test_pair_metrics_equal_scikit_learn() -> None:
    probability, label, offsets = sample()
    ours = values(score=probability, label=label, offsets=offsets)
    assert len(np.unique(probability)) < len(probability) / 2  # so the test covers ties
    assert ours["auc"] == pytest.approx(sk.roc_auc_score(label, probability), abs=1e-12)
    expected = sk.average_precision_score(label, probability)
    assert ours["average_precision"] == pytest.approx(expected, abs=1e-12)
    assert ours["log_loss"] == pytest.approx(sk.log_loss(label, probability), abs=1e-12)
    assert ours["brier"] == pytest.approx(sk.brier_score_loss(label, probability), abs=1e-12)


@pytest.mark.parametrize("k", [5, 10, 20])
def test_ndcg_equals_scikit_learn(k: int) -> None:
    _, label, offsets = sample()
    score = np.random.default_rng(1).permutation(len(label)).astype(float)  # no ties
    shoppers = [slice(*ends) for ends in pairwise(offsets)]
    theirs = [
        sk.ndcg_score([label[rows]], [score[rows]], k=k) if rows.stop - rows.start > 1 else 1.0
        for rows in shoppers
        if label[rows].any()
    ]
    ours = values(score=score, label=label, offsets=offsets, is_probability=False)
    assert ours[f"ndcg_at_{k}"] == pytest.approx(np.mean(theirs), abs=1e-12)


def test_metrics_match_a_hand_calculation() -> None:
    ours = values(in_basket=np.array([1, 1, 0, 0, 0, 0, 1], dtype=bool))
    # 3 positives and 4 negatives make 12 comparisons: row 0 wins 4, row 2 wins 3, row 6 wins 1.
    assert ours["auc"] == pytest.approx(8 / 12)
    # The three hits rank 1st, 3rd and 6th among all pairs.
    assert ours["average_precision"] == pytest.approx((1 + 2 / 3 + 3 / 6) / 3)
    assert ours["precision_at_5"] == pytest.approx((2 / 5 + 0 + 1 / 5) / 3)
    assert ours["recall_at_5"] == 1.0  # over the two shoppers who bought again
    assert ours["hit_rate_at_5"] == pytest.approx(2 / 3)
    ideal = 1 + 1 / np.log2(3)
    assert ours["ndcg_at_5"] == pytest.approx(((1 + 1 / np.log2(4)) / ideal + 1) / 2)
    # One hit with two chosen and two bought; nothing chosen or bought; a perfect basket.
    assert ours["mean_f1"] == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert ours["mean_basket_size"] == pytest.approx((2 + 0 + 1) / 3)
    assert ours["f1_at_5"] == pytest.approx((2 * 2 / (4 + 2) + 0 + 2 / (1 + 1)) / 3)
    assert ours["mean_observed"] == pytest.approx(3 / 7)
    assert ours["mean_predicted"] == pytest.approx(SCORE.mean())
    assert ours["brier"] == pytest.approx(np.mean((SCORE - LABEL) ** 2))


def test_lists_are_cut_at_k() -> None:
    score = np.linspace(1, 0, 12)
    label = np.array([0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0])
    ours = values(score=score, label=label, offsets=np.array([0, 12]))
    assert [ours[f"precision_at_{k}"] for k in (5, 10, 20)] == [1 / 5, 3 / 10, 4 / 20]
    assert [ours[f"recall_at_{k}"] for k in (5, 10, 20)] == [1 / 4, 3 / 4, 1]
    ideal = np.sum(1 / np.log2([2, 3, 4, 5]))
    assert ours["ndcg_at_5"] == pytest.approx(1 / np.log2(6) / ideal)


def test_scores_that_are_not_probabilities_get_only_ranking_metrics() -> None:
    as_probability = values()
    as_ranking = values(score=10 * SCORE, is_probability=False)
    assert set(as_probability) - set(as_ranking) == {
        "mean_predicted",
        "log_loss",
        "brier",
        "expected_calibration_error",
    }
    assert as_ranking == {name: as_probability[name] for name in as_ranking}


def test_ceiling_is_limited_only_by_the_candidates() -> None:
    best = {name: estimate.value for name, estimate in ceiling(LABEL, OFFSETS).items()}
    assert best["auc"] == best["average_precision"] == best["ndcg_at_5"] == best["mean_f1"] == 1
    assert best["precision_at_5"] == pytest.approx((2 / 5 + 1 / 5) / 3)
    assert best["hit_rate_at_20"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", ["auc", "average_precision", "log_loss", "precision_at_5"])
def test_intervals_match_a_plain_bootstrap(metric: str) -> None:
    probability, label, offsets = sample(shoppers=300, seed=3)
    user, shoppers = user_of_pair(offsets), len(offsets) - 1
    rng = np.random.default_rng(4)
    draws = []
    for _ in range(300):
        times = np.bincount(rng.integers(shoppers, size=shoppers), minlength=shoppers)
        if metric == "precision_at_5":
            order = np.lexsort((-probability, user))
            hits = [label[order][a : min(a + 5, b)].sum() / 5 for a, b in pairwise(offsets)]
            draws.append(np.average(hits, weights=times))
        else:
            function = {
                "auc": sk.roc_auc_score,
                "average_precision": sk.average_precision_score,
                "log_loss": sk.log_loss,
            }[metric]
            draws.append(function(label, probability, sample_weight=times[user]))
    estimate = evaluate(probability, label, offsets)[metric]
    low, high = np.quantile(draws, [0.025, 0.975])
    assert estimate.low < estimate.value < estimate.high
    assert [estimate.low, estimate.high] == pytest.approx([low, high], abs=0.15 * (high - low))


@pytest.mark.parametrize(
    ("metric", "function"),
    [("auc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)],
)
def test_influence_is_the_derivative_with_respect_to_a_pairs_weight(
    metric: str, function: Callable[..., float]
) -> None:
    probability, label, _ = sample(shoppers=8, seed=5)
    value, influence = ranking_influence(probability.round(1), label)[metric]
    for pair in range(len(label)):
        weight = np.ones(len(label))
        weight[pair] += 1e-6
        heavier = function(label, probability.round(1), sample_weight=weight)
        assert influence[pair] == pytest.approx((heavier - value) / 1e-6, abs=1e-6)


def test_permuted_labels_have_no_skill() -> None:
    probability, label, offsets = sample(shoppers=1000)
    shuffled = evaluate(probability, np.random.default_rng(5).permutation(label), offsets)
    assert shuffled["auc"].low < 0.5 < shuffled["auc"].high
    assert shuffled["auc"].high - shuffled["auc"].low < 0.05
    assert evaluate(probability, label, offsets)["auc"].low > 0.7


def test_same_seed_gives_the_same_interval() -> None:
    probability, label, offsets = sample()
    assert evaluate(probability, label, offsets) == evaluate(probability, label, offsets)
    other = evaluate(probability, label, offsets, seed=1)
    assert other["auc"].low != evaluate(probability, label, offsets)["auc"].low


def test_calibration_error_is_small_for_true_probabilities_and_large_for_shifted_ones() -> None:
    probability, label, offsets = sample(shoppers=3000)
    name = "expected_calibration_error"
    assert evaluate(probability, label, offsets)[name].value < 0.01
    shifted = evaluate(np.minimum(probability + 0.1, 1), label, offsets)[name]
    assert shifted.value == pytest.approx(0.1, abs=0.01)
    assert shifted.low < shifted.value < shifted.high


def test_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    probability, label, offsets = sample(shoppers=3000)
    bold = np.where(probability > 0.2, 0.2 + 1.2 * (probability - 0.2), 0.8 * probability)
    bins = reliability_bins(bold, label)
    expected = np.average(np.abs(bins.mean_predicted - bins.mean_observed), weights=bins.n)
    ours = values(score=bold, label=label, offsets=offsets)["expected_calibration_error"]
    assert ours == pytest.approx(expected)
    assert ours > 1.5 * abs(bold.mean() - label.mean())  # gaps of both signs do not cancel


def test_reliability_bins_match_a_hand_calculation() -> None:
    bins = reliability_bins(np.array([0.1, 0.2, 0.3, 0.8]), np.array([0, 1, 0, 1]), bins=2)
    assert bins.bin.tolist() == [0, 0, 1, 1]
    assert bins.n.tolist() == [2, 2]
    assert bins.mean_predicted.tolist() == pytest.approx([0.15, 0.55])
    assert bins.mean_observed.tolist() == [0.5, 0.5]


def test_equal_probabilities_share_a_bin() -> None:
    bins = reliability_bins(np.array([0.1] * 97 + [0.5, 0.6, 0.7]), np.zeros(100, dtype=int))
    assert len(np.unique(bins.bin[:97])) == 1
    assert bins.n.sum() == 100 and bins.n.min() > 0


def test_each_segment_is_evaluated_separately() -> None:
    department = np.array(["a", "b", "a", "b", "b", "b", "a"])
    by_department = evaluate_segments(department, SCORE, LABEL, OFFSETS)
    rows = department == "a"
    assert select(rows, OFFSETS).tolist() == [0, 2, 3]  # the second shopper has no pair in it
    alone = evaluate(SCORE[rows], LABEL[rows], np.array([0, 2, 3]))
    np.testing.assert_equal(by_department["a"], alone)
    assert np.isnan(by_department["b"]["auc"].value)  # nobody bought a product of it again
    assert by_department["b"]["precision_at_5"].value == 0


def test_accepts_float32_scores_and_boolean_labels() -> None:
    sure = np.array([0.5, 1.0, 0.25, 0.0], dtype=np.float32)  # two are certain and wrong
    ours = values(score=sure, label=np.array([0, 0, 1, 1]) == 1, offsets=np.array([0, 4]))
    expected = -(np.log([0.5, 0.25]).sum() + 2 * np.log(np.finfo(float).eps)) / 4
    assert ours["log_loss"] == pytest.approx(expected)
    assert ours["auc"] == 0


def test_rejects_bad_input_and_names_it() -> None:
    with pytest.raises(ValueError, match="7 scores, 6 labels and 7 pairs"):
        evaluate(SCORE, LABEL[:-1], OFFSETS)
    with pytest.raises(ValueError, match=r"score\[2\] is missing"):
        evaluate(np.where(SCORE == 0.7, np.nan, SCORE), LABEL, OFFSETS)


def test_intervals_of_shares_stay_between_0_and_1() -> None:
    few = evaluate(
        np.array([0.9, 0.1] * 11 + [0.2, 0.6]),
        np.array([1, 0] * 12),
        np.arange(13) * 2,
    )
    for name, estimate in few.items():
        assert 0 <= estimate.low <= estimate.high
        assert estimate.high <= 1 or name == "log_loss"
    assert few["auc"].high == 1


def test_paired_differences_are_on_the_same_shoppers() -> None:
    """A score that is a little better everywhere differs surely, though the intervals overlap."""
    probability, label, offsets = sample()
    rng = np.random.default_rng(1)
    worse = np.clip(probability + rng.normal(0, 0.05, len(probability)), 0.001, 0.999)
    basket, other = probability > 0.5, worse > 0.6
    found = paired(probability, worse, label, offsets, in_basket=(basket, other))
    ours, theirs = (
        evaluate(score, label, offsets, in_basket=chosen)
        for score, chosen in ((probability, basket), (worse, other))
    )
    for name in ("auc", "log_loss", "precision_at_5", "mean_f1"):
        assert found[name].value == pytest.approx(ours[name].value - theirs[name].value)
        width = found[name].high - found[name].low
        assert width < (ours[name].high - ours[name].low) / 1.5
    assert found["auc"].low > 0 > found["log_loss"].high
    same = paired(probability, probability, label, offsets)
    assert all(estimate == (0, 0, 0) for estimate in same.values())


def test_paired_differences_of_rankings_have_no_probabilities() -> None:
    found = paired(SCORE, -SCORE, LABEL, OFFSETS, is_probability=False)
    assert "auc" in found and not {"log_loss", "mean_f1"} & found.keys()
    assert np.isnan(found["auc"].low)  # of three shoppers
