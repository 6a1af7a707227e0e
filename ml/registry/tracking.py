"""A mirror of the model registry in MLflow, where ``MLFLOW_TRACKING_URI`` is set.

MLflow then has a run for every version, with its parameters, metrics and outcomes; the folder of
the version as a model that MLflow loads; and the aliases ``production`` and ``challenger``. Restock
reads nothing from it (docs/adr/0013). Mirroring again changes nothing, so it also repairs a mirror
that a kill left incomplete.
"""

import logging
import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ml.errors import RestockError, SettingsError
from ml.progress import Progress
from ml.registry import decisions, pyfunc, versions
from ml.settings import Settings
from ml.warehouse import connection

VARIABLE = "MLFLOW_TRACKING_URI"
EXPERIMENT = "restock"
VERSION = "restock.version"
"""The tag of an MLflow run, and of an MLflow model version, that names our version."""
_SQLITE = "sqlite:///"


def is_asked() -> bool:
    """Return whether the user wants a mirror.

    Raises:
        SettingsError: MLflow is not installed.
    """
    if not os.environ.get(VARIABLE):
        return False
    if not find_spec("mlflow"):
        raise SettingsError(
            f"{VARIABLE} is set, and MLflow is not installed. Run `pip install 'restock[mlflow]'`, "
            "or unset the variable."
        )
    return True


def mirror(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Make MLflow look like the registry: runs, models and aliases.

    Returns:
        ``rows``, the number of versions, and ``notes``.

    Raises:
        RestockError: MLflow cannot be reached, or refuses something.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for library in ("mlflow", "alembic"):  # they tell each step of setting up a database
        logging.getLogger(library).setLevel(logging.WARNING)
    uri = os.environ[VARIABLE]
    cards = versions.known(settings.models)[::-1]  # the oldest first, as MLflow numbers them
    try:
        _create_database(uri)
        client = MlflowClient(uri)
        experiment = _experiment(client, uri)
        outcomes = _outcomes(settings)
        for done, card in enumerate(cards):
            progress("mirroring", done, len(cards))
            run = _run(client, experiment, settings, card)
            measured = _numbers(card["metrics"]) | outcomes.get(card["model_version"], {})
            for name, value in measured.items():
                if run.data.metrics.get(name) != value:
                    client.log_metric(run.info.run_id, name, value)
        _point(client, settings, cards)
    except (MlflowException, OSError) as error:
        raise RestockError(
            f"the scores are published, but MLflow at {uri} could not follow: {error}. The next "
            "`restock run` repairs it."
        ) from None
    progress("mirrored", len(cards), len(cards))
    return {"rows": len(cards), "notes": []}


def _create_database(uri: str) -> None:
    """Create a SQLite database under another name first.

    MLflow cannot open one whose creation was interrupted.
    """
    from mlflow import MlflowClient

    file = Path(uri.removeprefix(_SQLITE))
    if not uri.startswith(_SQLITE) or file.exists():
        return
    incomplete = file.with_name(f".{file.name}.new")
    incomplete.unlink(missing_ok=True)
    MlflowClient(f"{_SQLITE}{incomplete}").search_experiments()
    incomplete.replace(file)


def _experiment(client: Any, uri: str) -> str:
    """Return the ID of our experiment, which is created if there is none."""
    if found := client.get_experiment_by_name(EXPERIMENT):
        return found.experiment_id
    # Without a server, MLflow would write artifacts to the working folder.
    place = None
    if uri.startswith(_SQLITE):
        place = (Path(uri.removeprefix(_SQLITE)).resolve().parent / "mlflow-artifacts").as_uri()
    return client.create_experiment(EXPERIMENT, artifact_location=place)


def _run(client: Any, experiment: str, settings: Settings, card: versions.Card) -> Any:
    """Return the finished MLflow run of a version, which is logged if there is none."""
    name, registered = card["model_version"], _registered(card)
    for run in client.search_runs([experiment], f"tags.`{VERSION}` = '{name}'"):
        if run.info.status == "FINISHED":
            return run
        client.delete_run(run.info.run_id)  # a kill left it incomplete
    tags = {VERSION: name, "restock.task": versions.task_of(card)}
    run = client.create_run(experiment, tags=tags, run_name=name)
    for parameter, value in _parameters(card).items():
        client.log_param(run.info.run_id, parameter, value)
    client.log_artifact(run.info.run_id, str(settings.models / name / "model.json"))
    model = pyfunc.log(client, run.info.run_id, settings.models / name, card)
    if not client.search_registered_models(f"name = '{registered}'"):
        client.create_registered_model(registered)
    for incomplete in _registered_versions(client, registered).get(name, []):
        client.delete_model_version(registered, incomplete)
    client.create_model_version(registered, model, run.info.run_id, tags={VERSION: name})
    client.set_terminated(run.info.run_id)
    return run


def _point(client: Any, settings: Settings, cards: Iterable[versions.Card]) -> None:
    """Point the aliases of every registered model where ours point."""
    serving = {
        versions.production(settings.models, alias).name
        for alias in versions.aliases(settings.models)
    }
    for task, registered in {card["task"]: _registered(card) for card in cards}.items():
        decided = decisions.challenge(settings, task)
        refused = {decided.challenger or ""} if decided and not decided.is_promoted else set()
        numbers = _registered_versions(client, registered)
        for alias, names in {"production": serving, "challenger": refused - serving}.items():
            if found := [number for name in names for number in numbers.get(name, [])]:
                client.set_registered_model_alias(registered, alias, found[0])
            else:
                client.delete_registered_model_alias(registered, alias)


def _registered_versions(client: Any, registered: str) -> dict[str, list[str]]:
    """Return the numbers that MLflow gave our versions, by their name."""
    found: dict[str, list[str]] = {}
    for each in client.search_model_versions(f"name = '{registered}'"):
        if name := each.tags.get(VERSION):
            found.setdefault(name, []).append(each.version)
    return found


def _registered(card: versions.Card) -> str:
    """Return the name in MLflow of the models of a version's task."""
    scope = "" if card["task"] == "reorder" else "-" + card["task"].replace("_", "-")
    return f"restock{scope}"


def _parameters(card: versions.Card) -> dict[str, Any]:
    """Return what a model was trained with, without its parts."""
    plain = {name: value for name, value in card.items() if isinstance(value, str | int | float)}
    return plain | {f"parameter.{name}": value for name, value in card["parameters"].items()}


def _outcomes(settings: Settings) -> dict[str, dict[str, float]]:
    """Return the live figures of each version that has outcomes."""
    if not settings.warehouse.exists():
        return {}
    with connection.connect(settings, read_only=True) as con:
        rows = con.sql("from rpt_live_summary").to_arrow_table().to_pylist()
    return {row["model_version"]: _numbers(row, "live_") for row in rows}


def _numbers(values: dict[str, Any], prefix: str = "") -> dict[str, float]:
    return {
        f"{prefix}{name}": float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
