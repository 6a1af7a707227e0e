"""The main job: every step in order, as a release that is published when all of them went well.

``<warehouse>.releases/`` holds a folder for each release, with a warehouse, a model and pages.
``<warehouse>.current`` leads to the published one, and the paths that users know lead there. So one
rename publishes all three: whoever reads them sees one release, the last good one.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from ml import sources
from ml.errors import BusyError, SettingsError
from ml.jobs import report
from ml.registry.links import replace_link
from ml.settings import Settings
from ml.warehouse import dbt, examples
from ml.warehouse.dbt import Progress

Result = dict[str, Any]
Step = Callable[[Settings, Progress], Result]


def fetch(settings: Settings, progress: Progress) -> Result:
    """Read the raw files, check them, and land them for dbt; nothing to do if they are the same.

    Raises:
        SourceError: if they are missing or malformed.
        SettingsError: if the day to score for is before the newest order.
    """
    progress(f"reading {settings.raw_dir}", 0, 1)
    intake = sources.intake(settings)
    newest = sources.newest_order(settings.landing)
    if settings.as_of and newest and date.fromisoformat(settings.as_of) < newest:
        raise _too_early(settings, newest)
    progress("landed", 1, 1)
    return {
        "rows": sum(file.rows for file in intake.files),
        "files": {file.name: file.rows for file in intake.files},
        "path": str(settings.landing),
    }


def build(settings: Settings, progress: Progress, selection: Sequence[str] = ()) -> Result:
    """Build and test every dbt model, or a selection of them."""
    fetch(settings, progress)  # dbt would too, and take what is wrong with a file for its own fault
    built = dbt.run(settings, "build", *selection, progress=progress)
    with examples.connect(settings) as con, examples.transaction(con):
        examples.record_files(con, settings)
        con.execute("delete from ml.test_results")
        examples.record_tests(con, built.tests)
        rows = examples.scalar(con, "select sum(user_product_count) from feat_users")
    return {"rows": rows, "models_and_tests": built.steps}


def later(name: str, **options: Any) -> Step:
    """Return a step by its ``module:function``, which is imported when it is done.

    What models need takes seconds to import, and nobody waits for that to read a help page.
    """
    return lambda settings, progress: resolve_name(name)(settings, progress, **options)


def with_tables(step: Step) -> Step:
    """Return a step that also rebuilds the tables that are made of what it wrote."""

    def both(settings: Settings, progress: Progress) -> Result:
        result = step(settings, progress)
        built = dbt.run(settings, "build", "--selector", "results", progress=progress)
        with examples.connect(settings) as con, examples.transaction(con):
            examples.record_tests(con, built.tests)
        return result

    return both


def score_as_of(settings: Settings, progress: Progress) -> Result:
    """Move cutoff 0 to the day that the settings name, and score as of it.

    Raises:
        SettingsError: if there are no dates in the data, or the day is before its newest order.
    """
    with examples.connect(settings, read_only=True) as con:
        newest = examples.scalar(
            con, "select cast(max(ordered_at) as date) from fct_orders where not is_open"
        )
    if settings.as_of and newest is None:
        raise SettingsError(
            "--as-of needs dates, and these orders have none: use --as-of-days, the days after "
            "each shopper's last order"
        )
    if settings.as_of and date.fromisoformat(settings.as_of) < newest:
        raise _too_early(settings, newest)
    dbt.run(settings, "build", "--select", "targets+,+examples", progress=progress)
    return STEPS["score"](settings, progress)


def _too_early(settings: Settings, newest: date) -> SettingsError:
    return SettingsError(
        f"the day to score for, {settings.as_of} (--as-of, RESTOCK_AS_OF), is before the newest "
        f"order ({newest}): what came later would be its past. Choose that day or a later one."
    )


STEPS: dict[str, Step] = {
    "fetch": fetch,
    "build": build,
    "train": later("ml.jobs.train:train"),
    "evaluate": later("ml.jobs.evaluate:evaluate"),
    "score": with_tables(later("ml.jobs.score:score")),
    "audit": later("ml.jobs.audit:audit"),
    "report": report.report,
}


def run(
    settings: Settings, step: Callable[[str, Settings, Step], Result], *, full: bool = False
) -> dict[str, Result]:
    """Do every step in a release of its own, then publish it.

    Where there is a release already, only what new orders change is made again, unless they are
    of many shoppers, or it is to be a ``full`` run: see ``ml/increment.py``.

    ``step`` is called with each step's name, its settings and its function, and returns its result.
    """
    from ml.jobs import increment  # which takes seconds, as in `later`

    _remove_all_but_current(settings)
    # The same folder each time: where the path of its warehouse changed, dbt parses all anew.
    release = Path(f"{settings.warehouse}.releases") / "next"
    work = settings.moved_to(release)
    results = {}
    try:
        if settings.warehouse.exists():
            # Finds out now, not after the work, whether another process is writing it.
            with examples.connect(settings, read_only=True):
                pass
        results["fetch"] = step("fetch", work, fetch)
        if settings.warehouse.exists() and not full:
            same_model = replace(work, models=settings.models)
            update = partial(increment.update, published=settings.warehouse)
            results["update"] = step("update", same_model, update)
            if not results["update"]["is_full_run"]:
                results["report"] = step("report", same_model, report.report)
                _publish(release, same_model, settings)
                return results
            work.warehouse.unlink(missing_ok=True)
        # What is made of the scores is built once, after them.
        steps = STEPS | {"build": partial(build, selection=("--selector", "learning"))}
        for name, function in list(steps.items())[1:]:
            results[name] = step(name, work, function)
            if name == "build" and settings.warehouse.exists():
                examples.copy_history(settings, work)
        increment.record(work)
        _publish(release, work, settings)
    finally:
        _remove_all_but_current(settings)
    return results


def _publish(release: Path, work: Settings, settings: Settings) -> None:
    """Make a release the current one: one rename changes warehouse, model and pages together."""
    from ml.registry import versions

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


def _link_all(links: dict[Path, Path]) -> None:
    for link, target in links.items():
        replace_link(link, target)


def _current(settings: Settings) -> Path:
    return Path(f"{settings.warehouse}.current")


def _remove_all_but_current(settings: Settings) -> None:
    """Remove what dead runs left, and the release before."""
    kept = _current(settings).resolve()
    for release in Path(f"{settings.warehouse}.releases").glob("*"):
        if release.resolve() != kept:
            shutil.rmtree(release, ignore_errors=True)


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
