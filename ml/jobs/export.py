"""The export job: copies the published warehouse, models and pages to a folder, as plain files.

The paths that people open are links into a release, so a copying tool may copy dangling links. The
copy of an export is made aside and appears with one rename.
"""

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml.errors import RestockError, SettingsError
from ml.progress import Progress
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse import connection

TRIES = 5  # each fails only if a run publishes while the files are copied


def export(settings: Settings, progress: Progress, *, out: Path) -> dict[str, Any]:
    """Copy the published release to ``out``, a folder that is empty or does not exist.

    The copy has one release, even if a run publishes the next one meanwhile. Steps that write the
    published warehouse wait: they find it open in another process.

    Raises:
        SettingsError: ``out`` is not empty, or not a folder.
        BusyError: a single step is writing to the published warehouse.
        RestockError: nothing has been published yet.
    """
    settings.check_paths()
    out = out.expanduser().resolve()
    _check(out)
    places = {
        settings.warehouse.name: settings.warehouse,
        "model": settings.models / versions.ALIAS,
        "pages": settings.dashboards,
    }
    for place in places.values():
        if not place.exists():
            raise RestockError(f"{place} does not exist. Run `restock run` first.")
    # A task that the data do not allow has no model.
    models = {
        versions.in_release(alias): settings.models / alias
        for alias in versions.aliases(settings.models)
    }
    places |= {name: place for name, place in models.items() if place.exists()}
    out.parent.mkdir(parents=True, exist_ok=True)
    work = out.with_name(f".{out.name}-{secrets.token_hex(4)}")
    try:
        rows = _copy_release(settings, places, work, progress)
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {"rows": rows, "path": str(out)}


def _check(out: Path) -> None:
    found = next(path for path in (out, *out.parents) if path.exists())
    if not found.is_dir():
        raise SettingsError(f"{found} is not a folder. Name a new folder with --out.")
    if found == out and (any(out.iterdir()) or out.is_mount()):
        raise SettingsError(
            f"Refusing to overwrite {out}: it is not empty, or a mount. "
            "Name a new folder with --out."
        )


def _copy_release(
    settings: Settings, places: dict[str, Path], work: Path, progress: Progress
) -> int:
    """Copy one release to ``work`` and return the number of its predictions."""
    for _ in range(TRIES):
        release = [place.resolve() for place in places.values()]
        # While the warehouse is open, no step can write to it.
        with connection.connect(settings, read_only=True) as con:
            rows: int = connection.scalar(con, "select count(*) from ml.predictions")
            try:
                files = list(_files(settings, places))
                for done, (source, name) in enumerate(files):
                    progress(f"copying {name}", done, len(files))
                    (work / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, work / name)
            except FileNotFoundError:
                if release == [place.resolve() for place in places.values()]:
                    raise
        if release == [place.resolve() for place in places.values()]:
            progress("copied", len(files), len(files))
            return rows
        shutil.rmtree(work, ignore_errors=True)
    raise RestockError("runs published new releases during the copy. Try again.")


def _files(settings: Settings, places: dict[str, Path]) -> Iterator[tuple[Path, str]]:
    """Yield each file of the release, and its name in the copy."""
    log = Path(f"{settings.warehouse.resolve()}.wal")
    if log.exists():  # a step was killed; DuckDB reads its transactions from here
        yield log, f"{settings.warehouse.name}.wal"
    for name, place in places.items():
        folder = place.resolve()
        if folder.is_file():
            yield folder, name
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield path, f"{name}/{path.relative_to(folder)}"
