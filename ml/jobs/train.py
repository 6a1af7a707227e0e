"""The training job: fits a model on labelled examples and registers it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from sklearn.base import clone

from ml import sources
from ml.errors import RestockError
from ml.jobs.task import REORDER, Task
from ml.modelling import calibration, estimators
from ml.modelling.basket import Floats
from ml.modelling.folds import part_in_fold, spaced
from ml.modelling.model import Model
from ml.progress import Progress
from ml.registry import versions
from ml.settings import AUTO, DEFAULT_MODEL, HYBRID, SEQUENTIAL, Settings
from ml.warehouse import connection, examples, profile, sampling
from ml.warehouse.examples import SPLITS
from ml.warehouse.feature_list import Feature, features, sequences

FOLDS = 5
"""Folds that measure the model if there are too few test shoppers."""


def train(settings: Settings, progress: Progress, task: Task = REORDER) -> dict[str, Any]:
    """Fit a model on the part ``train`` of a task, calibrate it on ``held``, and register it.

    The new version is a candidate: nothing serves it until it is promoted. If fewer shoppers than
    ``settings.refit_below`` have a label, the version serves a `refit` of this model, and keeps
    this one to be measured.

    Under ``model = "auto"`` or ``"hybrid"``, `fit` chooses the model. Only pairs have sequences,
    so other tasks take the default model instead of one that reads them. If folds measure the
    model, the shoppers are divided as in the first fold of a cross-validation.

    Raises:
        SettingsError: if the model or one of its parameters is unknown.
        RestockError: if there are too few examples, or all labels are the same.
    """
    table = task.table
    if settings.model in SEQUENTIAL and task.name != REORDER.name:
        settings = settings.for_model(DEFAULT_MODEL)
    columns = features(settings, table.name)
    # An unknown model or parameter is reported here, before the slow read.
    unfitted(settings, task)
    progress("reading examples", 0, 4)
    everyone = None
    with connection.connect(settings, read_only=True) as con:
        labelled = connection.scalar(con, f"select max(cutoff) from {table.cutoffs}")
        # Shoppers do not divide the examples of the other tasks.
        shoppers = sampling.labelled_shoppers(con) if "labelled" in task.parts else {}
        labelled_shoppers = sum(shoppers.values())
        is_refit = 0 < labelled_shoppers < settings.refit_below
        if task.measured_by_folds(con):
            learned = draw(con, columns, settings, part="labelled")
            everyone = learned if is_refit else None
            held_cutoffs = sampling.held_cutoffs(con)
            held = examples.read(con, columns, cutoffs=held_cutoffs, splits=SPLITS)
            learned, held = divided(learned, held, fold=0)
        else:
            learned = draw(con, columns, settings, task)
            if is_refit:
                # As many pairs of each shopper: the calibration would not fit a sparser sample.
                rows = settings.training_rows * labelled_shoppers // shoppers["train"]
                more = replace(settings, training_rows=rows)
                everyone = draw(con, columns, more, task, part="labelled")
            held = examples.read_part(con, columns, task.parts["held"], table)
    progress(f"fitting {settings.model} on {len(learned):,} examples", 1, 4)
    model = measured = fit(settings, columns, learned, held, task)
    columns = columns[: model.width]
    share = float(np.average(learned.label, weights=learned.weight))
    if everyone:
        progress(f"refitting {model.name} on {len(everyone):,} examples", 2, 4)
        model = refit(settings, columns, measured, everyone, task)
    progress("registering the model", 3, 4)
    folder = versions.save(
        settings.models,
        model,
        measured,
        columns,
        {
            "task": task.name,
            "model_name": model.name,
            "source": settings.source,
            "data_fingerprint": sources.landed(settings.landing).fingerprint,
            "line_count": sources.delivery(settings.landing).line_count,
            "seed": settings.seed,
            "parameters": {
                name: value
                for name, value in model.pipeline.steps[-1][1].get_params().items()
                if isinstance(value, str | int | float | bool | None)
            },
            "candidates": model.log_loss,
            "label_cutoffs": labelled,
            "training_shoppers": len(np.unique(learned.user_id)),
            f"training_{table.rows}": len(learned),
            f"training_{table.outcome}_share": share,
            "calibration": model.calibrator.method,
            f"calibration_{table.rows}": len(held),
            "refit_shoppers": len(np.unique(everyone.user_id)) if everyone else 0,
            **asdict(model.rule),
        },
        partial(_add_files, settings, columns, model, task),
    )
    progress("registered", 4, 4)
    return {"rows": len(learned), "model": folder.name, "note": _choice(model)}


def _add_files(
    settings: Settings, columns: Sequence[Feature], model: Model, task: Task, folder: Path
) -> None:
    """Write what scores depend on besides the model, and its profile, to the folder."""
    task.save(settings, columns, folder)
    with connection.connect(settings, read_only=True) as con:
        profile.write(con, folder, task.table, columns, model.predict)


def train_alone(settings: Settings, progress: Progress, task: Task = REORDER) -> dict[str, Any]:
    """Register a candidate as `train` does, and promote it if the task has no model yet."""
    is_first = not versions.production(settings.models, task.alias).exists()
    result = train(settings, progress, task)
    version = result["model"]
    if is_first:
        versions.promote(settings.models, version, task.alias)
        note = f"{version} is the first model of the task {task.name}, so it is in production"
        return result | {"alias": task.alias, "notes": [note]}
    note = (
        f"{version} is a candidate: `restock evaluate --model {version}` measures it, and "
        f"`restock promote {version}` puts it into production"
    )
    return result | {"notes": [note]}


def divided(
    learned: sampling.Sample, held: examples.Examples, fold: int
) -> tuple[sampling.Sample, examples.Examples]:
    """Return the training and the validation shoppers of a fold of few shoppers."""
    parts = (
        part_in_fold(spaced(pairs.user_id, held.user_id), fold, FOLDS) for pairs in (learned, held)
    )
    training, validation = parts
    return learned.of(training == "train"), held.of(validation == "validation")


def unfitted(settings: Settings, task: Task = REORDER, columns: Sequence[Feature] = ()) -> Any:
    """Return the unfitted pipeline that the settings name; under ``auto``, that of the default.

    The parameters of the settings override those of the task.

    Raises:
        SettingsError: if the model or one of its parameters is unknown.
    """
    name = DEFAULT_MODEL if settings.model == AUTO else settings.model
    of_task = task.parameters if name == DEFAULT_MODEL else {}
    return estimators.make(
        name,
        seed=settings.seed,
        threads=settings.threads,
        parameters={**of_task, **settings.parameters},
        sequences=len(sequences(columns)),
    )


def draw(
    con: duckdb.DuckDBPyConnection,
    columns: Sequence[Feature],
    settings: Settings,
    task: Task = REORDER,
    *,
    part: str = "train",
) -> sampling.Sample:
    """Draw about ``settings.training_rows`` examples of a part of a task, or all if it has fewer.

    Raises:
        RestockError: if there are none.
    """
    return sampling.sample(
        con, columns, task.parts[part], task.table, rows=settings.training_rows, seed=settings.seed
    )


@dataclass(frozen=True)
class _Candidate:
    """A fitted model without a rule, and its uncalibrated scores of the held-out examples."""

    model: Model
    score: Floats

    @property
    def name(self) -> str:
        return self.model.name


def fit(
    settings: Settings,
    columns: Sequence[Feature],
    learned: sampling.Sample,
    held: examples.Examples,
    task: Task = REORDER,
    names: Sequence[str] = (),
    *,
    pipeline: Any = None,
) -> Model:
    """Fit the model that the settings name, then calibrate it on held-out examples.

    With ``pipeline``, an unfitted one, fit a clone of it instead; its name is that of the settings.

    The held-out examples also determine the model's rule. Under ``auto`` they choose the model: a
    simple baseline takes the place of the default model if its calibrated log-loss is lower by more
    than one standard error of the difference. Under ``hybrid``, so does the hybrid, by two. With
    ``names``, these are the models to choose from.

    Raises:
        RestockError: if all training labels are the same.
    """
    if len(np.unique(learned.label)) < 2:
        what = "was" if learned.label[0] else "was not"
        raise RestockError(
            f"all {len(learned):,} training examples have the label {learned.label[0]}: each "
            f"product {what} bought again. A model needs both. Add more shoppers or orders."
        )
    choices = {AUTO: [DEFAULT_MODEL, *task.simple], HYBRID: [DEFAULT_MODEL, HYBRID]}
    chosen_from = choices.get(settings.model) if pipeline is None else None
    names = names or chosen_from or [settings.model]
    candidates = [
        _calibrated(settings.for_model(name), columns, learned, held, task, pipeline)
        for name in names
    ]
    chosen, log_loss = candidates[0], {}
    if len(candidates) > 1:
        losses = {each.name: _held_out_loss(each, held, settings.seed) for each in candidates}
        best = min(candidates[1:], key=lambda each: losses[each.name].sum())
        errors = 2 if best.name == HYBRID else 1
        if calibration.is_lower(losses[best.name], losses[chosen.name], errors):
            chosen = best
        log_loss = {name: float(loss.sum() / len(held)) for name, loss in losses.items()}
    probability = chosen.model.calibrator.transform(chosen.score)
    rule = task.rule.fit(probability, held.label, held.offsets)
    return replace(chosen.model, rule=rule, log_loss=log_loss)


def refit(
    settings: Settings,
    columns: Sequence[Feature],
    measured: Model,
    everyone: sampling.Sample,
    task: Task = REORDER,
) -> Model:
    """Return a model that `fit` chose, fitted again on all labelled shoppers.

    Nobody is held out, so the calibrator and the rule are those of ``measured``.
    """
    pipeline = _pipeline(settings.for_model(measured.name), columns, everyone, task)
    return replace(measured, pipeline=pipeline)


def _calibrated(
    settings: Settings,
    columns: Sequence[Feature],
    learned: sampling.Sample,
    held: examples.Examples,
    task: Task,
    pipeline: Any,
) -> _Candidate:
    """Fit and calibrate a pipeline, or a model or a simple baseline of the task by its name."""
    pipeline = _pipeline(settings, columns, learned, task, pipeline)
    width = _width(settings, columns)
    model = Model(pipeline, calibration.Calibrator(), None, settings.model, width=width)
    score = model.predict(held.X)
    calibrator = calibration.fit(score, held.label, held.offsets, seed=settings.seed)
    return _Candidate(replace(model, calibrator=calibrator), score)


def _pipeline(
    settings: Settings,
    columns: Sequence[Feature],
    learned: sampling.Sample,
    task: Task,
    own: Any = None,
) -> Any:
    """Return the fitted pipeline of a model or a simple baseline by its name, or a clone of one."""
    if own is not None:
        pipeline = clone(own)
    elif settings.model in task.simple:
        names = [column.name for column in columns]
        pipeline = estimators.of_baseline(task.simple[settings.model], names)
    else:
        pipeline = unfitted(settings, task, columns)
    X = learned.X[:, : _width(settings, columns)]
    last = pipeline.steps[-1][0]
    return pipeline.fit(X, learned.label, **{f"{last}__sample_weight": learned.weight})


def _width(settings: Settings, columns: Sequence[Feature]) -> int:
    """Return how many of the features the model of the settings reads, the first ones."""
    return len(columns) - (0 if settings.model in SEQUENTIAL else len(sequences(columns)))


def _held_out_loss(candidate: _Candidate, held: examples.Examples, seed: int) -> Floats:
    """Return the log-loss of each shopper, over all cutoffs, under cross-fitted calibrators."""
    loss = calibration.held_out_loss(
        candidate.model.calibrator.method, candidate.score, held.label, held.offsets, seed=seed
    )
    _, shopper = np.unique(np.asarray(held.user_id), return_inverse=True)
    return np.bincount(shopper, loss).astype(float)


def _choice(model: Model) -> str:
    """Say which model was chosen and why; empty if the settings name it."""
    if not model.log_loss:
        return ""
    default, *simple = model.log_loss
    best = min(simple, key=model.log_loss.__getitem__)
    loss, of_best = model.log_loss[default], model.log_loss[best]
    if best == HYBRID:
        is_short = ", not lower by two standard errors" if model.name == default else ""
        return (
            f"hybrid: {model.name.replace('_', ' ')} is served. Log-loss on validation shoppers: "
            f"{loss:.4f} for {default.replace('_', ' ')} and {of_best:.4f} for hybrid{is_short}"
        )
    is_within = ", within one standard error" if model.name == default and of_best < loss else ""
    return (
        f"auto: {model.name.replace('_', ' ')} is served. Log-loss on validation shoppers: "
        f"{loss:.4f} for {default.replace('_', ' ')} and {of_best:.4f} for "
        f"{best.replace('_', ' ')}, the best simple rule{is_within}"
    )
