"""The evaluation job: measures models and baselines on rows that no model was trained on.

Two protocols compute the same metrics (docs/evaluation.md). *Holdout* measures the production model
on the part ``test`` of its task. *K-fold* fits every estimator k times, so that each shopper is a
test shopper once; it is for pairs, and uses the orders of cutoff 1. With too few test shoppers,
folds of the production model take the place of the holdout.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from sklearn.metrics import roc_auc_score

from ml.errors import SettingsError
from ml.jobs import discovery, model_card, reorder, train, typical_context
from ml.jobs.evaluation_report import EvaluationReport, Predictions
from ml.jobs.reorder import HISTORY as HISTORY
from ml.jobs.task import REORDER, TASKS, Task, features_of
from ml.modelling import estimators, metrics
from ml.modelling.basket import expected_f1_basket, of_known_size
from ml.modelling.folds import part_in_fold, place, spaced
from ml.modelling.model import Model
from ml.progress import Progress
from ml.registry import versions
from ml.settings import AUTO, DEFAULT_MODEL, HYBRID, SEQUENTIAL, Settings
from ml.warehouse import connection, examples, sampling
from ml.warehouse.examples import SPLITS, Examples
from ml.warehouse.feature_list import Feature, features, sequences

OTHERS_ROWS = 100_000
"""Training rows of every estimator but the configured one, because the others are much slower."""
CURVE = (1 / 8, 1 / 4, 1 / 2)
"""Shares of the first fold's training shoppers on the learning curve, which ends with all."""
IMPORTANCE_ROWS = 20_000
"""Rows used for permutation importance: enough for the third digit of an AUC."""
COMPARED = ("auc", "average_precision", "log_loss")
"""Metrics whose difference to the best baseline is in the summary."""


def evaluate(
    settings: Settings,
    progress: Progress,
    task: Task = REORDER,
    candidate: str = "",
    *,
    peers: bool = False,
    card: Path | None = None,
) -> dict[str, Any]:
    """Measure the production model and the baselines on the part ``test`` of a task.

    With ``candidate``, the name of a version, measure that one instead. If another version is in
    production, the tables belong to that one, and only the metrics in the JSON file are written.
    With ``peers``, also train every other estimator on the part ``train`` and measure it. With
    ``card``, also write the task's section of the model card.

    Writes ``ml.metrics``, ``ml.calibration_bins``, ``ml.test_predictions`` and
    ``ml.feature_importance``, or the tables of the task with the same ends of their names, and
    ``ml.verdicts``. Adds the metrics to the model's JSON file. With too few test shoppers, folds
    measure the model instead, and no feature importance is written.

    Raises:
        RestockError: if there is no model or too few labelled shoppers.
        SettingsError: if a card of the task needs folds, or folds take the place of the holdout
            and measure no peers.
    """
    if card and task.rule.is_per_shopper:
        raise SettingsError(f"--card requires --folds for the task {task.name}")
    columns = features_of(settings, task, candidate)
    model, trained = versions.load_measured(settings.models, columns, candidate or task.alias)
    serving = versions.production(settings.models, task.alias)
    is_served = candidate in ("", serving.name) or not serving.exists()
    with connection.connect(settings, read_only=True) as con:
        by_folds = task.measured_by_folds(con)
    if by_folds and peers:
        raise SettingsError("there are too few test shoppers for --peers. Use --folds 5.")
    if by_folds:
        own = settings.for_model(trained["model_name"])
        report, test, predicted = _by_folds(own, progress, columns)
        with connection.connect(settings) as con, connection.transaction(con):
            if is_served:
                report.write(con, test, predicted, trained["model_version"])
                _write_test_predictions(con, report, test, predicted)
            tested = sampling.labelled_shoppers(con)["test"]
        note = (
            f"too few test shoppers ({tested}) to measure the model: the figures are from "
            f"{train.FOLDS} folds, in which each of the {len(test.user_id)} shoppers is a test "
            "shopper once"
        )
    else:
        report, test = _holdout(
            settings, progress, columns, model, trained, task, is_served, peers, card
        )
        note = report.comparison(COMPARED)
    estimates = report.figures[trained["model_name"]]
    figures = {name: e.value for name, e in estimates.items() if not np.isnan(e.value)}
    measured = {"run_id": report.run_id, "split": "test", "protocol": report.protocol}
    versions.add_metrics(
        settings.models,
        measured | figures,
        candidate or task.alias,
        run_id=report.run_id if is_served else "",
    )
    return {
        "rows": len(test),
        "run_id": report.run_id,
        "figures": report.figures,
        "differences": report.differences,
        "notes": [report.said_discovery()],
        "note": note,
        "verdict": report.said(),
    }


