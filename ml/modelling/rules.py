"""Rules: what a task makes of its probabilities, and the metrics of the result.

A rule is part of a model. Arrays have one entry per row, and the rows of a shopper are contiguous,
as in `basket`. The key tells the rows of a shopper apart: a product, or a midnight.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from ml.modelling import metrics, purchase_metrics, verdict
from ml.modelling.basket import (
    Bools,
    Floats,
    Ints,
    expected_f1_basket,
    f1,
    fit_order_effect,
    rank_in_user,
)
from ml.modelling.metrics import Estimate, Ratio
from ml.modelling.purchase_list import ListRule, is_held_out

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Score:
    """A score of each row, higher for rows that are likelier to come true.

    Attributes:
        value: shape (n_rows,).
        is_probability: whether the scores are probabilities.
        chosen: which rows are chosen, shape (n_rows,); None if the score chooses none.
    """

    value: Floats
    is_probability: bool = False
    chosen: Bools | None = None


class Rule(Protocol):
    """What a task makes of its probabilities.

    Attributes:
        chosen: name of the column that says which rows are chosen.
        is_per_shopper: whether each shopper's rows are chosen alone, so that shoppers can be
            scored in batches. Otherwise the rule needs all of them at once.
        judged_by: name of the metric in `quality`.
    """

    chosen: ClassVar[str]
    is_per_shopper: ClassVar[bool]
    judged_by: ClassVar[str]

    @classmethod
    def fit(cls, probability: Floats, label: Ints, offsets: Ints) -> Self:
        """Return the rule for a calibrated model, from the rows that it was calibrated on."""
        ...

    def choose(self, probability: Floats, key: Array, offsets: Ints) -> Bools:
        """Mark the chosen rows."""
        ...

    def columns(self, probability: Floats, user_id: Array, offsets: Ints) -> dict[str, Any]:
        """Return the columns that the scores have beside the probability, by name."""
        ...

    @staticmethod
    def measure(
        score: Score, label: Ints, key: Array, offsets: Ints, *, seed: int
    ) -> dict[str, Estimate]:
        """Return the metrics of a score, with intervals over shoppers."""
        ...

    @staticmethod
    def paired(
        score: Score, other: Score, label: Ints, key: Array, offsets: Ints, *, seed: int
    ) -> dict[str, Estimate]:
        """Return metrics of ``score`` minus those of ``other``, measured on the same resamples."""
        ...

    @staticmethod
    def gated(score: Score, label: Ints, offsets: Ints) -> dict[str, Ratio]:
        """Return the metrics that the gate compares, as ratios over shoppers; see `gate`."""
        ...

    @staticmethod
    def quality(score: Score, label: Ints, offsets: Ints) -> Floats:
        """Return how good a score is for each shopper, higher is better; NaN if undefined."""
        ...


@dataclass(frozen=True)
class BasketRule:
    """The basket with the highest expected F1 for each shopper; a row is a product.

    Attributes:
        order_effect: see `basket.expected_f1_basket`.
    """

    order_effect: float

    chosen: ClassVar[str] = "in_basket"
    is_per_shopper: ClassVar[bool] = True
    judged_by: ClassVar[str] = "average_precision"

    @classmethod
    def fit(cls, probability: Floats, label: Ints, offsets: Ints) -> Self:
        """Fit the order effect of the baskets."""
        return cls(fit_order_effect(probability, label, offsets))

    def choose(self, probability: Floats, key: Array, offsets: Ints) -> Bools:
        """Mark the products in the baskets."""
        return expected_f1_basket(probability, offsets, self.order_effect)[0]

    def columns(self, probability: Floats, user_id: Array, offsets: Ints) -> dict[str, Any]:
        """Return each product's rank for its shopper, and whether it is in the basket."""
        return {
            "rank_in_user": rank_in_user(probability, offsets),
            "in_basket": expected_f1_basket(probability, offsets, self.order_effect)[0],
        }

    @staticmethod
    def measure(
        score: Score, label: Ints, key: Array, offsets: Ints, *, seed: int
    ) -> dict[str, Estimate]:
        """Return the metrics of `metrics.evaluate`."""
        return metrics.evaluate(
            score.value,
            label,
            offsets,
            is_probability=score.is_probability,
            in_basket=score.chosen,
            seed=seed,
        )

    @staticmethod
    def paired(
        score: Score, other: Score, label: Ints, key: Array, offsets: Ints, *, seed: int
    ) -> dict[str, Estimate]:
        """Return the differences of `metrics.paired`."""
        baskets = None
        if score.chosen is not None and other.chosen is not None:
            baskets = (score.chosen, other.chosen)
        return metrics.paired(
            score.value,
            other.value,
            label,
            offsets,
            is_probability=score.is_probability and other.is_probability,
            in_basket=baskets,
            seed=seed,
        )

    @staticmethod
    def gated(score: Score, label: Ints, offsets: Ints) -> dict[str, Ratio]:
        """Return the log-loss, and the mean F1 of the baskets."""
        if score.chosen is None:
            raise ValueError("the score chooses no baskets")
        f1_of_shopper = f1(score.chosen, label, offsets)
        return {
            **_log_loss(score, label, offsets),
            "mean_f1": (f1_of_shopper, np.ones(len(f1_of_shopper))),
        }

    @staticmethod
    def quality(score: Score, label: Ints, offsets: Ints) -> Floats:
        """Return the average precision of each shopper's ranking."""
        return verdict.average_precision(score.value, label, offsets)


