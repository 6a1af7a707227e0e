"""Releases: a warehouse, models, pages and index that one rename publishes together.

``<warehouse>.releases/`` holds one folder per release, named by the time it was published. The link
``<warehouse>.current`` points to the published one, and the paths that users open are links through
it. So one rename publishes everything, and readers always see one complete release. One rename
takes it back too: the last releases are kept.

A release holds the warehouse, ``pages/``, ``index/`` (`ml.serving.index`), a link to the model of
each task, and ``before``, a link to the release it replaced. ``held.json`` says that a rollback
holds promotion; it is in the release so that the rename decides this too.
"""

import json
import secrets
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ml.registry import decisions, outputs, versions
from ml.registry.links import replace_link
from ml.settings import Settings

_PAGES, _BEFORE, _HELD = "pages", "before", "held.json"


def next_release(settings: Settings) -> Path:
    """Return the folder that a run builds its release in.

    The folder is the same for every run, because dbt parses the whole project again whenever the
    path of the warehouse changes.
    """
    return _folder(settings) / "next"


def published(settings: Settings) -> Path | None:
    """Return the folder of the published release; None before the first run."""
    current = _current(settings)
    return _folder(settings) / current.readlink().name if current.exists() else None


def kept(settings: Settings) -> list[Path]:
    """Return the folders of all releases, the newest first."""
    found = [
        path
        for path in _folder(settings).glob("*")
        if outputs.RELEASE.fullmatch(path.name) and path.name != "next"
    ]
    # Names without a time are from before releases were kept.
    return sorted(found, key=lambda path: ("-" in path.name, path.name), reverse=True)


def before(release: Path) -> Path | None:
    """Return the release that this one replaced; None if it is not kept."""
    link = release / _BEFORE
    return release.with_name(link.readlink().name) if link.exists() else None


def taken_back(settings: Settings) -> list[Path]:
    """Return the warehouses of the releases that a rollback took back, the newest first."""
    everything = kept(settings)
    release = published(settings)
    newer = everything[: everything.index(release)] if release in everything else []
    return [path / settings.warehouse.name for path in newer]


def models(release: Path) -> dict[str, Path]:
    """Return the version folder of each task that a release scores, by alias."""
    return {
        link.name.replace("model", versions.ALIAS, 1): link.resolve()
        for link in sorted(release.glob("model*"))
        if link.is_symlink()
    }


def missing(release: Path, settings: Settings) -> list[str]:
    """Return the files that a release lacks; none if it is whole."""
    files = [release / settings.warehouse.name, release / _PAGES / "index.html"]
    links = {versions.in_release(alias) for alias in (versions.ALIAS, *models(release))}
    files += [release / link / versions.MODEL for link in sorted(links)]
    return [str(file) for file in files if not file.exists()]


def publish(release: Path, work: Settings, settings: Settings) -> Path:
    """Publish the warehouse, models and pages of a release with one rename.

    Args:
        release: the folder from `next_release`.
        work: the settings that the run used inside that folder.
        settings: the settings with the published paths.

    Returns:
        The folder of the published release.
    """
    produced = {
        alias: versions.production(work.models, alias)
        for alias in versions.aliases(work.models)
        if (work.models / alias).exists()
    }
    if work.models != settings.models:
        settings.models.mkdir(parents=True, exist_ok=True)
        for version in produced.values():
            if version.parent == work.models.resolve():  # else it is the champion
                shutil.move(version, settings.models / version.name)
        shutil.rmtree(work.models)
    for alias, version in produced.items():
        replace_link(release / versions.in_release(alias), settings.models / version.name)
    if replaced := published(settings):
        replace_link(release / _BEFORE, replaced)
        if (replaced / _HELD).exists():
            shutil.copyfile(replaced / _HELD, release / _HELD)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    release = release.rename(release.with_name(name))
    # A write-ahead log that a crashed writer left belongs to the old warehouse file.
    Path(f"{settings.warehouse}.wal").unlink(missing_ok=True)
    if replaced:
        # Otherwise a promotion that waits for this release would be lost if the run died here.
        _link_paths(settings, set(produced) - set(waiting(settings)))
    replace_link(_current(settings), release)
    _link_paths(settings, produced)
    return release


