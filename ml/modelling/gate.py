"""The gate between a challenger and the champion, measured on the same test shoppers.

Fresh data are worth a tie, so the challenger need not be better. It must not be worse by more than
a margin in log-loss, which tells models apart that F1 cannot (docs/adr/0011).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ml.modelling.basket import Floats
from ml.modelling.metrics import Estimate, Ratio, estimate, resample
from ml.modelling.verdict import WORSE, Verdict

MARGIN = 0.01
"""Share of the champion's log-loss by which the challenger's may be higher."""
MINIMUM_SHOPPERS = 300
"""Test shoppers below which the interval of the log-loss is wider than the margin."""
LOG_LOSS = "log_loss"
REPLICATES = 2000


@dataclass(frozen=True)
class Difference:
    """A metric of the champion, and that of the challenger minus it, with its interval."""

    champion: float
    difference: Estimate


def compare(
    champion: Mapping[str, Ratio],
    challenger: Mapping[str, Ratio],
    rows: Floats,
    *,
    seed: int = 0,
) -> dict[str, Difference]:
    """Compare two models on the same resamples of shoppers.

    Args:
        champion: numerator and denominator of each metric by shopper, each (n_users,).
        challenger: the same for the same shoppers.
        rows: number of rows of each shopper, shape (n_users,).
        seed: seed of the resamples.
    """
    ours = {f"champion {name}": ratio for name, ratio in champion.items()}
    theirs = {f"challenger {name}": ratio for name, ratio in challenger.items()}
    draws = resample(ours | theirs, None, rows, REPLICATES, seed)
    return {
        name: Difference(
            float(draws[f"champion {name}"][0]),
            estimate(draws[f"challenger {name}"] - draws[f"champion {name}"], np.inf, -np.inf),
        )
        for name in champion
    }


def faults(
    found: Mapping[str, Difference], challenger: Verdict | None, champion: Verdict | None
) -> list[str]:
    """Return what speaks against the challenger, in words; nothing if it passes.

    Args:
        found: from `compare`. Higher is better for every metric but `LOG_LOSS`.
        challenger: how it compares with the best simple rule; None if there is no rule.
        champion: the same of the champion.
    """
    loss = found[LOG_LOSS]
    against = []
    if loss.difference.high >= MARGIN * loss.champion:
        against.append(
            f"its log-loss may be {loss.difference.high / loss.champion:+.1%} of the champion's, "
            f"and the margin is {MARGIN:+.0%}"
        )
    for name, each in found.items():
        if name != LOG_LOSS and each.difference.high < 0:
            against.append(f"its {name.replace('_', ' ')} is lower")
    if challenger and champion and challenger.verdict == champion.verdict == WORSE:
        rule = challenger.rule.replace("_", " ")
        against.append(f"{rule}, a simple rule, is better than both")
    return against


def described(found: Mapping[str, Difference]) -> str:
    """Return the differences in words, that of the log-loss as a share of the champion's."""
    loss = found[LOG_LOSS]
    shares = [value / loss.champion for value in loss.difference]
    texts = ["log-loss {:+.1%} ({:+.1%} to {:+.1%})".format(*shares)]
    texts += [
        "{} {:+.4f} ({:+.4f} to {:+.4f})".format(name.replace("_", " "), *each.difference)
        for name, each in found.items()
        if name != LOG_LOSS
    ]
    return ", ".join(texts)
