"""The training job: fits a model on labelled examples and registers it."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import duckdb
import numpy as np

from ml import sources
from ml.errors import RestockError
from ml.jobs.task import REORDER, Task
from ml.modelling import calibration, estimators
from ml.modelling.folds import part_in_fold, spaced
from ml.modelling.model import Model
from ml.progress import Progress
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse import connection, examples, sampling
from ml.warehouse.examples import SPLITS
from ml.warehouse.feature_list import Feature, features

FOLDS = 5
"""Folds that measure the model if there are too few test shoppers."""


def train(settings: Settings, progress: Progress, task: Task = REORDER) -> dict[str, Any]:
    """Fit a model on the part ``train`` of a task, calibrate it on ``held``, and register it.

    The new version is a candidate: nothing serves it until it is promoted.

    If folds measure the model, the shoppers are divided as in the first fold of a
    cross-validation.

    Raises:
        SettingsError: if the model or one of its parameters is unknown.
        RestockError: if there are too few examples, or all labels are the same.
    """
    table = task.table
    columns = features(settings, table.name)
    # An unknown model or parameter is reported here, before the slow read.
    pipeline = unfitted(settings)
    progress("reading examples", 0, 3)
    with connection.connect(settings, read_only=True) as con:
        labelled = connection.scalar(con, f"select max(cutoff) from {table.cutoffs}")
        if task.measured_by_folds(con):
            learned = draw(con, columns, settings, splits=SPLITS)
            held_cutoffs = sampling.held_cutoffs(con)
            held = examples.read(con, columns, cutoffs=held_cutoffs, splits=SPLITS)
            learned, held = divided(learned, held, fold=0)
        else:
            learned = draw(con, columns, settings, task)
            held = examples.read_part(con, columns, task.parts["held"], table)
    progress(f"fitting {settings.model} on {len(learned):,} examples", 1, 3)
    model = fit(settings, learned, held, task)
    progress("registering the model", 2, 3)
    folder = versions.save(
        settings.models,
        model,
        columns,
        {
            "task": task.name,
            "model_name": settings.model,
            "source": settings.source,
            "data_fingerprint": sources.landed(settings.landing).fingerprint,
            "seed": settings.seed,
            "parameters": {
                name: value
                for name, value in pipeline.steps[-1][1].get_params().items()
                if isinstance(value, str | int | float | bool | None)
            },
            "label_cutoffs": labelled,
            "training_shoppers": len(np.unique(learned.user_id)),
            f"training_{table.rows}": len(learned),
            f"training_{task.name}_share": float(np.average(learned.label, weights=learned.weight)),
            "calibration": model.calibrator.method,
            f"calibration_{table.rows}": len(held),
            **asdict(model.rule),
        },
        partial(task.save, settings, columns),
    )
    progress("registered", 3, 3)
    return {"rows": len(learned), "model": folder.name}


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


def unfitted(settings: Settings) -> Any:
    """Return the unfitted pipeline that the settings name.

    Raises:
        SettingsError: if the model or one of its parameters is unknown.
    """
    return estimators.make(
        settings.model,
        seed=settings.seed,
        threads=settings.threads,
        parameters=settings.parameters,
    )


def draw(
    con: duckdb.DuckDBPyConnection,
    columns: Sequence[Feature],
    settings: Settings,
    task: Task = REORDER,
    *,
    splits: Sequence[str] = (),
) -> sampling.Sample:
    """Draw about ``settings.training_rows`` training examples, or all of them if there are fewer.

    They are of the part ``train`` of a task, or with ``splits``, labelled pairs of these splits.

    Raises:
        RestockError: if there are none.
    """
    part = task.parts["train"]
    if splits:
        part = examples.of_splits(sampling.label_cutoffs(con), splits)
    return sampling.sample(
        con, columns, part, task.table, rows=settings.training_rows, seed=settings.seed
    )


def fit(
    settings: Settings,
    learned: sampling.Sample,
    held: examples.Examples,
    task: Task = REORDER,
) -> Model:
    """Fit the model that the settings name, then calibrate it on held-out examples.

    The held-out examples also determine the model's rule.

    Raises:
        RestockError: if all training labels are the same.
    """
    if len(np.unique(learned.label)) < 2:
        what = "was" if learned.label[0] else "was not"
        raise RestockError(
            f"all {len(learned):,} training examples have the label {learned.label[0]}: each "
            f"product {what} bought again. A model needs both. Add more shoppers or orders."
        )
    pipeline = unfitted(settings)
    last = pipeline.steps[-1][0]
    pipeline.fit(learned.X, learned.label, **{f"{last}__sample_weight": learned.weight})
    score = Model(pipeline, calibration.Calibrator(), None).predict(held.X)
    calibrator = calibration.fit(score, held.label, held.offsets, seed=settings.seed)
    rule = task.rule.fit(calibrator.transform(score), held.label, held.offsets)
    return Model(pipeline, calibrator, rule)
