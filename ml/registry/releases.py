"""Releases: a warehouse, models and pages that one rename publishes together.

``<warehouse>.releases/`` holds one folder per release. The link ``<warehouse>.current`` points to
the published release, and the paths that users open are links through it. So one rename publishes
all three, and readers always see one complete release.
"""

import secrets
import shutil
from pathlib import Path

from ml.registry import outputs, versions
from ml.registry.links import replace_link
from ml.settings import Settings


def next_release(settings: Settings) -> Path:
    """Return the folder that a run builds its release in.

    The folder is the same for every run, because dbt parses the whole project again whenever the
    path of the warehouse changes.
    """
    return Path(f"{settings.warehouse}.releases") / "next"


def publish(release: Path, work: Settings, settings: Settings) -> None:
    """Publish the warehouse, models and pages of a release with one rename.

    Args:
        release: the folder from `next_release`.
        work: the settings that the run used inside that folder.
        settings: the settings with the published paths.
    """
    produced = {
        alias: versions.production(work.models, alias)
        for alias in versions.ALIASES
        if (work.models / alias).exists()
    }
    if work.models != settings.models:
        settings.models.mkdir(parents=True, exist_ok=True)
        for version in produced.values():
            shutil.move(version, settings.models / version.name)
        shutil.rmtree(work.models)
    for alias, version in produced.items():
        replace_link(release / versions.ALIASES[alias], settings.models / version.name)
    release = release.rename(release.with_name(secrets.token_hex(4)))
    # A write-ahead log that a crashed writer left belongs to the old warehouse file.
    Path(f"{settings.warehouse}.wal").unlink(missing_ok=True)

    current = _current(settings)
    published = {
        settings.warehouse: current / work.warehouse.name,
        **{settings.models / alias: current / versions.ALIASES[alias] for alias in produced},
    }
    pages = current / work.dashboards.name

    def link_all() -> None:
        for link, target in published.items():
            replace_link(link, target)
        outputs.publish_pages(settings.dashboards, pages)

    if current.exists():
        link_all()
    replace_link(current, release)
    link_all()


def remove_all_but_current(settings: Settings) -> None:
    """Delete every release but the published one, including those of interrupted runs."""
    kept = _current(settings).resolve()
    for release in Path(f"{settings.warehouse}.releases").glob("*"):
        if outputs.RELEASE.fullmatch(release.name) and release.resolve() != kept:
            shutil.rmtree(release, ignore_errors=True)


def _current(settings: Settings) -> Path:
    return Path(f"{settings.warehouse}.current")
