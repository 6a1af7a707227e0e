"""Choose who is on the list of likely buyers for one day, from calibrated probabilities."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml.errors import SettingsError
from ml.modelling.basket import Bools, Floats, Ints
from ml.modelling.folds import place

HELD_OUT_SHARE = 0.1
# Digits 12 to 15 of the hash, which no split and no draw of shoppers uses.
_HELD_OUT_DIGIT = 12


@dataclass(frozen=True)
class TargetList:
    """The list for one day, and what is expected of it if the probabilities are calibrated.

    Attributes:
        is_targeted: whether the shopper is on the list, shape (n_users,).
        rank: 1 for the likeliest buyer, without ties, shape (n_users,).
        decile: 1 for the likeliest tenth of the shoppers, 10 for the last, shape (n_users,).
        expected_recall: share of all expected buyers who are on the list; NaN if none is expected.
        expected_precision: expected share of buyers on the list; NaN for an empty list.
        expected_gain_per_1000: expected gain less cost, in the currency of both, per 1,000
            shoppers of the day, on the list or not; None unless the rule has a cost and a gain.
    """

    is_targeted: Bools
    rank: Ints
    decile: Ints
    expected_recall: float
    expected_precision: float
    expected_gain_per_1000: float | None = None


@dataclass(frozen=True)
class ListRule:
    """A rule that cuts the ranking of a day's shoppers; exactly one kind is set.

    Attributes:
        recall: the shortest list that is expected to hold this share of the day's buyers, above 0
            and at most 1. The cut follows from the day's own probabilities: the list ends where
            their running sum reaches this share of their sum.
        size: number of shoppers on the list, or all shoppers if there are fewer.
        cost: cost of contacting one shopper, with ``gain``.
        gain: gain from one purchase, in the same currency. The list holds the shoppers whose
            probability is above cost / gain (Elkan 2001, "The foundations of cost-sensitive
            learning", section 2, with a cost for every contact and a gain for every buyer
            contacted). This takes every purchase as caused by the contact.
    """

    recall: float | None = None
    size: int | None = None
    cost: float | None = None
    gain: float | None = None

    def __post_init__(self) -> None:
        """Check the rule.

        Raises:
            SettingsError: if no rule or more than one is set, or a value is out of range.
        """
        by_cost = self.cost is not None or self.gain is not None
        if [self.recall is not None, self.size is not None, by_cost].count(True) != 1:
            raise SettingsError("a list needs one rule: set recall, or size, or cost and gain")
        if by_cost and (self.cost is None or self.gain is None):
            missing = "cost" if self.cost is None else "gain"
            raise SettingsError(f"{missing} is missing: a list by cost needs both cost and gain")
        if self.recall is not None and not 0 < self.recall <= 1:
            raise SettingsError(f"recall is {self.recall}: it must be above 0 and at most 1")
        if self.size is not None and self.size < 0:
            raise SettingsError(f"size is {self.size}: it must be 0 or more")
        if self.cost is not None and not 0 <= self.cost < np.inf:
            raise SettingsError(f"cost is {self.cost}: it must be 0 or more")
        if self.gain is not None and not 0 < self.gain < np.inf:
            raise SettingsError(f"gain is {self.gain}: it must be above 0")

    def choose(self, probability: Floats) -> TargetList:
        """Return the list for one day.

        Args:
            probability: calibrated, one entry per shopper, shape (n_users,). If two shoppers tie,
                the earlier row ranks first, so the result is deterministic given the order.

        Raises:
            ValueError: if a probability is missing or outside 0 to 1.
        """
        valid = (probability >= 0) & (probability <= 1)
        if not valid.all():
            row = np.flatnonzero(~valid)[0]
            raise ValueError(
                f"probability[{row}] is {probability[row]}: probabilities must be from 0 to 1"
            )
        n = len(probability)
        order = np.argsort(-probability, kind="stable")
        rank = np.empty(n, dtype=np.int64)
        rank[order] = np.arange(1, n + 1)
        expected = np.concatenate([[0.0], np.cumsum(probability[order], dtype=float)])
        size = self._size(probability, expected)
        buyers = float(expected[size])
        gain = None
        if self.cost is not None and self.gain is not None:
            gain = 1000 * (self.gain * buyers - self.cost * size) / n if n else np.nan
        return TargetList(
            is_targeted=rank <= size,
            rank=rank,
            decile=(rank - 1) * 10 // max(n, 1) + 1,
            expected_recall=buyers / float(expected[-1]) if expected[-1] > 0 else np.nan,
            expected_precision=buyers / size if size else np.nan,
            expected_gain_per_1000=gain,
        )

    def _size(self, probability: Floats, expected: Floats) -> int:
        """Return the size of the list; ``expected[k]`` is the sum of the k best probabilities."""
        if self.recall is not None:
            # Rounding in the running sum must not add a shopper.
            return int(np.searchsorted(expected, self.recall * expected[-1] * (1 - 1e-12)))
        if self.cost is not None and self.gain is not None:
            return int(np.sum(probability * self.gain > self.cost))
        return min(self.size or 0, len(probability))


def is_held_out(user_id: npt.NDArray[Any] | pa.Array) -> Bools:
    """Mark the tenth of the shoppers who are never contacted, shape (n_users,).

    The list says who will buy, not who buys because of a message. Only the difference between
    contacted and held-out shoppers shows that. The tenth is drawn by a hash of the ID, as in
    `folds.place`, so it is the same every day and independent of the splits. In SQL it is
    ``substr(md5(cast(user_id as varchar)), 13, 4) <= '1999'``.
    """
    return place(user_id, digit=_HELD_OUT_DIGIT) < HELD_OUT_SHARE
