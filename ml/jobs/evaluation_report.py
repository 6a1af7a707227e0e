"""The metrics of one evaluation run, collected by model and segment and written to tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa

from ml.jobs.task import REORDER, Task
from ml.modelling import metrics, verdict
from ml.modelling.basket import Bools, Floats, Ints
from ml.modelling.discovery import OURS, Measured
from ml.modelling.folds import Strings
from ml.modelling.metrics import Estimate
from ml.modelling.model import Model
from ml.modelling.rules import Score
from ml.modelling.verdict import Verdict
from ml.settings import AUTO, Settings
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
        self.differences: dict[str, dict[str, Estimate]] = {}
        self.verdict: Verdict | None = None
        self.discovered: Measured | None = None
        self.is_auto = settings.model == AUTO

    def add(
        self, test: Examples, models: Mapping[str, Predictions], beside: Mapping[str, Score]
    ) -> None:
        """Measure models, and the scores beside them, on all rows."""
        scores = {name: predicted.score() for name, predicted in models.items()}
        for name, score in (dict(beside) | scores).items():
            self.figures[name] = self._measure(test, score)
            self._note(name, "all", self.figures[name], test.offsets)

    def add_paired(
        self, test: Examples, predicted: Predictions, beside: Mapping[str, Score]
    ) -> None:
        """Measure how much better the model is than the best baseline, the segment ``over=NAME``.

        A baseline chooses no rows.
        """
        baselines = [
            name for name, score in beside.items() if score.chosen is None and name != self.model
        ]
        best = max(baselines, key=lambda name: self.figures[name]["auc"].value)
        self.paired = self.difference(test, predicted, beside[best])
        if self.paired:
            self.best = best
            self._note(self.model, f"over={best}", self.paired, test.offsets)

    def add_differences(
        self, test: Examples, predicted: Predictions, others: Mapping[str, Score]
    ) -> None:
        """Measure how much better the model is than each of some scores, on the same shoppers."""
        for name, other in others.items():
            self.differences[name] = self.difference(test, predicted, other)

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

    def add_verdict(
        self, test: Examples, predicted: Predictions, beside: Mapping[str, Score]
    ) -> None:
        """Compare the model with the best baseline, shopper by shopper."""
        self.verdict = compare_with_rules(
            self.task, test, self.model, predicted, qualities(self.task, test, beside), self.seed
        )

    def said(self) -> str:
        """Return the verdict in words; empty if there is none."""
        if (found := self.verdict) is None:
            return ""
        model, rule = (name.replace("_", " ") for name in (self.model, found.rule))
        conclusion = {
            verdict.BETTER: "the difference is real",
            verdict.WORSE: f"the difference is real, and {rule} is better",
            verdict.CHANCE: "the difference may be chance",
        }[found.verdict]
        is_simple = self.model in self.task.simple
        if found.verdict != verdict.BETTER and not (self.is_auto or is_simple):
            conclusion += '. With model = "auto", a simple rule is served if it predicts better'
        which = "other" if is_simple else "simple"
        return (
            f"{model} is better than {rule}, the best {which} rule, for {found.better:.0%} of "
            f"{found.shoppers:,} test shoppers and worse for {found.worse:.0%}: {conclusion}"
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

    def said_discovery(self) -> str:
        """Return how good the lists of new products are, in words; empty if there are none."""
        if not (found := self.discovered):
            return ""
        recall, other = (
            100 * found.figures[name]["recall_at_10"].value for name in (OURS, "popularity")
        )
        gain = [100 * end for end in found.differences["popularity"]["recall_at_10"]]
        return (
            f"new products: the lists of ten have {recall:.1f}% of those that {found.shoppers:,} "
            f"test shoppers bought, popular products {other:.1f}%; the difference is "
            f"{gain[0]:+.1f} points ({gain[1]:+.1f} to {gain[2]:+.1f})"
        )

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

    def add_earlier(
        self, name: str, test: Examples, probability: Floats, beside: Mapping[str, Score]
    ) -> None:
        """Measure the model and the scores beside it on earlier rows, as the segment ``name``."""
        for model, score in (dict(beside) | {self.model: Score(probability, True)}).items():
            self._note(model, name, self._measure(test, score), test.offsets)

    def write(
        self,
        con: duckdb.DuckDBPyConnection,
        test: Examples,
        predicted: Predictions,
        version: str = "",
    ) -> None:
        """Append the metrics, the calibration bins and the verdict to their tables.

        With ``version``, record that they are the figures of a model version.
        """
        if version:
            measured = [self.run_id, self.task.name, version]
            con.execute("insert into ml.evaluations values (?, ?, ?)", measured)
        self._append(con, self.task.written("metrics"), self.rows)
        if lists := self.discovery_rows():
            self._append(con, "ml.discovery_metrics", lists)
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
        if (found := self.verdict) is not None:
            ends = [None if np.isnan(end) else end for end in found.difference[1:]]
            con.execute(
                "insert into ml.verdicts values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    *(self.run_id, self.task.name, self.protocol, self.task.rule.judged_by),
                    *(self.model, found.rule, found.shoppers, found.better, found.worse),
                    *(1 - found.better - found.worse, found.difference.value, *ends, found.verdict),
                ],
            )

    def discovery_rows(self) -> list[Row]:
        """Return the figures of lists of new products as rows of ``ml.discovery_metrics``."""
        if not (found := self.discovered):
            return []
        counts = {"shoppers": found.shoppers, "rows": found.rows}
        rows: list[Row] = []
        for name, figures in found.figures.items():
            rows += self._rows(name, "all", _flat(figures) | counts)
        for name, differences in found.differences.items():
            rows += self._rows(OURS, f"over={name}", _flat(differences))
        return rows

    def _append(self, con: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Row]) -> None:
        names = ("run_id", "model_name", "split", "protocol", "segment", "metric", "value")
        append(con, table, pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))))

    def _measure(self, test: Examples, score: Score) -> dict[str, Estimate]:
        return self.task.rule.measure(
            score, test.label, test.key.to_numpy(), test.offsets, seed=self.seed
        )

    def _note(
        self, name: str, segment: str, estimates: Mapping[str, Estimate], offsets: Ints
    ) -> None:
        values = _flat(estimates)
        values |= {"shoppers": len(offsets) - 1, self.task.table.rows: int(offsets[-1])}
        self.rows += self._rows(name, segment, values)

    def _rows(self, name: str, segment: str, values: Mapping[str, float]) -> list[Row]:
        return [
            (self.run_id, name, "test", self.protocol, segment, metric, float(value))
            for metric, value in values.items()
        ]


def _flat(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    """Return the values and the ends of the intervals that are defined, by name."""
    return {
        metric + suffix: value
        for metric, estimate in estimates.items()
        for suffix, value in zip(("", "_low", "_high"), estimate, strict=True)
        if not np.isnan(value)
    }


def qualities(task: Task, test: Examples, beside: Mapping[str, Score]) -> dict[str, Floats]:
    """Return the quality of every baseline for each test shopper. A baseline chooses no rows."""
    return {
        name: task.rule.quality(score, test.label, test.offsets)
        for name, score in beside.items()
        if score.chosen is None
    }


def compare_with_rules(
    task: Task,
    test: Examples,
    model: str,
    predicted: Predictions,
    rules: Mapping[str, Floats],
    seed: int,
) -> Verdict | None:
    """Compare a model, by its name, with the best of the baselines other than itself."""
    quality = task.rule.quality(predicted.score(), test.label, test.offsets)
    others = {name: of_rule for name, of_rule in rules.items() if name != model}
    return verdict.compare(quality, others, seed=seed)
