"""The verdict on a model: whether it is better than the best simple rule, shopper by shopper.

Every shopper has a *quality* under the model and under the rule, such as the average precision of
the ranking. The verdict compares the two for the same shoppers, so what makes a shopper hard to
predict cancels out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ml.modelling.basket import Floats, Ints, user_of_pair
from ml.modelling.metrics import FEW_SHOPPERS, Estimate, estimate, probability_ratios, resample

BETTER, WORSE, CHANCE = "better", "worse", "may be chance"
_TIE = 1e-9  # qualities closer than this are equal; it is above their rounding error


@dataclass(frozen=True)
class Verdict:
    """How a model compares with the best simple rule on the same shoppers.

    Attributes:
        rule: name of the rule.
        shoppers: number of shoppers compared.
        better: share of the shoppers for whom the model is better, 0 to 1.
        worse: share for whom it is worse.
        difference: mean quality under the model minus that under the rule, with its interval.
        verdict: `BETTER` or `WORSE` if the interval of the difference is above or below 0, else
            `CHANCE`.
    """

    rule: str
    shoppers: int
    better: float
    worse: float
    difference: Estimate

    @property
    def verdict(self) -> str:
        """The conclusion."""
        if self.difference.low > 0:
            return BETTER
        return WORSE if self.difference.high < 0 else CHANCE


def compare(
    model: Floats, rules: Mapping[str, Floats], *, replicates: int = 1000, seed: int = 0
) -> Verdict | None:
    """Compare a model with the rule that has the highest mean quality on the same shoppers.

    Which rule is best depends on these very shoppers, which can only favour the rule.

    Args:
        model: quality of each shopper, higher is better, shape (n_users,); NaN if undefined.
        rules: the same for each rule. A rule without a quality where the model has one is left out.
        replicates: number of bootstrap resamples of shoppers.
        seed: seed of the resamples.

    Returns:
        The verdict; None if there is no rule, or no shopper has a quality.
    """
    known = ~np.isnan(model)
    shoppers = int(known.sum())
    means = {name: quality[known].mean() for name, quality in rules.items() if shoppers}
    comparable = [name for name, mean in means.items() if not np.isnan(mean)]
    if not comparable:
        return None
    best = max(comparable, key=means.__getitem__)
    gain = (model - rules[best])[known]
    replicates = replicates if shoppers >= FEW_SHOPPERS else 0
    each = np.ones(shoppers)
    draws = resample({"gain": (gain, each)}, None, each, replicates, seed)["gain"]
    return Verdict(
        rule=best,
        shoppers=shoppers,
        better=float(np.mean(gain > _TIE)),
        worse=float(np.mean(gain < -_TIE)),
        difference=estimate(draws, np.inf, -np.inf),
    )


def average_precision(score: Floats, label: Ints, offsets: Ints) -> Floats:
    """Return the average precision of each shopper's ranking, shape (n_users,).

    It is the mean, over the products bought again, of the precision at the rank of the product, and
    NaN for a shopper who bought nothing again. Rules give many products the same score. So this is
    the mean over all orders of tied rows (McSherry, Najork 2008, "Computing information retrieval
    performance measures efficiently in the presence of tied scores").
    """
    order = np.lexsort((-score, user_of_pair(offsets)))  # rows stay within their shopper
    user, score, hit = user_of_pair(offsets), score[order], label[order].astype(np.int64)
    starts_tie = (np.diff(user, prepend=-1) > 0) | (np.diff(score, prepend=np.inf) != 0)
    first, tie = np.flatnonzero(starts_tie), np.cumsum(starts_tie) - 1
    rows, hits = np.bincount(tie), np.bincount(tie, hit)
    top = offsets[:-1][user[first]]  # the shopper's first row
    hits_above = np.concatenate([[0], np.cumsum(hit)])
    above = (hits_above[first] - hits_above[top])[tie]
    place = np.arange(len(hit)) - first[tie]  # within the tie, from 0
    # A row of a tie is a hit with the probability hits / rows. Given that, each row before it in
    # the tie is one with the probability (hits - 1) / (rows - 1).
    within = place * ((hits - 1) / np.maximum(rows - 1, 1))[tie]
    rank = (first - top)[tie] + place + 1
    precision = (hits / rows)[tie] * (above + within + 1) / rank
    total = np.bincount(user, hit, minlength=len(offsets) - 1)
    with np.errstate(invalid="ignore"):
        return np.bincount(user, precision, minlength=len(offsets) - 1) / total


def log_likelihood(probability: Floats, label: Ints, offsets: Ints) -> Floats:
    """Return minus the log-loss of each shopper, the mean over the shopper's rows."""
    loss, rows = probability_ratios(probability, label, offsets)["log_loss"]
    return -loss / rows
