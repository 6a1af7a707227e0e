"""The training job: from labelled examples to a registered model."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from ml import calibration, estimators, registry, sources, warehouse
from ml.errors import RestockError
from ml.settings import Settings
from ml.transform import Progress, features


def train(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Fit on training shoppers at every label cutoff, calibrate on validation shoppers, register.

    Raises:
        RestockError: if no labelled example is left, or all labels are the same.
    """
    columns = features(settings)
    pipeline = estimators.make(
        settings.model, seed=settings.seed, threads=settings.threads, parameters=settings.parameters
    )
    progress("reading examples", 0, 3)
    with warehouse.connect(settings, read_only=True) as con:
        last = warehouse.scalar(con, "select max(cutoff) from targets")
        cutoffs = range(1, last + 1)
        learned = warehouse.read(con, columns, cutoffs=cutoffs, splits=["train"])
        held = warehouse.read(con, columns, cutoffs=[1], splits=["validation"])
    for name, examples in (("training", learned), ("validation", held)):
        if len(np.unique(examples.label)) < 2:
            raise RestockError(
                f"all {len(examples):,} {name} examples have the label "
                f"{examples.label[0]}: there is nothing to learn. Bring more shoppers or orders."
            )

    progress(f"fitting {settings.model} on {len(learned):,} examples", 1, 3)
    pipeline.fit(learned.X, learned.label)
    progress("calibrating", 2, 3)
    calibrator = calibration.fit(
        pipeline.predict_proba(held.X)[:, 1], held.label, held.offsets, seed=settings.seed
    )
    folder = registry.save(
        settings.models,
        registry.Model(pipeline, calibrator),
        columns,
        {
            "model_name": settings.model,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "source": settings.source,
            "data_fingerprint": sources.landed(settings.landing).fingerprint,
            "seed": settings.seed,
            "parameters": {
                name: value
                for name, value in pipeline.steps[-1][1].get_params().items()
                if isinstance(value, str | int | float | bool | None)
            },
            "label_cutoffs": last,
            "training_pairs": len(learned),
            "training_reorder_share": float(learned.label.mean()),
            "calibration": calibrator.method,
            "calibration_pairs": len(held),
        },
    )
    progress("registered", 3, 3)
    return {"rows": len(learned), "model": folder.name, "path": str(folder)}