def evaluate_version(settings: Settings, progress: Progress, version: str) -> dict[str, Any]:
    """Measure a version that is not in production, whatever its task; see `evaluate`.

    Raises:
        SettingsError: the version is in production.
    """
    card = versions.metadata(settings.models, version)
    task = TASKS[versions.task_of(card)]
    if versions.production(settings.models, task.alias).name == card["model_version"]:
        raise SettingsError(f"{version} is in production. Leave out --model.")
    return evaluate(settings, progress, task, card["model_version"])


def _holdout(
    settings: Settings,
    progress: Progress,
    columns: Sequence[Feature],
    model: Model,
    trained: dict[str, Any],
    task: Task,
    is_served: bool,
    peers: bool,
    card: Path | None,
) -> tuple[EvaluationReport, Examples]:
    """Measure a model on the part ``test``, and write what was measured if it is served."""
    name = trained["model_name"]
    version = settings.models / trained["model_version"]
    report = EvaluationReport(settings, name, "holdout", task)
    with connection.connect(settings) as con:
        progress("reading examples", 0, 5)
        test = examples.read_part(con, columns, task.parts["test"], task.table)
        progress("reading segments", 1, 5)
        masks, variants = task.segments(settings, con, columns, test)
        progress(f"scoring {len(test):,} {task.table.rows} of test shoppers", 2, 5)
        predicted = Predictions.of(model, test)
        beside = task.beside(settings, con, columns, test)
        models = {name: predicted}
        if peers:
            models |= _peers(settings, progress, con, columns, test, report)
        report.add(test, models, beside)
        report.add_paired(test, predicted, beside)
        report.add_verdict(test, predicted, beside)
        others = {peer: models[peer].score() for peer in models if peer != name}
        report.add_differences(test, predicted, others | (beside if card else {}))
        for mask in masks:
            report.add_segments(test, predicted, mask)
        for segment, X in variants.items():
            variant = replace(test, X=X)
            report.add_segment(segment, variant, Predictions.of(model, variant))
        report.add_segment(_size(trained["training_shoppers"]), test, predicted)
        if not is_served:
            return report, test
        report.discovered = task.measure_lists(con, version, settings.seed)
        for segment, older, scores in task.backtests(con, columns, ["test"]):
            report.add_earlier(segment, older, model.predict(older.X), scores)
        progress("computing feature importance", 3, 5)
        importance = _importance(model, columns, test, settings.seed)
        progress("writing ml.metrics", 4, 5)
        with connection.transaction(con):
            report.write(con, test, predicted, trained["model_version"])
            _write_test_predictions(con, report, test, predicted)
            con.executemany(
                f"insert into {task.written('feature_importance')} values (?, ?, ?, ?, ?)",
                [(report.run_id, name, *row) for row in importance],
            )
    if card:
        progress("writing the model card", 4, 5)
        model_card.write_by_time(card, settings, columns, trained, report, test, predicted)
    progress("evaluated", 5, 5)
    return report, test


def _peers(
    settings: Settings,
    progress: Progress,
    con: duckdb.DuckDBPyConnection,
    columns: Sequence[Feature],
    test: Examples,
    report: EvaluationReport,
) -> dict[str, Predictions]:
    """Train every estimator but the production model's on the part ``train``, and predict."""
    task = report.task
    learned = train.draw(con, columns, settings, task)
    few = np.random.default_rng(settings.seed).random(len(learned)) < OTHERS_ROWS / len(learned)
    held = examples.read_part(con, columns, task.parts["held"], task.table)
    predicted = {}
    for peer in [name for name in estimators.ESTIMATORS if name != report.model]:
        progress(f"fitting {peer}", 2, 5)
        model = train.fit(settings, columns, learned.of(few), held, task, [peer])
        predicted[peer] = Predictions.of(model, test)
    return predicted


