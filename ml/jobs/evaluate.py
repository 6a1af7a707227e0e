"""The evaluation job: how good models are on shoppers that they never saw, beside the baselines.

Two protocols with the same figures (docs/evaluation.md): *holdout*, the production model on the
test shoppers, and *k-fold*, every estimator fitted k times, so that each shopper is a test shopper
once. Both look at the orders of cutoff 1.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.metrics import roc_auc_score

from ml.errors import SettingsError
from ml.jobs import card, context, train
from ml.modelling import baselines, estimators, metrics
from ml.modelling.basket import Bools, Floats, Ints
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse import examples
from ml.warehouse.dbt import Feature, Progress, features
from ml.warehouse.examples import SPLITS, Examples

Strings = npt.NDArray[np.str_]
Row = tuple[str, str, str, str, str, str, float]

VALIDATION_SHARE = 0.1
"""Of all shoppers, in each fold; as in the standing split."""
OTHERS_ROWS = 100_000
"""Pairs that the estimators beside the one that is set are trained on: they take much longer."""
CURVE = (1 / 8, 1 / 4, 1 / 2)
"""Shares of the training shoppers of the first fold: the learning curve, beside all of them."""
IMPORTANCE_PAIRS = 20_000
"""Pairs that permutation importance looks at: enough for an AUC to the third digit."""
HISTORY = {
    3: "3 to 4 orders",
    5: "5 to 9 orders",
    10: "10 to 19 orders",
    20: "20 or more orders",
}
"""Segments by past orders, each named from its smallest number on."""


@dataclass(frozen=True)
class Predictions:
    """What a model says of test shoppers: a probability and a basket, both of shape (n_pairs,)."""

    probability: Floats
    in_basket: Bools

    @classmethod
    def of(cls, model: versions.Model, test: Examples) -> "Predictions":
        """Predict the orders of some shoppers."""
        probability = model.predict(test.X)
        return cls(probability, model.basket(probability, test.offsets))

    def pairs(self, rows: Bools) -> "Predictions":
        """Return those of some pairs."""
        return Predictions(self.probability[rows], self.in_basket[rows])

    @classmethod
    def empty(cls, pairs: int) -> "Predictions":
        """Leave room for the predictions of every fold."""
        return cls(np.full(pairs, np.nan), np.zeros(pairs, dtype=bool))

    def fill(self, rows: Bools, part: "Predictions") -> None:
        """Put in what the model of one fold says of its test shoppers."""
        self.probability[rows], self.in_basket[rows] = part.probability, part.in_basket


def evaluate(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Measure the production model and the baselines on test shoppers at cutoff 1.

    Writes ``ml.metrics``, ``ml.calibration_bins``, ``ml.test_predictions``,
    ``ml.feature_importance`` and the metrics in the model's json.

    Raises:
        RestockError: if there is no model or no labelled test shopper.
    """
    columns = features(settings)
    model, trained = versions.load(settings.models, columns)
    name = trained["model_name"]
    report = Report(settings, name, "holdout")
    with examples.connect(settings) as con:
        progress("reading examples", 0, 5)
        test = examples.read(con, columns, cutoffs=[1], splits=["test"])
        progress("guessing their context as at serving", 1, 5)
        typical = replace(test, X=context.typical(settings, con, columns, test, splits=["test"]))
        progress(f"scoring {len(test):,} pairs of test shoppers", 2, 5)
        predicted = Predictions.of(model, test)
        report.add(test, {name: predicted}, _baselines(con, columns, test))
        for segment in _segments(con, columns, test):
            report.add_segments(test, predicted, segment)
        report.add_segment("context=typical", typical, Predictions.of(model, typical))
        report.add_segment(_size(trained["training_shoppers"]), test, predicted)
        progress("shuffling one feature after the other", 3, 5)
        importance = _importance(model, columns, test, settings.seed)
        progress("writing ml.metrics", 4, 5)
        with examples.transaction(con):
            report.write(con, test, predicted)
            _write_test_predictions(con, report.run_id, test, predicted)
            con.executemany(
                "insert into ml.feature_importance values (?, ?, ?, ?, ?)",
                [(report.run_id, name, *row) for row in importance],
            )
    figures = {metric: estimate.value for metric, estimate in report.figures[name].items()}
    versions.add_metrics(settings.models, {"run_id": report.run_id, "split": "test", **figures})
    progress("measured", 5, 5)
    return {"rows": len(test), "run_id": report.run_id, "figures": report.figures}


