"""The jobs that change what is published without a run: promote and rollback."""

from typing import Any

from ml.errors import RestockError, SettingsError
from ml.progress import Progress
from ml.registry import decisions, releases, versions
from ml.registry.decisions import Decision
from ml.settings import Settings


def promote(settings: Settings, progress: Progress, *, version: str = "") -> dict[str, Any]:
    """Put a version into production for its task, and let runs train again after a rollback.

    Without a version, only the latter.

    Raises:
        SettingsError: there is no version to promote.
        RestockError: a file of the version is missing or changed.
    """
    is_held = releases.held(settings) is not None
    if not version and not is_held:
        raise SettingsError(
            "promotion is not held, so there is nothing to release. Name the version to put into "
            "production: `restock models` lists them."
        )
    notes = []
    if version:
        notes = [_promote(settings, version)]
    if is_held:
        releases.lift_hold(settings)
        _decide(settings, decision=decisions.HOLD_LIFTED, champion=_serving(settings))
        notes.append("promotion is no longer held: the next runs train a new model when it is due")
    return {"version": version or None, "notes": notes}


def rollback(settings: Settings, progress: Progress, *, release: str = "") -> dict[str, Any]:
    """Publish an earlier release again, and hold promotion.

    Without a name, the release is the one that the published release replaced.

    Raises:
        SettingsError: there is no such release.
        RestockError: the release is not whole.
    """
    kept = {path.name: path for path in releases.kept(settings)}
    published = releases.published(settings)
    if published is None:
        raise RestockError("nothing is published yet. Run `restock run` first.")
    earlier = releases.before(published)
    if not release and earlier is None:
        raise SettingsError(
            f"the release before {published.name} is not on disk. Name another: "
            "`restock releases` lists them."
        )
    chosen = kept.get(release) if release else earlier
    if chosen is None:
        raise SettingsError(f"there is no release {release}. `restock releases` lists them.")
    if chosen == published:
        raise SettingsError(f"{release} is the published release already.")
    if missing := releases.missing(chosen, settings):
        raise RestockError(
            f"{chosen.name} is not whole: {', '.join(missing)} is missing. Nothing was changed. "
            "`restock releases` lists the others."
        )
    before = _serving(settings)
    releases.roll_back(chosen, settings)
    _decide(
        settings,
        decision=decisions.ROLLED_BACK,
        reason=f"from {published.name} to {chosen.name}",
        champion=before,
        challenger=_serving(settings),
        is_promoted=True,
    )
    note = (
        f"published {chosen.name} again, in place of {published.name}. Runs keep its model until "
        "`restock promote`"
    )
    return {"release": chosen.name, "replaced": published.name, "notes": [note]}


def _decide(settings: Settings, *, task: str = decisions.ALL_TASKS, **fields: Any) -> None:
    """Record what a user has decided."""
    decisions.append(settings, [Decision(task=task, decided_by="user", **fields)])


def _serving(settings: Settings) -> str:
    """Return the version that serves the first task."""
    return versions.production(settings.models).name


def _promote(settings: Settings, version: str) -> str:
    """Point the alias of a version's task at the version, and return what that means."""
    from ml.jobs.task import TASKS  # takes seconds to import, see `steps.later`

    card = versions.check_files(settings.models, version)
    name, task = card["model_version"], TASKS[versions.task_of(card)]
    before = versions.production(settings.models, task.alias)
    if before.name == name:
        return f"{name} is in production already"
    versions.promote(settings.models, name, task.alias)
    _decide(
        settings,
        task=task.name,
        decision=decisions.PROMOTED,
        champion=before.name if before.exists() else None,
        challenger=name,
        is_promoted=True,
    )
    if releases.published(settings) is None:
        return f"{name} is in production. Run `restock score`, then `restock evaluate`"
    return f"{name} is in production. The next `restock run` scores everything with it"
