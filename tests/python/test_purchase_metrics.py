"""Metrics of purchase propensities match hand calculations, scikit-learn and a plain bootstrap."""

import numpy as np
import pytest
from sklearn import metrics as sk

from ml.modelling import purchase_metrics
from ml.modelling.basket import user_of_pair
from ml.modelling.metrics import Estimate
from ml.modelling.purchase_metrics import _auc_within_day, evaluate, evaluate_segments, paired

# Two days; shoppers 0 to 3 on both.
SCORE = np.array([0.9, 0.2, 0.6, 0.3, 0.4, 0.3, 0.1, 0.2])
LABEL = np.array([1, 0, 0, 0, 1, 1, 0, 0])
DAY = np.array([0, 1, 0, 1, 0, 1, 0, 1])
OFFSETS = np.array([0, 2, 4, 6, 8])


def sample(
    shoppers: int = 300, days: int = 14, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return probabilities, labels drawn from them, days and offsets; shoppers join over time."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, days, shoppers)
    day = np.concatenate([np.arange(start, days) for start in first])
    offsets = np.concatenate([[0], np.cumsum(days - first)])
    habit = np.repeat(rng.beta(1, 4, shoppers), days - first)
    busy = rng.uniform(0.5, 1.5, days)[day]
    probability = np.clip(habit * busy * rng.uniform(0, 2, len(day)), 0.001, 0.999).round(3)
    return probability, (rng.random(len(day)) < probability).astype(int), day, offsets


def plain(score: np.ndarray, label: np.ndarray, day: np.ndarray) -> dict[str, float]:
    """Compute the metrics of lists, one day and one row at a time; ties at the cut are shared."""
    hits, sizes, buyers, recalls, captured = 0.0, 0.0, 0.0, [], 0.0
    wins, pairs = 0.0, 0
    for code in np.unique(day):
        p, y = score[day == code], label[day == code]
        higher = (p[y == 1][:, None] - p[y == 0]).ravel()
        wins += np.sum(higher > 0) + np.sum(higher == 0) / 2
        pairs += len(higher)
        found = {}
        for weight, share in ((np.ones(len(p)), 0.1), (p, 0.95)):
            left, hit, size = share * weight.sum(), 0.0, 0.0
            for value in np.unique(p)[::-1]:
                tied = p == value
                part = np.clip(left / weight[tied].sum(), 0, 1)
                left -= weight[tied].sum()
                hit, size = hit + part * y[tied].sum(), size + part * tied.sum()
            found[share] = (hit, size)
        captured += found[0.1][0]
        hits, sizes, buyers = hits + found[0.95][0], sizes + found[0.95][1], buyers + y.sum()
        if y.sum():
            recalls.append(found[0.95][0] / y.sum())
    precision, recall, _ = sk.precision_recall_curve(label, score)
    return {
        "auc_within_day": wins / pairs,
        "capture_top_tenth": captured / buyers,
        "lift_top_tenth": captured / buyers / 0.1,
        "list_recall": hits / buyers,
        "list_precision": hits / sizes,
        "list_size_share": sizes / len(score),
        "list_worst_day_recall": min(recalls),
        "best_f1": np.nanmax(2 * precision * recall / (precision + recall)),
    }


def values(results: dict[str, Estimate]) -> dict[str, float]:
    return {name: estimate.value for name, estimate in results.items()}


def test_metrics_match_a_hand_calculation() -> None:
    ours = values(evaluate(SCORE, LABEL, DAY, OFFSETS))
    # Day 0: 0.9 beats 0.6 and 0.1, 0.4 only 0.1. Day 1: 0.3 ties with 0.3 and beats 0.2 twice.
    assert ours["auc_within_day"] == pytest.approx((3 + 2.5) / (4 + 3))
    # A tenth of four shoppers is 0.4 of a shopper: a part of the buyer with 0.9 on day 0, and of
    # two shoppers who tie on day 1, one a buyer.
    assert ours["capture_top_tenth"] == pytest.approx((0.4 + 0.2) / 3)
    assert ours["lift_top_tenth"] == pytest.approx((0.4 + 0.2) / 3 / 0.1)
    # The list of day 0 has to hold 1.9 of 2.0, all but the shopper with 0.1. The list of day 1 has
    # to hold 0.95 of 1.0: both shoppers with 0.3 and 0.35 / 0.4 of those with 0.2.
    size = 3 + 2 + 2 * 0.35 / 0.4
    assert ours["list_recall"] == pytest.approx(1)
    assert ours["list_precision"] == pytest.approx(3 / size)
    assert ours["list_size_share"] == pytest.approx(size / 8)
    assert ours["best_f1"] == pytest.approx(2 * 3 / (5 + 3))  # everyone from 0.3 upwards
    assert ours["mean_observed"] == pytest.approx(3 / 8)


def test_metrics_equal_plain_loops_and_scikit_learn() -> None:
    probability, label, day, offsets = sample()
    ours = values(evaluate(probability, label, day, offsets, replicates=2))
    theirs = plain(probability, label, day) | {
        "auc": sk.roc_auc_score(label, probability),
        "average_precision": sk.average_precision_score(label, probability),
        "log_loss": sk.log_loss(label, probability),
    }
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-12), name


