"""The metrics of one evaluation run, collected by model and segment and written to tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa

from ml.modelling import metrics
from ml.modelling.basket import Bools, Floats, Ints
from ml.modelling.folds import Strings
from ml.modelling.model import Model
from ml.settings import Settings
from ml.warehouse.connection import append
from ml.warehouse.examples import Examples

Row = tuple[str, str, str, str, str, str, float]


@dataclass(frozen=True)
class Predictions:
    """A model's probabilities and baskets for test shoppers, both of shape (n_pairs,)."""

    probability: Floats
    in_basket: Bools

    @classmethod
    def of(cls, model: Model, test: Examples) -> "Predictions":
        """Return a model's predictions for test shoppers."""
        probability = model.predict(test.X)
        return cls(probability, model.basket(probability, test.offsets))

    def pairs(self, rows: Bools) -> "Predictions":
        """Return the predictions of the pairs in ``rows``."""
        return Predictions(self.probability[rows], self.in_basket[rows])

    @classmethod
    def empty(cls, pairs: int) -> "Predictions":
        """Return placeholders that `fill` replaces fold by fold."""
        return cls(np.full(pairs, np.nan), np.zeros(pairs, dtype=bool))

    def fill(self, rows: Bools, part: "Predictions") -> None:
        """Store the predictions of one fold in ``rows``."""
        self.probability[rows], self.in_basket[rows] = part.probability, part.in_basket


class EvaluationReport:
    """Collects and writes the metrics of one evaluation run."""

    def __init__(self, settings: Settings, model: str, protocol: str) -> None:
        self.run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self.model, self.protocol, self.seed = model, protocol, settings.seed
        self.figures: dict[str, dict[str, metrics.Estimate]] = {}
        self.rows: list[Row] = []

    def add(
        self, test: Examples, models: Mapping[str, Predictions], scores: Mapping[str, Floats]
    ) -> None:
        """Measure models, baselines and the ceiling on all pairs."""
        for name, predicted in models.items():
            self.figures[name] = self._measure(test, predicted)
        for name, score in scores.items():
            self.figures[name] = metrics.evaluate(
                score, test.label, test.offsets, is_probability=False, seed=self.seed
            )
        self.figures["ceiling"] = metrics.ceiling(test.label, test.offsets, seed=self.seed)
        for name, estimates in self.figures.items():
            self._note(name, "all", estimates, test.offsets)

    def add_segments(self, test: Examples, predicted: Predictions, segment: Strings) -> None:
        """Measure the model in each segment; ``segment`` names every pair's, shape (n_pairs,)."""
        figures = metrics.evaluate_segments(
            segment,
            predicted.probability,
            test.label,
            test.offsets,
            in_basket=predicted.in_basket,
            seed=self.seed,
        )
        for name, estimates in figures.items():
            self._note(self.model, name, estimates, metrics.select(segment == name, test.offsets))

    def add_segment(self, name: str, test: Examples, predicted: Predictions) -> None:
        """Measure the model on all pairs of ``test`` and record them as the segment ``name``."""
        self._note(self.model, name, self._measure(test, predicted), test.offsets)

    def write(self, con: duckdb.DuckDBPyConnection, test: Examples, predicted: Predictions) -> None:
        """Append the metrics to ``ml.metrics`` and the bins to ``ml.calibration_bins``."""
        names = ("run_id", "model_name", "split", "protocol", "segment", "metric", "value")
        rows = pa.table(dict(zip(names, zip(*self.rows, strict=True), strict=True)))
        append(con, "ml.metrics", rows)
        bins = metrics.reliability_bins(predicted.probability, test.label)
        table = pa.table(
            {
                "run_id": [self.run_id] * len(bins.n),
                "model_name": [self.model] * len(bins.n),
                "split": ["test"] * len(bins.n),
                "bin": np.arange(len(bins.n)),
                "n": bins.n,
                "mean_predicted": bins.mean_predicted,
                "mean_observed": bins.mean_observed,
            }
        )
        append(con, "ml.calibration_bins", table)

    def _measure(self, test: Examples, predicted: Predictions) -> dict[str, metrics.Estimate]:
        return metrics.evaluate(
            predicted.probability,
            test.label,
            test.offsets,
            in_basket=predicted.in_basket,
            seed=self.seed,
        )

    def _note(
        self, name: str, segment: str, estimates: Mapping[str, metrics.Estimate], offsets: Ints
    ) -> None:
        values = {
            metric + suffix: value
            for metric, estimate in estimates.items()
            for suffix, value in zip(("", "_low", "_high"), estimate, strict=True)
            if not np.isnan(value)
        }
        values |= {"shoppers": len(offsets) - 1, "pairs": int(offsets[-1])}
        self.rows += [
            (self.run_id, name, "test", self.protocol, segment, metric, float(value))
            for metric, value in values.items()
        ]
