"""Model versions: one folder per trained model, and a link to each task's production version.

``models/<version>/`` holds everything that a score depends on: ``model.joblib``, ``model.json`` and
the population (`ml.warehouse.population`). If that model has learned from test shoppers too
(`ml.jobs.train.refit`), ``measured.joblib`` is the one that has not, and every figure is of it.
Restock writes a version once and later changes only the metrics in ``model.json``.

The symbolic link ``models/production`` points to the version that scores pairs, and
``models/production-<scope>`` to that of another task. Such a link is an *alias*. A version without
one is a *candidate*: nothing serves it until it is promoted.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version as library_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.errors import RestockError
from ml.registry.links import replace_link
from ml.warehouse.feature_list import Feature

if TYPE_CHECKING:
    from ml.modelling.model import Model

Card = dict[str, Any]
"""The content of a ``model.json``."""
ALIAS = "production"
"""The alias of the first task; those of the others begin with it."""
IS_ALIAS = re.compile(rf"{ALIAS}(-[\w-]+)?")
MODEL, MEASURED = "model.joblib", "measured.joblib"
_IS_VERSION = re.compile(r"\w+-\d{8}T\d{6}-[0-9a-f]{8}")
LIBRARIES = ("scikit-learn", "lightgbm", "numpy", "duckdb", "joblib")


def libraries(*others: str) -> dict[str, str]:
    """Return the versions of Python and of the libraries that scores depend on, these included."""
    # Without the build, such as +cpu, which a package index may not have.
    installed = {name: library_version(name).partition("+")[0] for name in (*LIBRARIES, *others)}
    return {"python": platform.python_version(), **installed}


def feature_version(features: Sequence[Feature]) -> str:
    """Return a digest of the features, their order and their types: 12 hex digits."""
    listed = json.dumps([(feature.name, feature.dtype) for feature in features])
    return hashlib.sha256(listed.encode()).hexdigest()[:12]


def save(
    folder: Path,
    model: Model,
    measured: Model,
    features: Sequence[Feature],
    card: Card,
    add_files: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Save a model as a new version, a candidate, and return its folder.

    Args:
        folder: the folder of all versions.
        model: the fitted model, which serves.
        measured: the same, or that which has not learned from the shoppers who measure it.
        features: the features they were trained on, in order.
        card: further content for ``model.json``; ``model_name`` and ``task`` are required.
        add_files: called with a folder to write the version's other files to.
    """
    import joblib  # slow to import, and most commands do not need it

    work = folder / ".saving"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    joblib.dump(model, work / MODEL, compress=3)
    if measured is not model:
        joblib.dump(measured, work / MEASURED, compress=3)
    add_files(work)
    digests = {path.name: _sha256(path) for path in sorted(work.iterdir())}
    digest = digests.pop(MODEL)
    version = f"{card['model_name']}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{digest[:8]}"
    card = {
        **card,
        "model_version": version,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "feature_version": feature_version(features),
        "sha256": digest,
        "files": digests,
        "features": [asdict(feature) for feature in features],
        "libraries": libraries(*model.libraries),
        "metrics": {},
        "evaluations": [],
    }
    _write_json(work / "model.json", card)
    work.rename(folder / version)
    return folder / version


def promote(folder: Path, version: str, alias: str) -> None:
    """Make a version the production version of its task."""
    replace_link(folder / alias, folder / version)


def aliases(folder: Path) -> list[str]:
    """Return the aliases of the tasks that have, or once had, a production version."""
    return sorted(
        path.name
        for path in folder.glob(f"{ALIAS}*")
        if path.is_symlink() and IS_ALIAS.fullmatch(path.name)
    )


def in_release(alias: str) -> str:
    """Return the name that the link to a task's model has in a release."""
    return alias.replace(ALIAS, "model", 1)


def task_of(card: Card) -> str:
    """Return the name of the task of a version.

    Raises:
        RestockError: an earlier version of Restock saved it, without its task.
    """
    if "task" not in card:
        raise RestockError(
            f"{card['model_version']} was saved by an earlier version of Restock. "
            "Run `restock train` again."
        )
    return card["task"]


