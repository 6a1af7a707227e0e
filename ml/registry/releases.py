"""Releases: a warehouse, a model and pages that are published together by one rename.

``<warehouse>.releases/`` holds a folder for each release. ``<warehouse>.current`` leads to the
published one, and the paths that users know lead there. So one rename publishes all three, and
readers always see one release, the last good one.
"""

import secrets
import shutil
from pathlib import Path

from ml.registry import versions
from ml.registry.links import replace_link
from ml.settings import Settings


def next_release(settings: Settings) -> Path:
    """Return the folder that a run works in.

    It is the same folder each time: dbt parses the whole project again where the path of the
    warehouse changed.
    """
    return Path(f"{settings.warehouse}.releases") / "next"


def publish(release: Path, work: Settings, settings: Settings) -> None:
    """Make a release the current one: one rename changes warehouse, model and pages together."""
    version = versions.production(work.models)
    if work.models != settings.models:
        settings.models.mkdir(parents=True, exist_ok=True)
        shutil.move(version, settings.models / version.name)
        shutil.rmtree(work.models)
    replace_link(release / "model", settings.models / version.name)
    release = release.rename(release.with_name(secrets.token_hex(4)))
    # A log that a crashed writer left belongs to the file that is replaced.
    Path(f"{settings.warehouse}.wal").unlink(missing_ok=True)

    current = _current(settings)
    published = {
        settings.warehouse: current / work.warehouse.name,
        settings.models / versions.ALIAS: current / "model",
        settings.dashboards: current / work.dashboards.name,
    }
    if current.exists():
        _link_all(published)
    replace_link(current, release)
    _link_all(published)


def remove_all_but_current(settings: Settings) -> None:
    """Remove the release before the current one, and what interrupted runs left."""
    kept = _current(settings).resolve()
    for release in Path(f"{settings.warehouse}.releases").glob("*"):
        if release.resolve() != kept:
            shutil.rmtree(release, ignore_errors=True)


def _link_all(links: dict[Path, Path]) -> None:
    for link, target in links.items():
        replace_link(link, target)


def _current(settings: Settings) -> Path:
    return Path(f"{settings.warehouse}.current")
