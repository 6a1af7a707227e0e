"""The library for notebooks: examples as a data frame, models to fit and compare, and reasons.

``from ml import evaluate, examples, features, fit, why`` imports all of it. Every function reads
the workspace that the settings name, and only reads.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import duckdb
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from ml.errors import SettingsError
from ml.jobs import reorder, train
from ml.jobs.evaluation_report import EvaluationReport, Predictions
from ml.jobs.task import REORDER
from ml.modelling.basket import Bools
from ml.modelling.folds import part_in_fold, place, spaced
from ml.modelling.model import Model
from ml.serving import why as reasons
from ml.settings import DEFAULT_MODEL, Settings
from ml.warehouse import connection, feature_list, sampling
from ml.warehouse import examples as pairs
from ml.warehouse.examples import SPLITS, Examples
from ml.warehouse.feature_list import Feature

Estimator: TypeAlias = str | BaseEstimator | tuple[str, BaseEstimator]
"""A model by its name, a scikit-learn classifier, or a classifier with a name for it."""


def features() -> pd.DataFrame:
    """Return what each feature means, one row per feature, in the order of `examples`.

    Returns:
        The columns ``group`` and ``description``, indexed by ``feature``.

    Raises:
        RestockError: dbt has not run yet.
    """
    listed = feature_list.features(_settings())
    return pd.DataFrame(
        [(feature.group, feature.description) for feature in listed],
        columns=["group", "description"],
        index=pd.Index([feature.name for feature in listed], name="feature"),
    )


def examples(cutoff: int = 1, split: str = "train") -> pd.DataFrame:
    """Return the pairs of a cutoff, one row per shopper and product bought before.

    Args:
        cutoff: 1 is just before each shopper's last order, 2 before the one before that. 0 is now:
            its pairs have no label yet.
        split: ``train``, ``validation`` or ``test``. A shopper is in one of them, at every cutoff.
            With too few test shoppers, they are the parts of the first fold.

    Returns:
        ``label``, 1 if the order contains the product and else 0, and the features as float32 with
        NaN for missing values, indexed by ``user_id`` and ``product_id``.

    Raises:
        ValueError: there is no such split.
        RestockError: there is no warehouse, or it has no such pairs or too few labelled shoppers.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split '{split}': choose one of {', '.join(SPLITS)}")
    settings = _settings()
    columns = feature_list.features(settings)
    with _warehouse(settings) as con:
        few = REORDER.measured_by_folds(con)
        found = pairs.read(con, columns, cutoffs=[int(cutoff)], splits=SPLITS if few else [split])
        labelled = con.sql("select user_id from targets where cutoff = 1").to_arrow_table()
    if few:  # the parts are those that `fit` learns from
        place_of = spaced(found.user_id, labelled.column("user_id"))
        found = found.of(part_in_fold(place_of, 0, train.FOLDS) == split)
    keys = [found.user_of_pair().to_pandas(), found.key.to_pandas()]
    index = pd.MultiIndex.from_arrays(keys, names=["user_id", "product_id"])
    frame = pd.DataFrame(found.X, index, [column.name for column in columns])
    if cutoff:
        frame.insert(0, "label", found.label)
    return frame


@dataclass(frozen=True)
class FittedModel:
    """A model that is fitted on training shoppers and calibrated on validation shoppers.

    Attributes:
        name: name of the estimator.
        features: names of the features that it reads.
        model: the fitted pipeline, its calibrator and the rule for baskets.
    """

    name: str
    features: list[str]
    model: Model

    def predict(self, examples: pd.DataFrame) -> pd.Series:
        """Return the calibrated probability of each row of `examples`, with the same index.

        Raises:
            KeyError: the frame lacks a feature.
        """
        X = examples[self.features].to_numpy(np.float32)
        return pd.Series(self.model.predict(X), examples.index, name="reorder_probability")


def fit(estimator: Estimator = DEFAULT_MODEL) -> FittedModel:
    """Fit an estimator as `restock train` does, and register nothing.

    The training examples are those of the training shoppers at every cutoff, or a weighted sample
    of about ``training_rows`` of them. The probabilities are calibrated on validation shoppers.

    Args:
        estimator: a model of ``ml/modelling/estimators.py``, a simple rule of
            ``ml/modelling/baselines.py`` or ``auto`` by its name; or a scikit-learn classifier with
            ``predict_proba``, whose ``fit`` takes ``sample_weight``. It gets a data frame with the
            columns of `features`, and stays unfitted itself: a clone is fitted.

    Raises:
        SettingsError: the model is unknown.
        RestockError: there is no warehouse, or it has too few labelled shoppers.
        TypeError: the estimator is no such classifier.
        ValueError: a part of it is frozen.
    """
    settings = _settings()
    columns = feature_list.features(settings)
    ((name, pipeline),) = _pipelines(settings, columns, [estimator]).items()
    with _warehouse(settings) as con:
        few = REORDER.measured_by_folds(con)
        learned, held = _learned(con, settings, columns, everyone=few)
    if few:
        learned, held = train.divided(learned, held, fold=0)
    model = train.fit(settings.for_model(name), columns, learned, held, pipeline=pipeline)
    return FittedModel(name, [column.name for column in columns], model)