def _by_folds(
    settings: Settings, progress: Progress, columns: Sequence[Feature]
) -> tuple[EvaluationReport, Examples, Predictions]:
    """Measure the model where shoppers are few: each is a test shopper in one of five folds."""
    report = EvaluationReport(settings, settings.model, f"{train.FOLDS}-fold")
    with connection.connect(settings) as con:
        progress("reading examples", 0, train.FOLDS + 1)
        learned = train.draw(con, columns, settings, part="labelled")
        held = examples.read(con, columns, cutoffs=sampling.held_cutoffs(con), splits=SPLITS)
        test = examples.read(con, columns, cutoffs=[1], splits=SPLITS)
        typical = typical_context.typical(settings, con, columns, test, splits=SPLITS)
        scores = reorder.beside(settings, con, columns, test)
        segments = reorder.masks(con, columns, test)
        earlier = list(reorder.earlier(con, columns, SPLITS))
        place_of_test = spaced(test.user_id, held.user_id)
        parts = [part_in_fold(place_of_test, fold, train.FOLDS) for fold in range(train.FOLDS)]
        report.discovered = discovery.by_folds(con, test, parts, settings.seed)
    predicted, as_served = Predictions.empty(len(test)), Predictions.empty(len(test))
    of_earlier = [np.empty(len(older)) for _, older, _ in earlier]
    for fold, part_of in enumerate(parts):
        progress(f"fold {fold + 1}", fold, train.FOLDS + 1)
        parts_of_fold = train.divided(learned, held, fold)
        model = train.fit(settings, columns, *parts_of_fold, names=[settings.model])
        is_test = part_of == "test"
        rows, part = np.repeat(is_test, np.diff(test.offsets)), test.of(is_test)
        predicted.fill(rows, Predictions.of(model, part))
        as_served.fill(rows, Predictions.of(model, replace(part, X=typical[rows])))
        for (_, older, _), probability in zip(earlier, of_earlier, strict=True):
            spot = spaced(older.user_id, held.user_id)
            is_test = part_in_fold(spot, fold, train.FOLDS) == "test"
            rows = np.repeat(is_test, np.diff(older.offsets))
            probability[rows] = model.predict(older.X[rows])
    report.add(test, {settings.model: predicted}, scores)
    report.add_verdict(test, predicted, scores)
    for segment in segments:
        report.add_segments(test, predicted, segment)
    report.add_segment("context=typical", test, as_served)
    for (cutoff, older, beside), probability in zip(earlier, of_earlier, strict=True):
        report.add_earlier(cutoff, older, probability, beside)
    progress("evaluated", train.FOLDS + 1, train.FOLDS + 1)
    return report, test, predicted


