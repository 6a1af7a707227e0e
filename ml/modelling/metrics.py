"""Metrics of rankings, probabilities and baskets, each with an interval over shoppers.

Arrays are laid out as in `basket`: one entry per pair, the pairs of a shopper contiguous,
``offsets`` of shape (n_users + 1,). A pair is a shopper and a product that the shopper bought
before, so every metric is about products bought again.

Every metric is a ratio of two sums over shoppers. The bootstrap therefore works the same way for
all of them: it draws shoppers and adds up their terms.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ml.modelling.basket import Bools, Floats, Ints, f1, rank_in_user, user_of_pair

CUTS = (5, 10, 20)
BINS = 20
FEW_SHOPPERS = 10
"""Fewer shoppers than this say too little about others: a figure of theirs has no interval."""
UNBOUNDED = ("log_loss", "mean_basket_size")  # all others are shares, 0 to 1
Ratio = tuple[Floats, Floats]  # numerator and denominator per shopper, each (n_users,)


class Estimate(NamedTuple):
    """The value of a metric and its 95% bootstrap interval over shoppers; NaN if undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ReliabilityBins:
    """Predicted and observed share bought again, in bins of about equal count.

    Attributes:
        bin: bin number of each pair, from 0 for the lowest probabilities, shape (n_pairs,).
        n: number of pairs in each bin, shape (n_bins,).
        mean_predicted: mean probability in each bin, shape (n_bins,).
        mean_observed: share of pairs bought again in each bin, shape (n_bins,).
    """

    bin: Ints
    n: Ints
    mean_predicted: Floats
    mean_observed: Floats


def reliability_bins(probability: Floats, label: Ints, bins: int = BINS) -> ReliabilityBins:
    """Group pairs into at most ``bins`` bins of equal count; equal probabilities share a bin.

    Most probabilities are small, so one of ten bins of equal width would hold nearly all pairs and
    hide every error among them. Bins of equal count also give the expected calibration error its
    smallest bias (Roelofs, Cain, Shlens, Mozer 2022, "Mitigating bias in calibration error
    estimation").
    """
    edges = np.quantile(probability, np.arange(1, bins) / bins)
    _, code, n = np.unique(
        np.searchsorted(edges, probability, side="right"), return_inverse=True, return_counts=True
    )
    return ReliabilityBins(
        bin=code,
        n=n,
        mean_predicted=np.bincount(code, probability) / n,
        mean_observed=np.bincount(code, label) / n,
    )


