"""The training job: from labelled examples to a registered model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml import calibration, estimators, registry, sources, warehouse
from ml.basket import fit_order_effect
from ml.errors import RestockError
from ml.settings import Settings
from ml.transform import Feature, Progress, features

HELD_CUTOFFS = 5
"""Orders of a validation shopper that are calibrated on, as such shoppers are few."""


@dataclass(frozen=True)
class Sample:
    """Labelled examples to train on: every reorder, and as many of the others as there is room for.

    ``X`` is float32 of shape (n, n_features), ``label`` 0 or 1, ``weight`` 1 for a reorder and the
    inverse of the sampled share for the others, so that probabilities stay what they are.
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
    with warehouse.connect(settings, read_only=True) as con:
        cutoffs = label_cutoffs(con)
        learned = sample(con, columns, settings, splits=["train"])
        held = warehouse.read(con, columns, cutoffs=held_cutoffs(con), splits=["validation"])
    progress(f"fitting {settings.model} on {len(learned):,} examples", 1, 3)
    model = fit(settings, learned, held)
    progress("registering", 2, 3)
    folder = registry.save(
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
    return range(1, warehouse.scalar(con, "select max(cutoff) from targets") + 1)


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

    Raises:
        RestockError: if there are none.
    """
    chosen = "', '".join(splits)
    pairs = warehouse.scalar(
        con,
        f"""
        select coalesce(sum(user_product_count), 0)
        from feat_users inner join targets using (cutoff, user_id)
        where cutoff > 0 and split in ('{chosen}')
        """,
    )
    if pairs == 0:
        raise warehouse.nothing_labelled(splits)
    # How many reorders there are is known in the end; the share of the others is smaller then.
    most = settings.training_rows / int(pairs)
    rng = np.random.default_rng(settings.seed)
    parts, others = [], 0
    for cutoff in label_cutoffs(con):
        for batch in warehouse.stream(con, columns, cutoff=cutoff, splits=splits):
            draw = np.where(batch.label == 1, 0, rng.random(len(batch)))
            others += int(np.count_nonzero(batch.label == 0))
            kept = draw < most
            users = batch.user_of_pair().filter(pa.array(kept))
            parts.append((batch.X[kept], batch.label[kept], draw[kept], users))
    X, label, draw = (np.concatenate([part[i] for part in parts]) for i in range(3))
    # However many reorders there are, some of the others must be seen beside them.
    room = max(settings.training_rows - label.sum(), settings.training_rows // 10)
    share = min(1.0, most, room / max(others, 1))
    drawn = Sample(
        X=X,
        label=label,
        weight=np.where(label == 1, 1, 1 / share).astype(np.float32),
        user_id=pa.concat_arrays([part[3] for part in parts]).to_numpy(zero_copy_only=False),
    )
    return drawn.of(draw < share)


def fit(settings: Settings, learned: Sample, held: warehouse.Examples) -> registry.Model:
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
    score = pipeline.predict_proba(held.X)[:, 1]
    calibrator = calibration.fit(score, held.label, held.offsets, seed=settings.seed)
    order_effect = fit_order_effect(calibrator.transform(score), held.label, held.offsets)
    return registry.Model(pipeline, calibrator, order_effect)
