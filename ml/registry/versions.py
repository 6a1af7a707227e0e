"""Model versions: one folder per trained model, and a link to each task's production version.

``models/<version>/`` holds ``model.joblib`` and ``model.json``. Restock writes it once and later
changes only the metrics in ``model.json``. The symbolic link ``models/production`` points to the
version that scores pairs, and ``models/production-purchase`` and
``models/production-purchase-week`` to those that score shoppers. Such a link is an *alias*.
"""

import hashlib
import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import joblib

from ml.errors import RestockError
from ml.modelling.model import Model
from ml.registry.links import replace_link
from ml.warehouse.feature_list import Feature

ALIAS = "production"
ALIASES = {ALIAS + suffix: "model" + suffix for suffix in ("", "-purchase", "-purchase-week")}
"""The alias of each task, and the name of its link in a release."""
LIBRARIES = ("scikit-learn", "lightgbm", "numpy", "duckdb", "joblib")


def libraries() -> dict[str, str]:
    """Return the versions of Python and of every library that scores depend on."""
    installed = {name: library_version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **installed}


def feature_version(features: Sequence[Feature]) -> str:
    """Return a digest of the features, their order and their types: 12 hex digits."""
    listed = json.dumps([(feature.name, feature.dtype) for feature in features])
    return hashlib.sha256(listed.encode()).hexdigest()[:12]


def save(
    folder: Path,
    model: Model,
    features: Sequence[Feature],
    card: dict[str, Any],
    alias: str = ALIAS,
) -> Path:
    """Save a model as a new version, make it the production version, and return its folder.

    Args:
        folder: the folder of all versions.
        model: the fitted model.
        features: the features it was trained on, in order.
        card: further content for ``model.json``; ``model_name`` is required.
        alias: name of the link to the production version.
    """
    work = folder / ".saving"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    joblib.dump(model, work / "model.joblib", compress=3)
    digest = _sha256(work / "model.joblib")
    version = f"{card['model_name']}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{digest[:8]}"
    card = {
        **card,
        "model_version": version,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "feature_version": feature_version(features),
        "sha256": digest,
        "features": [asdict(feature) for feature in features],
        "libraries": libraries(),
        "metrics": {},
    }
    _write_json(work / "model.json", card)
    work.rename(folder / version)
    replace_link(folder / alias, folder / version)
    return folder / version


def production(folder: Path, alias: str = ALIAS) -> Path:
    """Return the folder of the production version."""
    return (folder / alias).resolve()


def metadata(folder: Path, alias: str = ALIAS) -> dict[str, Any]:
    """Return the content of the production version's ``model.json``.

    Raises:
        RestockError: there is no production version, or its ``model.json`` is damaged.
    """
    path = folder / alias / "model.json"
    if not path.exists():
        raise RestockError(f"no trained model in {folder}. Run `restock train` first.")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise RestockError(f"{path} is damaged ({error}). Run `restock train` again.") from None


def load(
    folder: Path, features: Sequence[Feature], alias: str = ALIAS
) -> tuple[Model, dict[str, Any]]:
    """Return the production model and the content of its ``model.json``.

    Raises:
        RestockError: there is no production version, its file does not match the digest in
            ``model.json``, or it was trained on features or types that differ from ``features``.
    """
    written = metadata(folder, alias)
    path = folder / alias / "model.joblib"
    if not path.exists() or _sha256(path) != written["sha256"]:
        raise RestockError(
            f"{path} is missing or does not match the sha256 in model.json. "
            "Run `restock train` again."
        )
    trained = {feature["name"]: feature["dtype"] for feature in written["features"]}
    now = {feature.name: feature.dtype for feature in features}
    if list(trained.items()) != list(now.items()):
        differing = sorted(
            name for name in trained.keys() | now.keys() if trained.get(name) != now.get(name)
        )
        raise RestockError(
            f"model {written['model_version']} was trained on different features than "
            f"models/features builds now: {', '.join(differing[:5]) or 'their order differs'}. "
            "Run `restock train` again."
        )
    # Unpickling runs code, so it comes after the digest check.
    try:
        return joblib.load(path), written
    except (AttributeError, ModuleNotFoundError) as error:
        raise RestockError(
            f"{path} was saved by a different version of Restock or of a library ({error}). "
            "Run `restock train` again."
        ) from None


def is_evaluated(folder: Path, version: str) -> bool:
    """Return whether a model version has metrics of an evaluation."""
    return bool(json.loads((folder / version / "model.json").read_text())["metrics"])


def add_metrics(folder: Path, metrics: dict[str, Any], alias: str = ALIAS) -> None:
    """Write the metrics of an evaluation to the ``model.json`` of the production version."""
    _write_json(folder / alias / "model.json", metadata(folder, alias) | {"metrics": metrics})


def _write_json(path: Path, value: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    part.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