def evaluate(*estimators: Estimator, folds: int = 0) -> pd.DataFrame:
    """Measure estimators on shoppers that they never saw, beside the baselines.

    Each estimator is cloned, fitted and calibrated as `fit` does, on shoppers other than those that
    measure it. What it learned before does not count, so no shopper is both learned from and
    measured on. See docs/evaluation.md for the protocol and the metrics.

    Args:
        estimators: as for `fit`. The first is compared with each of the others.
        folds: 0 measures on the test shoppers. A larger number measures on all shoppers, each of
            them a test shopper once. With too few test shoppers, 0 stands for five folds.

    Returns:
        A row for each metric and model, indexed by ``metric`` and ``model``: ``value``, and the 95%
        interval from ``low`` to ``high``; ``difference``, the first estimator minus this model on
        the same shoppers, with its interval from ``difference_low`` to ``difference_high``. A value
        that is undefined is NaN. The ``attrs`` of the frame have the ``protocol``, and the number
        of ``shoppers`` and ``pairs`` that it is measured on.

    Raises:
        SettingsError: a model is unknown, or there are too few shoppers for so many folds.
        RestockError: there is no warehouse, or it has too few labelled shoppers.
        TypeError: there is no estimator, or one is no classifier that `fit` accepts.
        ValueError: two estimators have one name, a part of one is frozen, or ``folds`` is 1.
    """
    if not estimators:
        raise TypeError("evaluate() needs an estimator, such as 'gradient_boosting'")
    if folds < 0 or folds == 1:
        raise ValueError(f"folds={folds}: use 2 or more, or 0 for the test shoppers")
    settings = _settings()
    columns = feature_list.features(settings)
    pipelines = _pipelines(settings, columns, estimators)
    with _warehouse(settings) as con:
        few = REORDER.measured_by_folds(con)
        folds = folds or (train.FOLDS if few else 0)
        learned, held = _learned(con, settings, columns, everyone=folds > 0)
        test = pairs.read(con, columns, cutoffs=[1], splits=SPLITS if folds else ["test"])
        beside = reorder.beside(settings, con, columns, test)
    predicted = {name: Predictions.empty(len(test)) for name in pipelines}
    for training, validation, is_test in _folds(learned, held, test, folds, few):
        part, rows = test.of(is_test), np.repeat(is_test, np.diff(test.offsets))
        for name, pipeline in pipelines.items():
            model = train.fit(
                settings.for_model(name), columns, training, validation, pipeline=pipeline
            )
            predicted[name].fill(rows, Predictions.of(model, part))
    first = next(iter(pipelines))
    report = EvaluationReport(settings, first, f"{folds}-fold" if folds else "holdout")
    report.add(test, predicted, beside)
    others = beside | {name: each.score() for name, each in predicted.items()}
    left_out = (first, reorder.CEILING)
    others = {name: score for name, score in others.items() if name not in left_out}
    report.add_differences(test, predicted[first], others)
    table = _table(report, [*pipelines, *(name for name in beside if name not in pipelines)])
    table.attrs = {
        "protocol": report.protocol,
        "shoppers": len(test.user_id),
        "pairs": len(test),
    }
    return table


def why(user_id: Any, product_id: Any) -> dict[str, Any]:
    """Return what the published probability of a pair is made of, as `restock why --json` prints.

    Returns:
        The pair's scores and its reason; ``history``, a row for each purchase; ``contributions``, a
        row for each feature, the largest part of the log-odds first. See `ml.serving.why.why`.

    Raises:
        RestockError: nothing is published, or the shopper never bought the product.
    """
    return reasons.why(_settings(), str(user_id), str(product_id))


def _settings() -> Settings:
    settings = Settings.load()
    settings.prepare_workspace()
    return settings


def _warehouse(settings: Settings) -> Any:
    return connection.connect(settings, read_only=True)