@dataclass(frozen=True)
class DailyList:
    """The list of each day's likely buyers; a row is a shopper, and the key is a midnight.

    Attributes:
        recall: share of the day's buyers that the list is expected to hold.
    """

    recall: float = purchase_metrics.RECALL

    chosen: ClassVar[str] = "is_targeted"
    is_per_shopper: ClassVar[bool] = False
    judged_by: ClassVar[str] = "log_loss"

    @classmethod
    def fit(cls, probability: Floats, label: Ints, offsets: Ints) -> Self:
        """Return the default list: the probabilities of its own day decide where it ends."""
        return cls()

    def choose(self, probability: Floats, key: Array, offsets: Ints) -> Bools:
        """Mark the shoppers on the list of their day."""
        chosen = np.zeros(len(probability), dtype=bool)
        _, day = np.unique(key, return_inverse=True)
        for rows in np.split(np.argsort(day, kind="stable"), np.cumsum(np.bincount(day))[:-1]):
            chosen[rows] = ListRule(recall=self.recall).choose(probability[rows]).is_targeted
        return chosen

    def columns(self, probability: Floats, user_id: Array, offsets: Ints) -> dict[str, Any]:
        """Return rank and decile, and who is on the list and who is held out, for one day."""
        listed = ListRule(recall=self.recall).choose(probability)
        return {
            "rank": listed.rank,
            "decile": listed.decile,
            "is_targeted": listed.is_targeted,
            "is_held_out": is_held_out(user_id),
        }

    @staticmethod
    def measure(
        score: Score, label: Ints, key: Array, offsets: Ints, *, seed: int
    ) -> dict[str, Estimate]:
        """Return the metrics of `purchase_metrics.evaluate`, which cuts a list for each day."""
        return purchase_metrics.evaluate(
            score.value, label, key, offsets, is_probability=score.is_probability, seed=seed
        )

    @staticmethod
    def paired(
        score: Score, other: Score, label: Ints, key: Array, offsets: Ints, *, seed: int
    ) -> dict[str, Estimate]:
        """Return the differences of `purchase_metrics.paired`."""
        return purchase_metrics.paired(
            score.value,
            other.value,
            label,
            key,
            offsets,
            is_probability=score.is_probability and other.is_probability,
            seed=seed,
        )

    @staticmethod
    def gated(score: Score, label: Ints, offsets: Ints) -> dict[str, Ratio]:
        """Return the log-loss: the list follows from the probabilities."""
        return _log_loss(score, label, offsets)

    @staticmethod
    def quality(score: Score, label: Ints, offsets: Ints) -> Floats:
        """Return minus the log-loss of each shopper's days; NaN if the score only ranks."""
        if not score.is_probability:
            return np.full(len(offsets) - 1, np.nan)
        return verdict.log_likelihood(score.value, label, offsets)


def _log_loss(score: Score, label: Ints, offsets: Ints) -> dict[str, Ratio]:
    return {"log_loss": metrics.probability_ratios(score.value, label, offsets)["log_loss"]}
