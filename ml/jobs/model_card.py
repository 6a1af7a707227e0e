"""The model card: a Markdown page with the results of the latest cross-validations."""

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ml.jobs import train
from ml.jobs.task import REORDER
from ml.modelling import metrics
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse.feature_list import Feature

SHOWN = (
    *("shoppers", "pairs", "mean_predicted", "mean_observed"),
    *("auc", "log_loss", "precision_at_5", "mean_f1", "expected_calibration_error"),
)
CURVE = "training_shoppers="
"""Prefix of the segments that are points on the learning curve."""


def write(
    path: Path,
    settings: Settings,
    columns: list[Feature],
    protocol: str,
    rows: Iterable[tuple[Any, ...]],
    bins: metrics.ReliabilityBins,
    newest_order: date | None,
) -> None:
    """Save the metrics of one data set, then write the card of every data set saved so far.

    The metrics go to ``<card>/<source>.json``, in a folder with the name of the card without its
    suffix. ``rows`` are rows of ``ml.metrics``.
    """
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for _, model, _, _, segment, metric, value in rows:
        if metric.removesuffix("_low").removesuffix("_high") in SHOWN:
            figures.setdefault(model, {}).setdefault(segment, {})[metric] = round(value, 6)
    written = {
        "source": settings.source,
        "protocol": protocol,
        "evaluated_on": f"{datetime.now(UTC):%Y-%m-%d}",
        "newest_order": newest_order and newest_order.isoformat(),
        **made_with(settings, columns),
        "calibration_bins": [
            {"n": int(n), "predicted": round(p, 6), "observed": round(o, 6)}
            for n, p, o in zip(bins.n, bins.mean_predicted, bins.mean_observed, strict=True)
        ],
        "figures": figures,
    }
    (folder / f"{settings.source}.json").write_text(json.dumps(written, indent=1) + "\n")
    path.write_text(render(folder))


def made_with(settings: Settings, columns: list[Feature]) -> dict[str, Any]:
    """Return the features, the model and the parameters that produced the metrics."""
    is_simple = settings.model in REORDER.simple
    parameters = {} if is_simple else train.unfitted(settings).steps[-1][1].get_params()
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
    data = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    for of_source in data:
        segments = of_source["figures"][of_source["model"]]
        of_source["curve"] = sorted(
            (int(name.removeprefix(CURVE)), segments.pop(name))
            for name in list(segments)
            if name.startswith(CURVE)
        )
    return environment.get_template("model_card.md.jinja").render(data=data)