def _pipelines(
    settings: Settings, columns: list[Feature], estimators: Sequence[Estimator]
) -> dict[str, Pipeline | None]:
    """Return each estimator's name and unfitted pipeline, which is None for a model by name."""
    found: dict[str, Pipeline | None] = {}
    for each in estimators:
        if isinstance(each, str):
            if each not in REORDER.simple:  # an unknown model is reported before the slow read
                train.unfitted(settings.for_model(each))
            name, pipeline = each, None
        else:
            name, classifier = each if isinstance(each, tuple) else ("", each)
            pipeline = _pipeline(classifier, columns)
            name = name or type(pipeline[-1]).__name__
        if name in found:
            raise ValueError(f"two estimators are named {name}: pass (name, classifier) for one")
        found[name] = pipeline
    return found


def _pipeline(classifier: Any, columns: list[Feature]) -> Pipeline:
    """Return an unfitted pipeline of a classifier that gets a data frame with the features.

    Raises:
        TypeError: the classifier has no ``predict_proba``, or cannot be fitted with weights.
        ValueError: a part of it is frozen, and may have learned from test shoppers.
    """
    said = type(classifier).__name__
    if not hasattr(classifier, "get_params") or isinstance(classifier, type):
        raise TypeError(
            f"{classifier!r} is no estimator: pass a model's name, an instance of a scikit-learn "
            "classifier, or (name, classifier)"
        )
    parts = [classifier, *classifier.get_params().values()]
    if any(isinstance(part, FrozenEstimator) for part in parts):
        raise ValueError(
            f"a part of {said} is frozen, and may have learned from test shoppers: leave out "
            "FrozenEstimator, so that it is fitted on training shoppers"
        )
    is_pipeline = isinstance(classifier, Pipeline)
    steps = classifier.steps if is_pipeline else [("classifier", classifier)]
    last = steps[-1][1]
    if not hasattr(last, "predict_proba"):
        raise TypeError(f"{said} has no predict_proba, and Restock predicts probabilities")
    taken = inspect.signature(last.fit).parameters.values()
    if not any(p.name == "sample_weight" or p.kind == p.VAR_KEYWORD for p in taken):
        raise TypeError(
            f"the fit of {said} takes no sample_weight, and training examples are weighted"
        )
    named = FunctionTransformer(_frame, kw_args={"columns": [column.name for column in columns]})
    return Pipeline([("restock_features", named), *steps])


def _frame(X: Any, columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(X, columns=columns)


def _learned(
    con: duckdb.DuckDBPyConnection, settings: Settings, columns: list[Feature], *, everyone: bool
) -> tuple[sampling.Sample, Examples]:
    """Return training examples and the pairs that calibrate, of their shoppers or of everyone."""
    learned = train.draw(con, columns, settings, part="labelled" if everyone else "train")
    cutoffs, splits = sampling.held_cutoffs(con), SPLITS if everyone else ["validation"]
    return learned, pairs.read(con, columns, cutoffs=cutoffs, splits=splits)


def _folds(
    learned: sampling.Sample, held: Examples, test: Examples, folds: int, few: bool
) -> Iterator[tuple[sampling.Sample, Examples, Bools]]:
    """Yield training and validation shoppers, and a mask of the test shoppers, fold by fold.

    Raises:
        SettingsError: a fold has no test or no validation shopper.
    """
    if not folds:
        yield learned, held, np.ones(len(test.user_id), dtype=bool)
        return
    place_of = partial(spaced, everyone=held.user_id) if few else place
    places = [place_of(each.user_id) for each in (learned, held, test)]
    for fold in range(folds):
        training, validation, tested = (part_in_fold(each, fold, folds) for each in places)
        is_test = tested == "test"
        if not is_test.any() or not (validation == "validation").any():
            raise SettingsError(
                f"{len(test.user_id)} shoppers with a labelled order are too few for {folds} "
                "folds. Use fewer folds or add shoppers."
            )
        yield learned.of(training == "train"), held.of(validation == "validation"), is_test


def _table(report: EvaluationReport, names: list[str]) -> pd.DataFrame:
    """Return the figures and differences of a report, by metric and then by model."""
    metrics = list(report.figures[report.model])
    undefined = (np.nan,) * 3
    rows = {
        (metric, name): (
            *report.figures[name].get(metric, undefined),
            *report.differences.get(name, {}).get(metric, undefined),
        )
        for metric in metrics
        for name in names
    }
    columns = ["value", "low", "high"]
    return pd.DataFrame(
        rows.values(),
        pd.MultiIndex.from_tuples(rows, names=["metric", "model"]),
        [*columns, "difference", *(f"difference_{end}" for end in columns[1:])],
    )
