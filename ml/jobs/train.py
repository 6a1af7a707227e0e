"""The training job: from labelled examples to a registered model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from ml import sources
from ml.errors import RestockError
from ml.modelling import calibration, estimators
from ml.modelling.basket import fit_order_effect
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse import examples
from ml.warehouse.dbt import Feature, Progress, features

HELD_CUTOFFS = 5
"""Orders of a validation shopper that are calibrated on, as such shoppers are few."""
DRAWN_ALIKE = 0.25
"""Share of the sample of examples without a reorder that is drawn whatever they look like."""


@dataclass(frozen=True)
class Sample:
    """Labelled examples to train on: every reorder, and as many of the others as there is room for.

    ``X`` is float32 of shape (n, n_features), ``label`` 0 or 1, ``weight`` 1 for a reorder and the
    inverse of the chance to be drawn for the others, so that probabilities stay what they are
    (Horvitz, Thompson 1952, "A generalization of sampling without replacement").
    """

    X: npt.NDArray[np.float32]
    label: npt.NDArray[np.int8]
    weight: npt.NDArray[np.float32]
    user_id: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.label)

    def of(self, rows: npt.NDArray[np.bool_]) -> "Sample":
        """Return some of the rows."""
        return Sample(self.X[rows], self.label[rows], self.weight[rows], self.user_id[rows])


def train(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Fit on training shoppers at every label cutoff, calibrate on validation shoppers, register.

    Raises:
        RestockError: if no labelled example is left, or all labels are the same.
    """
    columns = features(settings)
    # A wrong name or parameter is told now, not after the reading.
    pipeline = estimators.make(settings)
    progress("reading examples", 0, 3)
    with examples.connect(settings, read_only=True) as con:
        cutoffs = label_cutoffs(con)
        learned = sample(con, columns, settings, splits=["train"])
        held = examples.read(con, columns, cutoffs=held_cutoffs(con), splits=["validation"])
    progress(f"fitting {settings.model} on {len(learned):,} examples", 1, 3)
    model = fit(settings, learned, held)
    progress("registering", 2, 3)
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


def label_cutoffs(con: duckdb.DuckDBPyConnection) -> range:
    """Return the cutoffs that have labels, 1 the newest."""
    return range(1, examples.scalar(con, "select max(cutoff) from targets") + 1)


def held_cutoffs(con: duckdb.DuckDBPyConnection) -> range:
    """Return the cutoffs at which a model is calibrated, 1 the newest."""
    return label_cutoffs(con)[:HELD_CUTOFFS]


def sample(
    con: duckdb.DuckDBPyConnection,
    columns: Sequence[Feature],
    settings: Settings,
    *,
    splits: Sequence[str],
) -> Sample:
    """Read the examples of all label cutoffs, sampling those without a reorder.

    Most were bought long ago, and any model knows that they will not be bought. So the chance to
    be drawn grows with the share of the shopper's late orders that have the product.

    Raises:
        RestockError: if there are none.
    """
    chosen = "', '".join(splits)
    which = f"cutoff > 0 and split in ('{chosen}')"
    pairs, reorders, late = con.execute(
        f"""
        select count(*), count(*) filter (label),
            -- A parallel mean differs in its last digits.
            round(avg(pair_decay_5_orders_share) filter (not label), 9)
        from examples where {which}
        """
    ).fetchall()[0]
    if pairs == 0:
        raise examples.nothing_labelled(splits)
    # However many reorders there are, some of the others must be seen beside them.
    room = max(settings.training_rows - reorders, settings.training_rows // 10)
    chance = "1"
    if (share := room / max(pairs - reorders, 1)) < 1:
        by_habit = (1 - DRAWN_ALIKE) / late
        chance = f"{share} * ({DRAWN_ALIKE} + {by_habit} * pair_decay_5_orders_share)"
    names = ", ".join(column.name for column in columns)
    parts = []
    for cutoff in label_cutoffs(con):
        table = con.sql(
            f"""
            select
                user_id,
                product_id,
                cast(label as tinyint) as label,
                cast(case when label then 1 else greatest(1, 1 / ({chance})) end as float)
                    as weight,
                {names}
            from examples
            where {which} and cutoff = {cutoff} and (
                label
                or hash(cutoff, user_id, product_id, {settings.seed}) / power(2, 64) < {chance}
            )
            """
        ).to_arrow_table()
        order = examples.in_order(table)
        drawn = (table.column(name).to_numpy()[order] for name in ("label", "weight", "user_id"))
        parts.append((examples.matrix(table, columns, order), *drawn))
    return Sample(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def fit(settings: Settings, learned: Sample, held: examples.Examples) -> versions.Model:
    """Fit the model that the settings name, and calibrate it on shoppers that it did not see.

    They also decide how baskets are made of its probabilities.

    Raises:
        RestockError: if all labels of either are the same.
    """
    for name, label in (("training", learned.label), ("validation", held.label)):
        if len(np.unique(label)) < 2:
            raise RestockError(
                f"all {len(label):,} {name} examples have the label {label[0]}: "
                "there is nothing to learn. Bring more shoppers or orders."
            )
    pipeline = estimators.make(settings)
    last = pipeline.steps[-1][0]
    pipeline.fit(learned.X, learned.label, **{f"{last}__sample_weight": learned.weight})
    score = versions.Model(pipeline, calibration.Calibrator(), 0.0).predict(held.X)
    calibrator = calibration.fit(score, held.label, held.offsets, seed=settings.seed)
    order_effect = fit_order_effect(calibrator.transform(score), held.label, held.offsets)
    return versions.Model(pipeline, calibrator, order_effect)