def cross_validate(
    settings: Settings, progress: Progress, folds: int, model_card: Path | None = None
) -> dict[str, Any]:
    """Measure every estimator and baseline at cutoff 1, each shopper once as a test shopper.

    In a fold, shoppers are trained, validated and tested on as by `train.train` and `evaluate`.
    Writes ``ml.metrics``, ``ml.calibration_bins`` and, where one is asked for, the model card;
    nothing is registered.

    Raises:
        RestockError: if there are too few shoppers for so many folds.
    """
    columns = features(settings)
    report = Report(settings, settings.model, f"{folds}-fold")
    with examples.connect(settings) as con:
        progress("reading examples", 0, folds + 2)
        learned = train.sample(con, columns, settings, splits=SPLITS)
        held = examples.read(con, columns, cutoffs=train.held_cutoffs(con), splits=SPLITS)
        test = examples.read(con, columns, cutoffs=[1], splits=SPLITS)
        typical = context.typical(settings, con, columns, test, splits=SPLITS)
        scores, segments = _baselines(con, columns, test), _segments(con, columns, test)
    models = {name: Predictions.empty(len(test)) for name in estimators.ESTIMATORS}
    main, as_served = models[settings.model], Predictions.empty(len(test))
    test_place, held_place = place(test.user_id), place(held.user_id)
    learned_place = place(learned.user_id)
    rng = np.random.default_rng(settings.seed)
    for fold in range(folds):
        test_part = part_in_fold(test_place, fold, folds)
        rows = np.repeat(test_part == "test", np.diff(test.offsets))
        part, newest = test.of(test_part == "test"), test.of(test_part == "validation")
        validation = held.of(part_in_fold(held_place, fold, folds) == "validation")
        training = learned.of(part_in_fold(learned_place, fold, folds) == "train")
        if not len(part) or not len(validation):
            raise SettingsError(
                f"{len(test.user_id)} shoppers with a labelled order are too few for {folds} folds"
            )
        few = training.of(rng.random(len(training)) < OTHERS_ROWS / len(training))
        for step, name in enumerate(models):
            progress(f"fold {fold + 1}: {name}", fold * len(models) + step, folds * len(models))
            if name == settings.model:
                model = train.fit(settings, training, validation)
                as_served.fill(rows, Predictions.of(model, replace(part, X=typical[rows])))
            else:
                model = train.fit(settings.for_model(name), few, newest)
            models[name].fill(rows, Predictions.of(model, part))
        if fold == 0:
            report.add_segment(_size(len(np.unique(training.user_id))), part, main.pairs(rows))
            # Nested samples of shoppers, by a part of the hash that folds do not use.
            order = place(training.user_id, digit=8)
            for share in CURVE:
                progress("learning curve", len(models), folds * len(models))
                some = training.of(order < share)
                model = train.fit(settings, some, newest)
                report.add_segment(
                    _size(len(np.unique(some.user_id))), part, Predictions.of(model, part)
                )
    progress("computing figures", folds, folds + 2)
    report.add(test, models, scores)
    for segment in segments:
        report.add_segments(test, main, segment)
    report.add_segment("context=typical", test, as_served)
    with examples.connect(settings) as con, examples.transaction(con):
        report.write(con, test, main)
        ((newest_order,),) = con.execute(
            "select cast(max(ordered_at) as date) from fct_orders where not is_open"
        ).fetchall()
    if model_card:
        bins = metrics.reliability_bins(main.probability, test.label)
        card.write(model_card, settings, columns, report.protocol, report.rows, bins, newest_order)
    progress("measured", folds + 2, folds + 2)
    return {"rows": len(test), "run_id": report.run_id, "figures": report.figures}


class Report:
    """The figures of one evaluation run, gathered and then written."""

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
        """Measure the model on the pairs of each segment; ``segment`` names that of every pair."""
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
        """Measure the model on all pairs under another name."""
        self._note(self.model, name, self._measure(test, predicted), test.offsets)

    def write(self, con: duckdb.DuckDBPyConnection, test: Examples, predicted: Predictions) -> None:
        """Append to ``ml.metrics`` and ``ml.calibration_bins``."""
        names = ("run_id", "model_name", "split", "protocol", "segment", "metric", "value")
        rows = pa.table(dict(zip(names, zip(*self.rows, strict=True), strict=True)))
        examples.append(con, "ml.metrics", rows)
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
        examples.append(con, "ml.calibration_bins", table)

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


