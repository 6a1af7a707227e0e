"""The training job: fits a model on labelled examples and registers it."""

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np

from ml import sources
from ml.errors import RestockError
from ml.modelling import calibration, estimators
from ml.modelling.basket import fit_order_effect
from ml.modelling.folds import part_in_fold, spaced
from ml.modelling.metrics import FEW_SHOPPERS
from ml.modelling.model import Model
from ml.progress import Progress
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse import connection, examples, sampling
from ml.warehouse.examples import SPLITS
from ml.warehouse.feature_list import Feature, features

FOLDS = 5
"""Folds that measure the model if there are too few test shoppers."""


def train(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Fit a model on training shoppers, calibrate it on validation shoppers, and register it.

    Training uses the examples of every label cutoff. With too few test shoppers, the shoppers are
    divided as in the first fold of a cross-validation, see `measured_by_folds`.

    Raises:
        SettingsError: if the model or one of its parameters is unknown.
        RestockError: if fewer than ten shoppers have a labelled order, or all labels are the same.
    """
    columns = features(settings)
    # An unknown model or parameter is reported here, before the slow read.
    pipeline = unfitted(settings)
    progress("reading examples", 0, 3)
    with connection.connect(settings, read_only=True) as con:
        cutoffs = sampling.label_cutoffs(con)
        held_cutoffs = sampling.held_cutoffs(con)
        if measured_by_folds(con):
            learned = draw(con, columns, settings, splits=SPLITS)
            held = examples.read(con, columns, cutoffs=held_cutoffs, splits=SPLITS)
            learned, held = divided(learned, held, fold=0)
        else:
            learned = draw(con, columns, settings, splits=["train"])
            held = examples.read(con, columns, cutoffs=held_cutoffs, splits=["validation"])
    progress(f"fitting {settings.model} on {len(learned):,} examples", 1, 3)
    model = fit(settings, learned, held)
    progress("registering the model", 2, 3)
    folder = versions.save(
        settings.models,
        model,
        columns,
        {
            "model_name": settings.model,
            "source": settings.source,
            "data_fingerprint": sources.landed(settings.landing).fingerprint,
            "seed": settings.seed,
            "parameters": {
                name: value
                for name, value in pipeline.steps[-1][1].get_params().items()
                if isinstance(value, str | int | float | bool | None)
            },
            "label_cutoffs": len(cutoffs),
            "training_shoppers": len(np.unique(learned.user_id)),
            "training_pairs": len(learned),
            "training_reorder_share": float(np.average(learned.label, weights=learned.weight)),
            "calibration": model.calibrator.method,
            "calibration_pairs": len(held),
            "order_effect": model.order_effect,
        },
    )
    progress("registered", 3, 3)
    return {"rows": len(learned), "model": folder.name}


def measured_by_folds(con: duckdb.DuckDBPyConnection) -> bool:
    """Return whether there are too few test or validation shoppers, so that folds are needed.

    Raises:
        RestockError: there are too few shoppers for folds too.
    """
    shoppers = sampling.labelled_shoppers(con)
    if (labelled := sum(shoppers.values())) < FEW_SHOPPERS:
        everyone = connection.scalar(con, "select count(*) from targets where cutoff = 0")
        raise RestockError(
            f"no labelled orders of {FEW_SHOPPERS} shoppers or more: {labelled:,} of {everyone:,} "
            "shoppers have one. A shopper's order is labelled if at least min_past_orders orders "
            "(3, set in dbt_project.yml) come before it. Bring a longer history or more shoppers: "
            f"{FEW_SHOPPERS} with 4 orders each are the least that a model can learn from and be "
            "measured on."
        )
    return shoppers["test"] < FEW_SHOPPERS or not shoppers["validation"]


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
    *,
    splits: Sequence[str],
) -> sampling.Sample:
    """Draw about ``settings.training_rows`` examples, or all of them if there are fewer.

    Raises:
        RestockError: if there are none.
    """
    return sampling.sample(
        con, columns, rows=settings.training_rows, seed=settings.seed, splits=splits
    )


def fit(settings: Settings, learned: sampling.Sample, held: examples.Examples) -> Model:
    """Fit the model that the settings name, then calibrate it on held-out shoppers.

    The held-out shoppers also determine the order effect of the model's baskets.

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
    score = Model(pipeline, calibration.Calibrator(), 0.0).predict(held.X)
    calibrator = calibration.fit(score, held.label, held.offsets, seed=settings.seed)
    order_effect = fit_order_effect(calibrator.transform(score), held.label, held.offsets)
    return Model(pipeline, calibrator, order_effect)
