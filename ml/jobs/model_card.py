"""The model card: a Markdown page with the results of the latest evaluations."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sklearn.metrics import roc_auc_score

from ml.jobs import train
from ml.jobs.evaluation_report import EvaluationReport, Predictions
from ml.jobs.task import REORDER, Task
from ml.modelling import metrics
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse.examples import Examples
from ml.warehouse.feature_list import Feature

SHOWN = (
    *("shoppers", "pairs", "moments", "mean_predicted", "mean_observed"),
    *("auc", "log_loss", "precision_at_5", "mean_f1", "expected_calibration_error"),
    *("average_precision", "auc_within_day", "lift_top_tenth", "capture_top_tenth", "best_f1"),
    *("list_recall", "list_worst_day_recall", "list_precision", "list_size_share"),
)
OF_LISTS = (*SHOWN, "recall_at_10", "hit_rate_at_10", "rows")
"""Metrics to show of lists of new products."""
CURVE = "training_shoppers="
"""Prefix of the segments that are points on the learning curve."""


def write(
    path: Path,
    settings: Settings,
    columns: Sequence[Feature],
    report: EvaluationReport,
    bins: metrics.ReliabilityBins,
    newest_order: date | None,
) -> None:
    """Save the metrics of one data set, then write the card of every data set saved so far.

    The metrics go to ``<card>/<source>.reorder.json``, in a folder with the name of the card
    without its suffix.
    """
    written = {
        "source": settings.source,
        "protocol": report.protocol,
        "evaluated_on": f"{datetime.now(UTC):%Y-%m-%d}",
        "newest_order": newest_order and newest_order.isoformat(),
        **made_with(settings, columns),
        "calibration_bins": [
            {"n": int(n), "predicted": round(p, 6), "observed": round(o, 6)}
            for n, p, o in zip(bins.n, bins.mean_predicted, bins.mean_observed, strict=True)
        ],
        "figures": _figures(report.rows),
        "differences": _differences(report),
        "discovery": _figures(report.discovery_rows(), OF_LISTS),
    }
    _save(path, f"{settings.source}.reorder", written)


def write_by_time(
    path: Path,
    settings: Settings,
    columns: Sequence[Feature],
    trained: Mapping[str, Any],
    report: EvaluationReport,
    test: Examples,
    predicted: Predictions,
) -> None:
    """Save the figures of a task that time divides, then write the card.

    ``trained`` is the content of ``model.json``.
    """
    written = {
        "source": settings.source,
        "task": report.task.name,
        "evaluated_on": f"{datetime.now(UTC):%Y-%m-%d}",
        **made_with(settings, columns, report.task),
        "training_moments": trained["training_moments"],
        "calibration_moments": trained["calibration_moments"],
        "calibration": trained["calibration"],
        "figures": _figures(report.rows),
        "differences": _differences(report),
        "midnights": list(_by_midnight(test, predicted)),
    }
    _save(path, f"{settings.source}.{report.task.name}", written)


def _figures(
    rows: Iterable[tuple[Any, ...]], shown: Collection[str] = SHOWN
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the figures to show by model, segment and metric; ``rows`` are of ``ml.metrics``."""
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for _, model, _, _, segment, metric, value in rows:
        if metric.removesuffix("_low").removesuffix("_high") in shown:
            figures.setdefault(model, {}).setdefault(segment, {})[metric] = round(value, 6)
    return figures


def _differences(report: EvaluationReport) -> dict[str, dict[str, float]]:
    """Return the model's figures to show minus those of each other score, by its name."""
    return {
        name: {
            metric + end: round(value, 6)
            for metric, estimate in of.items()
            if metric in SHOWN
            for end, value in zip(("", "_low", "_high"), estimate, strict=True)
            if not np.isnan(value)
        }
        for name, of in report.differences.items()
    }


def _by_midnight(test: Examples, predicted: Predictions) -> Iterator[dict[str, Any]]:
    """Yield the figures of each midnight; on a day without buyers, some have no value."""
    key = test.key.to_numpy()
    for midnight in np.unique(key):
        rows = key == midnight
        label, chosen = test.label[rows], predicted.chosen[rows]
        probability = predicted.probability[rows]
        figures = {
            "observed": label.mean(),
            "predicted": probability.mean(),
            "list_size_share": chosen.mean(),
        }
        if 0 < label.sum() < len(label):
            figures |= {
                "auc": roc_auc_score(label, probability),
                "list_recall": label[chosen].sum() / label.sum(),
            }
        day = str(midnight.astype("datetime64[D]"))
        yield {"day": day} | {name: round(float(value), 6) for name, value in figures.items()}


def _save(path: Path, name: str, written: dict[str, Any]) -> None:
    """Save figures as ``<card>/<name>.json``, then write the card of all figures saved so far."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(written, indent=1) + "\n")
    path.write_text(render(folder))


def made_with(
    settings: Settings, columns: Sequence[Feature], task: Task = REORDER
) -> dict[str, Any]:
    """Return the features, the model and the parameters that produced the metrics.

    Features of an optional table are left out: not every data set has them.
    """
    columns = [column for column in columns if not column.of]
    is_simple = settings.model in task.simple
    parameters = {} if is_simple else train.unfitted(settings, task).steps[-1][1].get_params()
    groups = [column.group for column in columns]
    return {
        "model": settings.model,
        "seed": settings.seed,
        "training_rows": settings.training_rows,
        "parameters": {
            name: value
            for name, value in sorted(parameters.items())
            if isinstance(value, str | int | float | bool) and name not in ("n_jobs", "verbose")
        },
        "feature_version": versions.feature_version(columns),
        "feature_groups": {group: groups.count(group) for group in dict.fromkeys(groups)},
    }


def render(folder: Path) -> str:
    """Return the card of every data set with metrics in ``folder``."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    data, purchases = (
        [json.loads(path.read_text()) for path in sorted(folder.glob(f"*.{task}.json"))]
        for task in ("reorder", "purchase*")
    )
    for of_source in data:
        segments = of_source["figures"][of_source["model"]]
        of_source["curve"] = sorted(
            (int(name.removeprefix(CURVE)), segments.pop(name))
            for name in list(segments)
            if name.startswith(CURVE)
        )
    return environment.get_template("model_card.md.jinja").render(data=data, purchases=purchases)