def place(user_id: npt.NDArray[Any] | pa.Array, digit: int = 0) -> Floats:
    """Return where on the circle from 0 to 1 the hash puts each shopper, the same everywhere.

    With ``digit`` 0 these are the digits that the standing split of ``targets`` goes by.
    """
    distinct, code = np.unique(np.asarray(user_id), return_inverse=True)
    digests = (hashlib.md5(str(user).encode()).hexdigest() for user in distinct)
    return np.array([int(digest[digit : digit + 4], 16) / 16**4 for digest in digests])[code]


def part_in_fold(place: Floats, fold: int, folds: int) -> Strings:
    """Name the part that shoppers have in a fold.

    Test shoppers are an arc of the circle, validation shoppers the tenth that follows: the first
    of five folds is the standing split, and each further one turns it by a fifth.
    """
    after = (place - (fold + 1) / folds) % 1
    part = np.where(after < VALIDATION_SHARE, "validation", "train")
    return np.where(np.floor(place * folds) == fold, "test", part)


def _baselines(
    con: duckdb.DuckDBPyConnection, columns: Sequence[Feature], test: Examples
) -> dict[str, Floats]:
    """Score the pairs by what needs no training: the shoppers' own past, and that of others."""
    by_name = dict(zip((column.name for column in columns), test.X.T, strict=True))
    past = con.sql(
        "select user_id, product_id, order_number from past_items where cutoff = 1"
    ).to_arrow_table()
    users, user = np.unique(past.column("user_id").to_numpy(), return_inverse=True)
    products, product = np.unique(past.column("product_id").to_numpy(), return_inverse=True)
    order_number = past.column("order_number").to_numpy()
    orders = np.zeros(len(users), dtype=np.int64)
    np.maximum.at(orders, user, order_number)
    return baselines.scores(by_name) | baselines.peers(
        baselines.Past(user, product, order_number, orders),
        np.repeat(np.searchsorted(users, np.asarray(test.user_id)), np.diff(test.offsets)),
        np.searchsorted(products, test.product_id.to_numpy()),
    )


def _segments(
    con: duckdb.DuckDBPyConnection, columns: Sequence[Feature], test: Examples
) -> list[Strings]:
    """Name the segments of each pair: by context, by the shopper's history, by department."""
    departments = dict(con.execute("select product_id, department from dim_products").fetchall())
    orders = test.X[:, [column.name for column in columns].index("user_order_count")]
    names = np.array([f"history={name}" for name in HISTORY.values()])
    return [
        np.full(len(test), "context=order"),
        names[np.searchsorted(list(HISTORY), orders, side="right") - 1],
        np.array([f"department={departments[id]}" for id in test.product_id.to_pylist()]),
    ]


def _size(shoppers: int) -> str:
    """Name the point of the learning curve that so many training shoppers are."""
    return f"training_shoppers={shoppers}"


def _importance(
    model: versions.Model, columns: Sequence[Feature], test: Examples, seed: int
) -> Iterator[tuple[str, str, float]]:
    """Yield each feature, its group, and the AUC that is lost where its values are shuffled.

    Permutation importance (Breiman 2001, "Random forests", section 10), on whole test shoppers.
    """
    some = test.of(test.offsets[:-1] < IMPORTANCE_PAIRS)
    auc = roc_auc_score(some.label, model.predict(some.X))
    order = np.random.default_rng(seed).permutation(len(some))
    for j, column in enumerate(columns):
        kept = some.X[:, j].copy()
        some.X[:, j] = kept[order]
        loss = auc - roc_auc_score(some.label, model.predict(some.X))
        some.X[:, j] = kept
        yield column.name, column.group, float(loss)


def _write_test_predictions(
    con: duckdb.DuckDBPyConnection, run_id: str, test: Examples, predicted: Predictions
) -> None:
    con.execute("delete from ml.test_predictions")
    table = pa.table(
        {
            "run_id": pa.repeat(run_id, len(test)),
            "user_id": test.user_of_pair(),
            "product_id": test.product_id,
            "reorder_probability": predicted.probability.astype(np.float32),
            "in_basket": predicted.in_basket,
        }
    )
    examples.append(con, "ml.test_predictions", table)