def test_one_day_has_the_same_auc_within_and_over_all_rows() -> None:
    probability, label, _, _ = sample(seed=1)
    found = evaluate(probability, label, np.zeros(len(label), int), np.arange(len(label) + 1))
    assert found["auc_within_day"] == pytest.approx(found["auc"])


def test_knowing_which_days_are_busy_does_not_help_within_a_day() -> None:
    _, label, day, offsets = sample(seed=2)
    busy = np.bincount(day, label) / np.bincount(day)
    found = values(evaluate(busy[day], label, day, offsets))
    assert found["auc"] > 0.52
    assert found["auc_within_day"] == pytest.approx(0.5)
    assert found["lift_top_tenth"] == pytest.approx(1)


def test_influence_within_a_day_is_the_derivative_with_respect_to_a_rows_weight() -> None:
    probability, label, day, _ = sample(shoppers=12, days=4, seed=5)
    probability = probability.round(1)  # ties

    def weighted(weight: np.ndarray) -> float:
        wins = pairs = 0.0
        for code in np.unique(day):
            yes, no = ((day == code) & (label == value) for value in (1, 0))
            both = weight[yes][:, None] * weight[no]
            higher = np.sign(probability[yes][:, None] - probability[no])
            wins, pairs = wins + (both * (1 + higher) / 2).sum(), pairs + both.sum()
        return wins / pairs

    value, influence = _auc_within_day(probability, label, day)
    assert value == pytest.approx(weighted(np.ones(len(label))))
    for row in np.flatnonzero(np.isin(day, day[label == 1])):
        weight = np.ones(len(label))
        weight[row] += 1e-6
        assert (weighted(weight) - value) / 1e-6 == pytest.approx(influence[row], abs=1e-5)


def test_a_random_score_has_no_lift_and_a_constant_exactly_none() -> None:
    _, label, day, offsets = sample(shoppers=2000)
    random = np.random.default_rng(1).random(len(label))
    found = evaluate(random, label, day, offsets, is_probability=False)
    assert found["lift_top_tenth"].low < 1 < found["lift_top_tenth"].high
    assert found["auc_within_day"].low < 0.5 < found["auc_within_day"].high
    constant = values(evaluate(np.full(len(label), label.mean()), label, day, offsets))
    assert constant["lift_top_tenth"] == pytest.approx(1)
    assert constant["auc"] == constant["auc_within_day"] == 0.5
    assert constant["list_recall"] == pytest.approx(0.95)
    assert constant["list_size_share"] == pytest.approx(0.95)
    assert constant["list_precision"] == pytest.approx(label.mean())


def test_the_list_of_the_truth_has_the_recall_it_promises() -> None:
    recalls = [
        evaluate(*sample(shoppers=500, seed=seed), replicates=200)["list_recall"]
        for seed in range(40)
    ]
    observed = np.array([recall.value for recall in recalls])
    assert observed.mean() == pytest.approx(0.95, abs=3 * observed.std() / np.sqrt(40))
    covered = np.mean([recall.low < 0.95 < recall.high for recall in recalls])
    assert covered >= 0.85  # of 95% intervals; 34 or more of 40 in 99.5% of all cases


def test_probabilities_that_are_too_high_keep_their_ranks_and_lose_their_calibration() -> None:
    probability, label, day, offsets = sample(shoppers=2000, seed=3)
    truth = evaluate(probability, label, day, offsets)
    too_high = evaluate(np.sqrt(probability), label, day, offsets)
    assert truth["expected_calibration_error"].value < 0.01
    assert too_high["expected_calibration_error"].value > 0.1
    assert too_high["log_loss"].low > truth["log_loss"].high
    for name in ("auc", "auc_within_day", "average_precision", "capture_top_tenth", "best_f1"):
        assert too_high[name] == pytest.approx(truth[name]), name


def test_intervals_match_a_bootstrap_that_cuts_every_list_anew() -> None:
    probability, label, day, offsets = sample(shoppers=400, days=8, seed=4)
    probability = probability.round(2).clip(0.01)  # fewer values, so that the plain loops are quick
    user, shoppers = user_of_pair(offsets), len(offsets) - 1
    rng, draws = np.random.default_rng(6), []
    for _ in range(100):
        times = np.bincount(rng.integers(shoppers, size=shoppers), minlength=shoppers)[user]
        rows = np.repeat(np.arange(len(user)), times)
        draws.append(plain(probability[rows], label[rows], day[rows]))
    ours = evaluate(probability, label, day, offsets, replicates=2000)
    for name in draws[0]:
        spread = np.std([draw[name] for draw in draws])
        width = (ours[name].high - ours[name].low) / (2 * 1.96)
        # 100 draws know the spread to 7%. The lowest of eight days is only roughly linear.
        assert width == pytest.approx(spread, rel=0.35 if "worst" in name else 0.2), name