def evaluate(
    score: Floats,
    label: Ints,
    offsets: Ints,
    *,
    is_probability: bool = True,
    in_basket: Bools | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Compute every metric that the input allows, with intervals.

    Over all pairs, always: ``auc``, ``average_precision`` and ``mean_observed``, the share of
    pairs bought again.

    Over shoppers, always, at k = 5, 10 and 20. The list is a shopper's k highest scores (ties go
    to the earlier row), and a hit is a product in the list that was bought again:

    - ``precision_at_k``: hits / k, even if there are fewer than k pairs; 0 for a shopper who
      bought nothing again. Mean over all shoppers.
    - ``hit_rate_at_k``: 1 if there is a hit, else 0. Mean over all shoppers.
    - ``f1_at_k``: F1 of the list, taken as a basket. Mean over all shoppers.
    - ``recall_at_k``: hits / products bought again. Mean over shoppers who bought any product
      again; undefined for the others.
    - ``ndcg_at_k``: gain 1, discount log2(rank + 1), relative to the best ranking of the pairs
      (Järvelin, Kekäläinen 2002). Mean over shoppers who bought any product again.

    For probabilities: ``mean_predicted``, ``log_loss``, ``brier`` and
    ``expected_calibration_error``, the mean over pairs of the distance between the predicted and
    the observed share of their bin (Naeini, Cooper, Hauskrecht 2015, with the bins of
    `reliability_bins`).

    With ``in_basket``: ``mean_basket_size`` and ``mean_f1``, the mean over shoppers of the F1 of
    basket and products bought again, as in the Instacart competition; two empty sets score 1.

    A figure from fewer than `FEW_SHOPPERS` shoppers has no interval; its ends are NaN.

    The interval is the percentile bootstrap over shoppers, shifted so that the mean of the
    replicates equals the estimate. The shift matters only for the calibration error, which noise
    can only raise. For AUC and average precision the bootstrap uses the linear part, see
    `ranking_influence`.

    Raises:
        ValueError: if the arrays differ in length or a score is missing.
    """
    ratios, draws = _draws(score, label, offsets, is_probability, in_basket, replicates, seed)
    counted = {name: np.count_nonzero(ratio[1]) for name, ratio in ratios.items()}
    return {
        name: estimate(
            draw if counted.get(name, FEW_SHOPPERS) >= FEW_SHOPPERS else draw[:1],
            np.inf if name in UNBOUNDED else 1,
        )
        for name, draw in draws.items()
    }


def paired(
    score: Floats,
    other: Floats,
    label: Ints,
    offsets: Ints,
    *,
    is_probability: bool = True,
    in_basket: tuple[Bools, Bools] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return each metric of ``score`` minus that of ``other``, measured on the same resamples.

    Two scores of the same pairs rise and fall together, so the interval of their difference is
    narrower than their own intervals suggest. ``is_probability`` says whether both scores are
    probabilities, and ``in_basket`` has the baskets of both. The other arguments are those of
    `evaluate`.
    """
    baskets = in_basket or (None, None)
    (_, draws), (_, others) = (
        _draws(values, label, offsets, is_probability, basket, replicates, seed)
        for values, basket in zip((score, other), baskets, strict=True)
    )
    return {name: estimate(draws[name] - others[name], np.inf, -np.inf) for name in draws}


def _draws(
    score: Floats,
    label: Ints,
    offsets: Ints,
    is_probability: bool,
    in_basket: Bools | None,
    replicates: int,
    seed: int,
) -> tuple[dict[str, Ratio], dict[str, Floats]]:
    """Return the ratios of every metric, and their values in the sample and in each resample."""
    check(score, label, offsets)
    pairs, everyone = np.diff(offsets).astype(float), np.ones(len(offsets) - 1)
    ratios = {
        name: pseudo_values(*influence, offsets)
        for name, influence in ranking_influence(score, label).items()
    }
    ratios |= _at_k(score, label, offsets)
    ratios["mean_observed"] = (by_shopper(label, offsets), pairs)
    if in_basket is not None:
        ratios["mean_f1"] = (f1(in_basket, label, offsets), everyone)
        ratios["mean_basket_size"] = (by_shopper(in_basket, offsets), everyone)
    errors = None
    if is_probability:
        ratios |= probability_ratios(score, label, offsets)
        errors = errors_by_bin(score, label, offsets)
    replicates = replicates if len(everyone) >= FEW_SHOPPERS else 0
    return ratios, resample(ratios, errors, pairs, replicates, seed)