def cross_validate(
    settings: Settings,
    progress: Progress,
    folds: int,
    card: Path | None = None,
    task: Task = REORDER,
) -> dict[str, Any]:
    """Measure every estimator and baseline at cutoff 1, with each shopper as a test shopper once.

    Each fold trains, validates and tests as `train.train` and `evaluate` do. Writes ``ml.metrics``,
    ``ml.calibration_bins``, ``ml.verdicts`` and, if ``card`` is given, the model card. Registers no
    model. Under ``model = "auto"`` or ``"hybrid"``, it measures the choice of the production model.
    Models of sequences are measured if the settings name one.

    Raises:
        SettingsError: if there are too few shoppers for the number of folds, or the rule of the
            task compares shoppers, which folds would divide.
    """
    if not task.rule.is_per_shopper:
        raise SettingsError(
            f"--folds divides the shoppers, and the task {task.name} compares them on each day. "
            "Leave out --folds: its evaluation is by time."
        )
    columns = features(settings)
    if settings.model in (AUTO, HYBRID):
        settings = settings.for_model(versions.metadata(settings.models)["model_name"])
    report = EvaluationReport(settings, settings.model, f"{folds}-fold")
    with connection.connect(settings) as con:
        progress("reading examples", 0, folds + 2)
        learned = train.draw(con, columns, settings, part="labelled")
        held = examples.read(con, columns, cutoffs=sampling.held_cutoffs(con), splits=SPLITS)
        test = examples.read(con, columns, cutoffs=[1], splits=SPLITS)
        typical = typical_context.typical(settings, con, columns, test, splits=SPLITS)
        scores = reorder.beside(settings, con, columns, test)
        segments = reorder.masks(con, columns, test)
    names = dict.fromkeys((settings.model, *estimators.ESTIMATORS))
    alike = {settings.model}  # trained on the same examples
    if sequences(columns):
        names |= dict.fromkeys(SEQUENTIAL)
        alike |= {DEFAULT_MODEL, *SEQUENTIAL}
    models = {name: Predictions.empty(len(test)) for name in names}
    main, as_served = models[settings.model], Predictions.empty(len(test))
    test_place, held_place = place(test.user_id), place(held.user_id)
    test_parts = [part_in_fold(test_place, fold, folds) for fold in range(folds)]
    learned_place = place(learned.user_id)
    rng = np.random.default_rng(settings.seed)
    for fold in range(folds):
        test_part = test_parts[fold]
        rows = np.repeat(test_part == "test", np.diff(test.offsets))
        part, newest = test.of(test_part == "test"), test.of(test_part == "validation")
        validation = held.of(part_in_fold(held_place, fold, folds) == "validation")
        training = learned.of(part_in_fold(learned_place, fold, folds) == "train")
        if not len(part) or not len(validation):
            raise SettingsError(
                f"{len(test.user_id)} shoppers with a labelled order are too few for {folds} "
                "folds. Use fewer folds or add shoppers."
            )
        few = training.of(rng.random(len(training)) < OTHERS_ROWS / len(training))
        for step, name in enumerate(models):
            progress(f"fold {fold + 1}: {name}", fold * len(models) + step, folds * len(models))
            examples_of = (training, validation) if name in alike else (few, newest)
            model = train.fit(settings, columns, *examples_of, names=[name])
            if name == settings.model:
                as_served.fill(rows, Predictions.of(model, replace(part, X=typical[rows])))
            models[name].fill(rows, Predictions.of(model, part))
        if fold == 0:
            report.add_segment(_size(len(np.unique(training.user_id))), part, main.rows(rows))
            # Nested samples of shoppers, by digits of the hash that the folds do not use.
            order = place(training.user_id, digit=8)
            for share in CURVE:
                progress("learning curve", len(models), folds * len(models))
                some = training.of(order < share)
                model = train.fit(settings, columns, some, newest, names=[settings.model])
                report.add_segment(
                    _size(len(np.unique(some.user_id))), part, Predictions.of(model, part)
                )
    progress("computing metrics", folds, folds + 2)
    report.add(test, models, scores)
    report.add_verdict(test, main, scores)
    others = {name: predicted.score() for name, predicted in models.items()} | scores
    left_out = (settings.model, reorder.CEILING)
    report.add_differences(test, main, {n: s for n, s in others.items() if n not in left_out})
    report.add_segment(reorder.SIZE_KNOWN, test, _of_known_size(main, test))
    for segment in segments:
        report.add_segments(test, main, segment)
    report.add_segment("context=typical", test, as_served)
    with connection.connect(settings) as con, connection.transaction(con):
        report.discovered = discovery.by_folds(con, test, test_parts, settings.seed)
        report.write(con, test, main)
        ((newest_order,),) = con.execute(
            "select cast(max(ordered_at) as date) from fct_orders where not is_open"
        ).fetchall()
    if card:
        bins = metrics.reliability_bins(main.probability, test.label)
        model_card.write(card, settings, columns, report, bins, newest_order)
    progress("evaluated", folds + 2, folds + 2)
    return {
        "rows": len(test),
        "run_id": report.run_id,
        "figures": report.figures,
        "differences": report.differences,
        "note": report.said_discovery(),
        "verdict": report.said(),
    }


def _of_known_size(predicted: Predictions, test: Examples) -> Predictions:
    """Return predictions that know how many products each shopper buys again, and no more."""
    probability = of_known_size(predicted.probability, test.label, test.offsets)
    return Predictions(probability, expected_f1_basket(probability, test.offsets)[0])


def _size(shoppers: int) -> str:
    """Return the segment name of a point on the learning curve."""
    return f"training_shoppers={shoppers}"


def _importance(
    model: Model, columns: Sequence[Feature], test: Examples, seed: int
) -> Iterator[tuple[str, str, float]]:
    """Yield each feature, its group, and the AUC lost when its values are shuffled.

    This is permutation importance (Breiman 2001, "Random forests", section 10), computed on whole
    test shoppers.
    """
    some = test.of(test.offsets[:-1] < IMPORTANCE_ROWS)
    auc = roc_auc_score(some.label, model.predict(some.X))
    order = np.random.default_rng(seed).permutation(len(some))
    for j, column in enumerate(columns):
        kept = some.X[:, j].copy()
        some.X[:, j] = kept[order]
        loss = auc - roc_auc_score(some.label, model.predict(some.X))
        some.X[:, j] = kept
        yield column.name, column.group, float(loss)


def _write_test_predictions(
    con: duckdb.DuckDBPyConnection, report: EvaluationReport, test: Examples, predicted: Predictions
) -> None:
    task = report.task
    written = task.written("test_predictions")
    con.execute(f"delete from {written}")
    table = pa.table(
        {
            "run_id": pa.repeat(report.run_id, len(test)),
            "user_id": test.user_of_pair(),
            task.table.key: test.key,
            f"{task.table.outcome}_probability": predicted.probability.astype(np.float32),
            task.rule.chosen: predicted.chosen,
        }
    )
    connection.append(con, written, table)