def test_intervals_shrink_with_the_square_root_of_the_shoppers() -> None:
    few, many = (evaluate(*sample(shoppers=n, seed=7)) for n in (400, 6400))
    for name in few:
        if name in ("expected_calibration_error", "list_worst_day_recall"):
            continue  # not smooth
        ratio = (few[name].high - few[name].low) / (many[name].high - many[name].low)
        assert 2.8 < ratio < 5.7, name  # sqrt(16) = 4


def test_a_score_does_not_differ_from_itself() -> None:
    probability, label, day, offsets = sample()
    found = paired(probability, probability, label, day, offsets)
    assert set(found) == set(evaluate(probability, label, day, offsets))
    assert set(found.values()) == {Estimate(0.0, 0.0, 0.0)}


def test_the_difference_of_two_scores_has_a_narrower_interval_than_either() -> None:
    probability, label, day, offsets = sample(shoppers=1000, seed=8)
    worse = np.clip(probability * np.random.default_rng(9).uniform(0.7, 1.3, len(day)), 0, 0.999)
    ours, theirs = (evaluate(score, label, day, offsets) for score in (probability, worse))
    difference = paired(probability, worse, label, day, offsets)
    for name in ("auc", "auc_within_day", "average_precision", "capture_top_tenth", "log_loss"):
        assert difference[name].value == pytest.approx(ours[name].value - theirs[name].value)
        width = difference[name].high - difference[name].low
        assert width < (ours[name].high - ours[name].low) / 1.5, name
    assert difference["auc"].low > 0
    assert difference["log_loss"].high < 0


def test_scores_that_are_not_probabilities_get_only_ranking_metrics() -> None:
    rankings = evaluate(10 * SCORE - 3, LABEL, DAY, OFFSETS, is_probability=False)
    everything = evaluate(SCORE, LABEL, DAY, OFFSETS)
    assert set(everything) - set(rankings) == {
        "log_loss",
        "brier",
        "mean_predicted",
        "expected_calibration_error",
        "list_recall",
        "list_precision",
        "list_size_share",
        "list_worst_day_recall",
    }
    for name, estimate in rankings.items():
        assert estimate == pytest.approx(everything[name]), name
    # A shopper without a purchase may rank last.
    lowest = np.where(SCORE < 0.2, -np.inf, SCORE)
    assert evaluate(lowest, LABEL, DAY, OFFSETS, is_probability=False) == rankings


def test_segments_are_evaluated_alone() -> None:
    probability, label, day, offsets = sample()
    segment = np.where(user_of_pair(offsets) % 3 == 0, "unseen", "seen")
    found = evaluate_segments(segment, probability, label, day, offsets)
    assert list(found) == ["seen", "unseen"]
    rows = segment == "unseen"
    counts = np.diff(offsets)[::3]
    alone = evaluate(
        probability[rows], label[rows], day[rows], np.concatenate([[0], np.cumsum(counts)])
    )
    assert found["unseen"] == alone


def test_days_may_be_dates_and_rows_in_any_order_within_a_shopper() -> None:
    probability, label, day, offsets = sample(seed=10)
    dates = np.datetime64("2017-12-04") + day
    assert evaluate(probability, label, dates, offsets) == evaluate(
        probability, label, day, offsets
    )
    backwards = np.lexsort((-day, user_of_pair(offsets)))
    turned = evaluate(probability[backwards], label[backwards], day[backwards], offsets)
    for name, estimate in evaluate(probability, label, day, offsets).items():
        assert turned[name] == pytest.approx(estimate, abs=1e-9), name


@pytest.mark.filterwarnings("error")
def test_a_day_or_a_whole_sample_without_buyers_is_no_error() -> None:
    label = np.where(DAY == 0, LABEL, 0)
    found = values(evaluate(SCORE, label, DAY, OFFSETS))
    assert found["auc_within_day"] == pytest.approx(3 / 4)  # day 1 has no comparison
    assert found["list_worst_day_recall"] == pytest.approx(1)
    nobody = values(evaluate(SCORE, np.zeros(8, int), DAY, OFFSETS))
    assert nobody["mean_observed"] == 0
    for name in ("auc", "auc_within_day", "lift_top_tenth", "list_recall", "list_worst_day_recall"):
        assert np.isnan(nobody[name]), name


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="7 days and 8 scores"):
        evaluate(SCORE, LABEL, DAY[:7], OFFSETS)
    with pytest.raises(ValueError, match=r"score\[0\] is 9.0: probabilities must be from 0 to 1"):
        evaluate(10 * SCORE, LABEL, DAY, OFFSETS)
    with pytest.raises(ValueError, match=r"score\[1\] is missing"):
        evaluate(np.where(np.arange(8) == 1, np.nan, SCORE), LABEL, DAY, OFFSETS)


def test_unbounded_metrics_exist() -> None:
    assert set(purchase_metrics.UNBOUNDED) <= set(evaluate(SCORE, LABEL, DAY, OFFSETS))