def ceiling(
    label: Ints, offsets: Ints, *, replicates: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Return the metrics of a perfect ranking of these pairs and of a perfect basket."""
    return evaluate(
        label.astype(float),
        label,
        offsets,
        is_probability=False,
        in_basket=label == 1,
        replicates=replicates,
        seed=seed,
    )


def evaluate_segments(
    segment: npt.NDArray[np.generic],
    score: Floats,
    label: Ints,
    offsets: Ints,
    *,
    is_probability: bool = True,
    in_basket: Bools | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[Any, dict[str, Estimate]]:
    """Evaluate the pairs of each value of ``segment``, shape (n_pairs,), with `evaluate`.

    A segment can contain some of a shopper's pairs, as a department does. The k highest scores and
    the basket are then those within the segment. Shoppers without a pair in it are left out.
    """
    results = {}
    for value in np.unique(segment):
        rows = segment == value
        results[value.item()] = evaluate(
            score[rows],
            label[rows],
            select(rows, offsets),
            is_probability=is_probability,
            in_basket=None if in_basket is None else in_basket[rows],
            replicates=replicates,
            seed=seed,
        )
    return results


def select(rows: Bools, offsets: Ints) -> Ints:
    """Return the offsets of the pairs in ``rows``, leaving out shoppers without such a pair."""
    kept = np.bincount(user_of_pair(offsets)[rows], minlength=len(offsets) - 1)
    return np.concatenate([[0], np.cumsum(kept[kept > 0])])


def check(score: Floats, label: Ints, offsets: Ints) -> None:
    """Raise a ``ValueError`` if the arrays differ in length or a score is missing."""
    if not len(score) == len(label) == offsets[-1]:
        raise ValueError(
            f"{len(score)} scores, {len(label)} labels and {offsets[-1]} pairs in offsets: "
            "all three must be equal"
        )
    if np.isnan(score).any():
        raise ValueError(f"score[{np.isnan(score).argmax()}] is missing: score every pair")


def by_shopper(values: Floats | Ints | Bools, offsets: Ints) -> Floats:
    """Sum ``values``, shape (n_pairs,), over the pairs of each shopper, shape (n_users,)."""
    shoppers = len(offsets) - 1
    return np.bincount(user_of_pair(offsets), weights=values, minlength=shoppers).astype(float)


def pseudo_values(value: float, influence: Floats, offsets: Ints) -> Ratio:
    """Return a metric as a mean of the shoppers' pseudo-values, see `ranking_influence`."""
    shoppers = len(offsets) - 1
    return value + shoppers * by_shopper(influence, offsets), np.ones(shoppers)


def probability_ratios(probability: Floats, label: Ints, offsets: Ints) -> dict[str, Ratio]:
    """Return log-loss, mean probability and Brier score."""
    pairs = np.diff(offsets).astype(float)
    p = np.clip(probability, np.finfo(float).eps, 1 - np.finfo(float).eps)
    return {
        "log_loss": (by_shopper(-np.log(np.where(label == 1, p, 1 - p)), offsets), pairs),
        "mean_predicted": (by_shopper(probability, offsets), pairs),
        "brier": (by_shopper((probability - label) ** 2, offsets), pairs),
    }


def errors_by_bin(probability: Floats, label: Ints, offsets: Ints) -> Floats:
    """Sum probability minus label by shopper and bin, shape (n_users, n_bins)."""
    shoppers, bins = len(offsets) - 1, reliability_bins(probability, label)
    cell = user_of_pair(offsets) * len(bins.n) + bins.bin
    cells = np.bincount(cell, probability - label, shoppers * len(bins.n))
    return cells.astype(float).reshape(shoppers, -1)


def resample(
    ratios: Mapping[str, Ratio], errors: Floats | None, pairs: Floats, replicates: int, seed: int
) -> dict[str, Floats]:
    """Return each metric of the sample, then of each resample of shoppers.

    Args:
        ratios: numerator and denominator of every metric.
        errors: from `errors_by_bin`, adds ``expected_calibration_error``; None leaves it out.
        pairs: number of pairs of each shopper, shape (n_users,).
        replicates: number of resamples.
        seed: metrics with the same seed and shoppers have the same resamples.

    Returns:
        Arrays of shape (replicates + 1,).
    """
    bins = np.empty((len(pairs), 0)) if errors is None else errors
    columns = np.column_stack([*(c for ratio in ratios.values() for c in ratio), bins, pairs])
    sums = _resampled_sums(columns, replicates, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        n = 2 * len(ratios)
        values = np.where(sums[:, 1:n:2] == 0, np.nan, sums[:, :n:2] / sums[:, 1:n:2])
        draws = dict(zip(ratios, values.T, strict=True))
        if errors is not None:
            total = np.abs(sums[:, n:-1]).sum(axis=1)
            draws["expected_calibration_error"] = total / sums[:, -1]
    return draws


def ranking_influence(score: Floats, label: Ints) -> dict[str, tuple[float, Floats]]:
    """Return AUC and average precision, each with the influence of every pair.

    The influence of a pair is the derivative of the metric with respect to the pair's weight. The
    metric plus n times a shopper's influence is the shopper's pseudo-value in the infinitesimal
    jackknife (Efron, Tibshirani 1993, chapter 21). The mean of the pseudo-values is the metric.
    Resampling them equals the bootstrap up to terms of order 1 / n_shoppers and avoids sorting the
    pairs in every replicate.
    """
    values, tie = np.unique(-score, return_inverse=True)  # groups of equal scores, best first
    positive = np.bincount(tie, weights=label, minlength=len(values))
    negative = np.bincount(tie, minlength=len(values)) - positive
    hits, misses = np.cumsum(positive), np.cumsum(negative)
    with np.errstate(invalid="ignore", divide="ignore"):
        # A positive beats the negatives below it; a negative loses to the positives above it.
        wins = 1 - (misses - negative / 2) / misses[-1]
        losses = (hits - positive / 2) / hits[-1]
        auc = float(np.sum(positive * wins) / hits[-1])
        auc_influence = np.where(
            label == 1, (wins[tie] - auc) / hits[-1], (losses[tie] - auc) / misses[-1]
        )
        precision = hits / (hits + misses)
        average = float(np.sum(positive * precision) / hits[-1])
        # An extra positive (negative) raises (lowers) the precision at every positive from its
        # rank downwards.
        slope = positive / (hits + misses) ** 2 / hits[-1]
        gain = np.cumsum((slope * misses)[::-1])[::-1] + (precision - average) / hits[-1]
        harm = np.cumsum((slope * hits)[::-1])[::-1]
        average_influence = np.where(label == 1, gain[tie], -harm[tie])
    return {
        "auc": (auc, auc_influence),
        "average_precision": (average, average_influence),
    }


def _at_k(score: Floats, label: Ints, offsets: Ints) -> dict[str, Ratio]:
    """Return the metrics of each shopper's k highest-scoring pairs, for every k in `CUTS`."""
    user, shoppers = user_of_pair(offsets), len(offsets) - 1
    hit, place = label == 1, rank_in_user(score, offsets)
    user, rank = user[hit], place[hit]
    reorders = np.bincount(user, minlength=shoppers)
    some = (reorders > 0).astype(float)
    discount = 1 / np.log2(np.arange(max(CUTS)) + 2)
    ideal = np.concatenate([[0], np.cumsum(discount)])
    ratios: dict[str, Ratio] = {}
    for k in CUTS:
        first = rank <= k
        hits = np.bincount(user[first], minlength=shoppers)
        gain = np.bincount(user[first], discount[rank[first] - 1], minlength=shoppers)
        ratios[f"precision_at_{k}"] = (hits / k, np.ones(shoppers))
        ratios[f"f1_at_{k}"] = (f1(place <= k, label, offsets), np.ones(shoppers))
        ratios[f"recall_at_{k}"] = (hits / np.maximum(reorders, 1), some)
        ratios[f"ndcg_at_{k}"] = (gain / np.maximum(ideal[np.minimum(reorders, k)], 1), some)
        ratios[f"hit_rate_at_{k}"] = ((hits > 0).astype(float), np.ones(shoppers))
    return ratios


def _resampled_sums(columns: Floats, replicates: int, seed: int) -> Floats:
    """Sum the rows (shoppers) of the sample, then of each resample drawn with replacement."""
    rng, n = np.random.default_rng(seed), len(columns)
    sums = [columns.sum(axis=0)]
    for done in range(0, replicates, 100):
        draws = rng.integers(n, size=(min(100, replicates - done), n))
        sums.extend(np.stack([np.bincount(draw, minlength=n) for draw in draws]) @ columns)
    return np.stack(sums)


def estimate(draws: Floats, largest: float, smallest: float = 0.0) -> Estimate:
    """Return the estimate for a sample's value followed by the values of its replicates, if any.

    The interval is clipped to the range of the metric, ``smallest`` to ``largest``.
    """
    value, replicates = draws[0], draws[1:]
    replicates = replicates[~np.isnan(replicates)]
    if np.isnan(value) or not len(replicates):
        return Estimate(float(value), np.nan, np.nan)
    low, high = np.quantile(replicates, [0.025, 0.975]) + value - replicates.mean()
    return Estimate(float(value), max(smallest, float(low)), min(largest, float(high)))
