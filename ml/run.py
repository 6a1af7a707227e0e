"""The main job: every step in order, in a folder of its own, published when all of them went well.

Whoever reads the warehouse, the model or the pages sees what the last good run made, until the new
ones take their places: each by one rename, the three right after one another.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml import registry, report, sources, transform, warehouse
from ml.audit import audit
from ml.errors import BusyError
from ml.evaluate import evaluate
from ml.score import score
from ml.settings import Settings
from ml.train import train
from ml.transform import Progress

Result = dict[str, Any]
Step = Callable[[Settings, Progress], Result]


def fetch(settings: Settings, progress: Progress) -> Result:
    """Read the raw files, check them, and land them for dbt; nothing to do if they are the same."""
    progress(f"reading {settings.raw_dir}", 0, 1)
    intake = sources.intake(settings)
    progress("landed", 1, 1)
    return {
        "rows": sum(file.rows for file in intake.files),
        "files": {file.name: file.rows for file in intake.files},
        "path": str(settings.landing),
    }


def build(settings: Settings, progress: Progress) -> Result:
    """Build and test every dbt model."""
    steps = transform.run(settings, "build", progress=progress)
    with warehouse.connect(settings, read_only=True) as con:
        rows = warehouse.scalar(con, "select count(*) from examples")
    return {"rows": rows, "models_and_tests": steps, "path": str(settings.warehouse)}


def score_and_report_tables(settings: Settings, progress: Progress) -> Result:
    """Score every pair, then rebuild what is made of the scores."""
    result = score(settings, progress)
    transform.run(settings, "build", "--selector", "results", progress=progress)
    return result | {"path": str(settings.warehouse)}


STEPS: dict[str, Step] = {
    "fetch": fetch,
    "build": build,
    "train": train,
    "evaluate": evaluate,
    "score": score_and_report_tables,
    "audit": audit,
    "report": report.report,
}


def run(settings: Settings, step: Callable[[str, Settings, Step], Result]) -> dict[str, Result]:
    """Do every step in a work folder beside the warehouse, then publish what they made.

    ``step`` is called with each step's name, its settings and its function, and returns its result.
    """
    folder = Path(f"{settings.warehouse}.run")
    shutil.rmtree(folder, ignore_errors=True)
    work = settings.moved_to(folder)
    results = {}
    try:
        if settings.warehouse.exists():
            # Finds out now, not after the work, whether another process is writing it.
            with warehouse.connect(settings, read_only=True):
                pass
        for name, function in STEPS.items():
            results[name] = step(name, work, function)
            if name == "build" and settings.warehouse.exists():
                warehouse.copy_history(settings, work)
        _publish(work, settings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return results


def _publish(work: Settings, settings: Settings) -> None:
    version = (work.models / registry.ALIAS).readlink().name
    settings.models.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(settings.models / version, ignore_errors=True)
    shutil.move(work.models / version, settings.models / version)
    pages = report.new_folder(settings.dashboards)
    shutil.copytree(work.dashboards, pages, dirs_exist_ok=True)
    # A log that a crashed writer left belongs to the file that is replaced.
    Path(f"{settings.warehouse}.wal").unlink(missing_ok=True)
    work.warehouse.replace(settings.warehouse)
    registry.promote(settings.models, version)
    report.publish(pages, settings.dashboards)


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Let one job at a time work on a warehouse; the operating system frees it if the job dies.

    Raises:
        BusyError: if another job is at it.
    """
    path = Path(f"{settings.warehouse}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BusyError(
                f"another restock job (process {file.read().strip() or 'unknown'}) is working on "
                f"{settings.warehouse}. Wait until it ends and try again; nothing was changed."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