def known(folder: Path) -> list[Card]:
    """Return the content of every ``model.json`` that can be read, the newest first."""
    cards = []
    for path in folder.glob("*/model.json"):
        if _IS_VERSION.fullmatch(path.parent.name):
            with suppress(RestockError):
                cards.append(metadata(folder, path.parent.name))
    return sorted(cards, key=lambda c: (c["created_at"], c["model_version"]), reverse=True)


def remove_unused(folder: Path, used: Collection[str], spare: int) -> None:
    """Delete versions that nothing uses, but keep the newest ``spare`` candidates of each task."""
    unused: dict[str, list[str]] = {}
    for card in known(folder):
        if card["model_version"] not in used:
            unused.setdefault(card.get("task", ""), []).append(card["model_version"])
    for names in unused.values():
        for name in names[spare:]:
            shutil.rmtree(folder / name, ignore_errors=True)


def production(folder: Path, alias: str = ALIAS) -> Path:
    """Return the folder of the production version."""
    return (folder / alias).resolve()


def metadata(folder: Path, name: str = ALIAS) -> Card:
    """Return the ``model.json`` of a version, named by itself or by an alias.

    Raises:
        RestockError: there is no such version, or its ``model.json`` is damaged.
    """
    path = folder / name / "model.json"
    if not path.exists() and IS_ALIAS.fullmatch(name):
        raise RestockError(f"no trained model in {folder}. Run `restock train` first.")
    if not path.exists():
        raise RestockError(f"{folder} has no model version {name}. `restock models` lists them.")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise RestockError(f"{path} is damaged ({error}). Run `restock train` again.") from None


def check_files(folder: Path, name: str = ALIAS) -> Card:
    """Return the ``model.json`` of a version after comparing its files with their digests.

    Raises:
        RestockError: a file is missing or changed.
    """
    card = metadata(folder, name)
    for file, digest in {MODEL: card["sha256"], **card.get("files", {})}.items():
        path = folder / name / file
        if not path.exists() or _sha256(path) != digest:
            raise RestockError(
                f"{path} is missing or does not match the sha256 in model.json. "
                "Run `restock train` again."
            )
    return card


def load(folder: Path, features: Sequence[Feature], name: str = ALIAS) -> tuple[Model, Card]:
    """Return the model that a version serves, and the content of its ``model.json``.

    Do not measure it: `load_measured` returns the model that has never seen a test shopper.

    Raises:
        RestockError: there is no such version, a file does not match its digest in ``model.json``,
            or the model was trained on features or types that differ from ``features``.
    """
    written = _checked(folder, features, name)
    return _unpickled(folder / name / MODEL, written), written


def load_measured(
    folder: Path, features: Sequence[Feature], name: str = ALIAS
) -> tuple[Model, Card]:
    """Return the model of a version that never saw a test shopper, and its ``model.json``.

    It differs from the model that serves if that one was refitted on all labelled shoppers.

    Raises:
        RestockError: as `load` does.
    """
    written = _checked(folder, features, name)
    file = MEASURED if MEASURED in written.get("files", {}) else MODEL
    return _unpickled(folder / name / file, written), written


def _checked(folder: Path, features: Sequence[Feature], name: str) -> Card:
    """Return the ``model.json`` of a version whose files and features are as expected."""
    written = check_files(folder, name)
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
    return written


def _unpickled(path: Path, written: Card) -> Model:
    """Return the model in a file. Unpickling runs code, so it comes after the digest check."""
    import joblib

    try:
        return joblib.load(path)
    except (AttributeError, ModuleNotFoundError) as error:
        raise RestockError(
            f"{path} was saved by a different version of Restock or of a library ({error}). "
            "Run `restock train` again."
        ) from None


def add_metrics(
    folder: Path, metrics: dict[str, Any], name: str = ALIAS, *, run_id: str = ""
) -> None:
    """Write the metrics of an evaluation to the ``model.json`` of a version.

    Args:
        folder: the folder of all versions.
        metrics: the metrics.
        name: the version, or an alias of it.
        run_id: the evaluation, if its tables are in a warehouse.
    """
    card = metadata(folder, name) | {"metrics": metrics}
    if run_id:
        card["evaluations"] = [*card.get("evaluations", []), run_id]
    _write_json(folder / name / "model.json", card)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    part.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
