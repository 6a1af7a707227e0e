"""The metrics of one evaluation run, collected by model and segment and written to tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa

from ml.jobs.task import REORDER, Task
from ml.modelling import metrics
from ml.modelling.basket import Bools, Floats, Ints
from ml.modelling.folds import Strings
from ml.modelling.metrics import Estimate
from ml.modelling.model import Model
from ml.modelling.rules import Score
from ml.settings import Settings
from ml.warehouse.connection import append
from ml.warehouse.examples import Examples

Row = tuple[str, str, str, str, str, str, float]


@dataclass(frozen=True)
class Predictions:
    """A model's probabilities for test rows, and which rows its rule chooses, both (n_rows,)."""

    probability: Floats
    chosen: Bools

    @classmethod
    def of(cls, model: Model, test: Examples) -> "Predictions":
        """Return a model's predictions for test rows."""
        probability = model.predict(test.X)
        return cls(probability, model.rule.choose(probability, test.key.to_numpy(), test.offsets))

    def score(self) -> Score:
        """Return the probabilities and choices as a score to measure."""
        return Score(self.probability, True, self.chosen)

    def rows(self, rows: Bools) -> "Predictions":
        """Return the predictions of some rows."""
        return Predictions(self.probability[rows], self.chosen[rows])

    @classmethod
    def empty(cls, rows: int) -> "Predictions":
        """Return placeholders that `fill` replaces fold by fold."""
        return cls(np.full(rows, np.nan), np.zeros(rows, dtype=bool))

    def fill(self, rows: Bools, part: "Predictions") -> None:
        """Store the predictions of one fold in ``rows``."""
        self.probability[rows], self.chosen[rows] = part.probability, part.chosen


class EvaluationReport:
    """Collects and writes the metrics of one evaluation run."""

    def __init__(self, settings: Settings, model: str, protocol: str, task: Task = REORDER) -> None:
        self.run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self.model, self.protocol, self.seed, self.task = model, protocol, settings.seed, task
        self.figures: dict[str, dict[str, Estimate]] = {}
        self.rows: list[Row] = []
        self.paired: dict[str, Estimate] = {}
        self.best = ""

    def add(
        self, test: Examples, models: Mapping[str, Predictions], beside: Mapping[str, Score]
    ) -> None:
        """Measure models, and the scores beside them, on all rows."""
        scores = {name: predicted.score() for name, predicted in models.items()}
        for name, score in (scores | dict(beside)).items():
            self.figures[name] = self._measure(test, score)
            self._note(name, "all", self.figures[name], test.offsets)

    def add_paired(
        self, test: Examples, predicted: Predictions, beside: Mapping[str, Score]
    ) -> None:
        """Measure how much better the model is than the best baseline, the segment ``over=NAME``.

        A baseline chooses no rows.
        """
        baselines = [name for name, score in beside.items() if score.chosen is None]
        best = max(baselines, key=lambda name: self.figures[name]["auc"].value)
        self.paired = self.difference(test, predicted, beside[best])
        if self.paired:
            self.best = best
            self._note(self.model, f"over={best}", self.paired, test.offsets)

    def difference(
        self, test: Examples, predicted: Predictions, other: Score
    ) -> dict[str, Estimate]:
        """Return the metrics of the model minus those of another score, on the same resamples."""
        return self.task.rule.paired(
            predicted.score(),
            other,
            test.label,
            test.key.to_numpy(),
            test.offsets,
            seed=self.seed,
        )

    def comparison(self, names: Sequence[str]) -> str:
        """Return the paired differences of some metrics, in words; empty if there are none."""
        if not self.paired:
            return ""
        differences = [
            f"{name.replace('_', ' ')} {self.paired[name].value:+.4f} "
            f"({self.paired[name].low:+.4f} to {self.paired[name].high:+.4f})"
            for name in names
            if name in self.paired
        ]
        return f"compared with {self.best.replace('_', ' ')}: {', '.join(differences)}"

    def add_segments(self, test: Examples, predicted: Predictions, segment: Strings) -> None:
        """Measure the model in each segment; ``segment`` names every row's, shape (n_rows,)."""
        key = test.key.to_numpy()
        for name in np.unique(segment):
            rows = segment == name
            offsets = metrics.select(rows, test.offsets)
            figures = self.task.rule.measure(
                predicted.rows(rows).score(), test.label[rows], key[rows], offsets, seed=self.seed
            )
            self._note(self.model, name.item(), figures, offsets)

    def add_segment(self, name: str, test: Examples, predicted: Predictions) -> None:
        """Measure the model on all rows of ``test`` and record them as the segment ``name``."""
        self._note(self.model, name, self._measure(test, predicted.score()), test.offsets)

    def write(self, con: duckdb.DuckDBPyConnection, test: Examples, predicted: Predictions) -> None:
        """Append the metrics and the calibration bins to the tables of the task."""
        names = ("run_id", "model_name", "split", "protocol", "segment", "metric", "value")
        rows = pa.table(dict(zip(names, zip(*self.rows, strict=True), strict=True)))
        append(con, self.task.written("metrics"), rows)
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
        append(con, self.task.written("calibration_bins"), table)

    def _measure(self, test: Examples, score: Score) -> dict[str, Estimate]:
        return self.task.rule.measure(
            score, test.label, test.key.to_numpy(), test.offsets, seed=self.seed
        )

    def _note(
        self, name: str, segment: str, estimates: Mapping[str, Estimate], offsets: Ints
    ) -> None:
        values = {
            metric + suffix: value
            for metric, estimate in estimates.items()
            for suffix, value in zip(("", "_low", "_high"), estimate, strict=True)
            if not np.isnan(value)
        }
        values |= {"shoppers": len(offsets) - 1, self.task.table.rows: int(offsets[-1])}
        self.rows += [
            (self.run_id, name, "test", self.protocol, segment, metric, float(value))
            for metric, value in values.items()
        ]
