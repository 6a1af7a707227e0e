"""The evaluation job: how good the model is on shoppers that it never saw, beside the baselines."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from ml import baselines, basket, metrics, registry, warehouse
from ml.settings import Settings
from ml.transform import Progress, features


def evaluate(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Measure the production model and the baselines on test shoppers at cutoff 1.

    Writes ``ml.metrics``, ``ml.calibration_bins`` and the metrics in the model's json.

    Raises:
        RestockError: if there is no model or no labelled test shopper.
    """
    columns = features(settings)
    model, card = registry.load(settings.models, columns)
    run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    progress("reading examples", 0, 3)
    with warehouse.connect(settings) as con:
        test = warehouse.read(con, columns, cutoffs=[1], splits=["test"])
        progress(f"scoring {len(test):,} pairs of test shoppers", 1, 3)
        probability = model.predict(test.X)
        in_basket, _ = basket.expected_f1_basket(probability, test.offsets)
        figures = {
            card["model_name"]: metrics.evaluate(
                probability, test.label, test.offsets, in_basket=in_basket, seed=settings.seed
            )
        }
        by_name = dict(zip((column.name for column in columns), test.X.T, strict=True))
        for name, baseline in baselines.scores(by_name).items():
            figures[name] = metrics.evaluate(
                baseline, test.label, test.offsets, is_probability=False, seed=settings.seed
            )
        figures["ceiling"] = metrics.ceiling(test.label, test.offsets, seed=settings.seed)
        progress("writing ml.metrics", 2, 3)
        rows = [
            (run_id, name, "test", "holdout", "all", metric + suffix, value)
            for name, estimates in figures.items()
            for metric, estimate in estimates.items()
            for suffix, value in zip(("", "_low", "_high"), estimate, strict=True)
            if not np.isnan(value)
        ]
        rows += [
            (run_id, name, "test", "holdout", "all", metric, float(value))
            for name in figures
            for metric, value in (("shoppers", len(test.offsets) - 1), ("pairs", len(test)))
        ]
        bins = metrics.reliability_bins(probability, test.label)
        with warehouse.transaction(con):
            con.executemany("insert into ml.metrics values (?, ?, ?, ?, ?, ?, ?)", rows)
            warehouse.append(
                con,
                "ml.calibration_bins",
                pa.table(
                    {
                        "run_id": [run_id] * len(bins.n),
                        "model_name": [card["model_name"]] * len(bins.n),
                        "split": ["test"] * len(bins.n),
                        "bin": np.arange(len(bins.n)),
                        "n": bins.n,
                        "mean_predicted": bins.mean_predicted,
                        "mean_observed": bins.mean_observed,
                    }
                ),
            )
    best = {metric: estimate.value for metric, estimate in figures[card["model_name"]].items()}
    registry.add_metrics(settings.models, {"run_id": run_id, "split": "test", **best})
    progress("measured", 3, 3)
    return {
        "rows": len(test),
        "run_id": run_id,
        "auc": {name: estimates["auc"].value for name, estimates in figures.items()},
    }