def refuse(version: str, work: Settings, settings: Settings, alias: str) -> None:
    """Let a release serve the champion of a task, and keep the challenger that the run trained.

    Args:
        version: the challenger.
        work: the settings that the run used.
        settings: the settings with the published paths.
        alias: the alias of the task.
    """
    shutil.move(work.models / version, settings.models / version)
    champion = versions.production(settings.models, alias)
    replace_link(work.models / champion.name, champion)
    versions.promote(work.models, champion.name, alias)


def roll_back(release: Path, settings: Settings) -> None:
    """Publish an older release again with one rename, and hold promotion."""
    held = {
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "from": _current(settings).readlink().name,
    }
    part = release / f".{_HELD}"
    part.write_text(json.dumps(held) + "\n")
    part.replace(release / _HELD)
    # Steps run alone may have left links to other pages and models.
    _link_paths(settings, versions.aliases(settings.models))
    replace_link(_current(settings), release)


def held(settings: Settings) -> dict[str, Any] | None:
    """Return since when, and from which release, a rollback holds promotion; None if none does."""
    file = _current(settings) / _HELD
    return json.loads(file.read_text()) if file.exists() else None


def lift_hold(settings: Settings) -> None:
    """Let runs promote the models they train again."""
    (_current(settings) / _HELD).unlink(missing_ok=True)


def waiting(settings: Settings) -> list[str]:
    """Return the aliases of versions that were promoted after the published release was made."""
    release = published(settings)
    if release is None:
        return []
    served = models(release)
    return [
        alias
        for alias in versions.aliases(settings.models)
        if (version := versions.production(settings.models, alias)) != served.get(alias)
        and version.exists()
    ]


def adopt(settings: Settings, alias: str) -> None:
    """Name the version that a single step scored the published release with in that release."""
    release = published(settings)
    if release and alias in waiting(settings):
        version = versions.production(settings.models, alias)
        replace_link(release / versions.in_release(alias), settings.models / version.name)
        replace_link(settings.models / alias, _current(settings) / versions.in_release(alias))


def prune(settings: Settings) -> None:
    """Delete the releases beyond the last ones, unfinished ones, and models that nothing uses."""
    last = _last(settings)
    for release in (*kept(settings), next_release(settings)):
        if release not in last:
            shutil.rmtree(release, ignore_errors=True)
    versions.remove_unused(settings.models, _used(settings, last), settings.keep_releases)


def _last(settings: Settings) -> list[Path]:
    """Return the releases to keep: the published one, those it followed, then the newest."""
    everything = kept(settings)
    line: list[Path] = []
    release = published(settings)
    while release in everything and release not in line:
        line.append(release)
        release = before(release)
    return [*line, *(path for path in everything if path not in line)][: settings.keep_releases]


def _used(settings: Settings, releases: Iterable[Path]) -> set[str]:
    """Return the versions that a release, an alias or one of the last decisions names."""
    production = (
        versions.production(settings.models, alias) for alias in versions.aliases(settings.models)
    )
    served = (version for release in releases for version in models(release).values())
    return {version.name for version in (*production, *served)} | decisions.named(settings)


def _link_paths(settings: Settings, aliases: Iterable[str]) -> None:
    """Point the paths that users open at the published release."""
    current = _current(settings)
    replace_link(settings.warehouse, current / settings.warehouse.name)
    for alias in aliases:
        replace_link(settings.models / alias, current / versions.in_release(alias))
    outputs.publish_pages(settings.dashboards, current / _PAGES)


def _folder(settings: Settings) -> Path:
    return Path(f"{settings.warehouse}.releases")


def _current(settings: Settings) -> Path:
    return Path(f"{settings.warehouse}.current")
