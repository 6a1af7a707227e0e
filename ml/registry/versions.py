"""Trained models as versioned folders: ``model.joblib``, ``model.json`` beside it, and an alias.

``models/<version>/`` is written once and never changed, but for the metrics in its json; the
symbolic link ``models/production`` names the version that scores.
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
from ml.warehouse.features import Feature

ALIAS = "production"
LIBRARIES = ("scikit-learn", "lightgbm", "numpy", "duckdb", "joblib")


def libraries() -> dict[str, str]:
    """Return the versions of Python and of the libraries that scores depend on."""
    installed = {name: library_version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **installed}


def feature_version(features: Sequence[Feature]) -> str:
    """Return a digest of the ordered features and their types."""
    listed = json.dumps([(feature.name, feature.dtype) for feature in features])
    return hashlib.sha256(listed.encode()).hexdigest()[:12]


def save(folder: Path, model: Model, features: Sequence[Feature], card: dict[str, Any]) -> Path:
    """Write a model as a new version, make it the production one, and return its folder.

    ``card`` is what the json says beside features, libraries and digest.
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
    replace_link(folder / ALIAS, folder / version)
    return folder / version


def production(folder: Path) -> Path:
    """Return the folder of the production version."""
    return (folder / ALIAS).resolve()


def card(folder: Path) -> dict[str, Any]:
    """Return what is written beside the production model.

    Raises:
        RestockError: if there is none, or its json is damaged.
    """
    path = folder / ALIAS / "model.json"
    if not path.exists():
        raise RestockError(f"no trained model in {folder}. Run `restock train` first.")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise RestockError(f"{path} is damaged ({error}). Run `restock train` again.") from None


def load(folder: Path, features: Sequence[Feature]) -> tuple[Model, dict[str, Any]]:
    """Return the production model and its card.

    Raises:
        RestockError: if there is none, if its digest is another than the json says, or if it was
            trained on other features or types than ``examples`` has now.
    """
    written = card(folder)
    path = folder / ALIAS / "model.joblib"
    if not path.exists() or _sha256(path) != written["sha256"]:
        raise RestockError(
            f"{path} is not the file that was saved: its sha256 differs from model.json. "
            "Run `restock train` again."
        )
    trained = {feature["name"]: feature["dtype"] for feature in written["features"]}
    now = {feature.name: feature.dtype for feature in features}
    if list(trained.items()) != list(now.items()):
        differing = sorted(
            name for name in trained.keys() | now.keys() if trained.get(name) != now.get(name)
        )
        raise RestockError(
            f"model {written['model_version']} was trained on other features than models/features "
            f"builds now: {', '.join(differing[:5]) or 'their order differs'}. "
            "Run `restock train` again."
        )
    # Unpickled only now: the digest says that it is our own file.
    try:
        return joblib.load(path), written
    except (AttributeError, ModuleNotFoundError) as error:
        raise RestockError(
            f"{path} was saved by another version of Restock or of a library ({error}). "
            "Run `restock train` again."
        ) from None


def add_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Write the figures of an evaluation into the json of the production model."""
    _write_json(folder / ALIAS / "model.json", card(folder) | {"metrics": metrics})


def _write_json(path: Path, value: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    part.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
