"""The run job: every step in order, in a release that is published if all steps succeed.

The steps of the purchase tasks follow those of the reorder task, where orders or events have times.
"""

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from ml.errors import RestockError
from ml.jobs.build import build
from ml.jobs.fetch import fetch
from ml.jobs.report import report, report_failure
from ml.jobs.steps import OF_TASK, STEPS, Result, Step
from ml.progress import Progress
from ml.settings import Settings
from ml.warehouse import connection, run_records


def run(
    settings: Settings,
    step: Callable[[str, Settings, Step], Result],
    *,
    full: bool = False,
    accept_drop: bool = False,
) -> dict[str, Result]:
    """Build a new release step by step, then publish it.

    After the first run, only shoppers with new orders are built and scored
    (`ml.jobs.update`), unless too much has changed.

    Args:
        settings: the settings with the published paths.
        step: called with the name, settings and function of each step; returns its result.
        full: rebuild everything and train a new model.
        accept_drop: accept raw files with much less than in the last run.

    Returns:
        The result of each step by name.

    Raises:
        RestockError: a step failed, and nothing is published. Or pages could not be drawn, and
            everything else is published.
    """
    from ml.jobs.update import record, update  # takes seconds to import, see `steps.later`
    from ml.registry import releases

    releases.remove_all_but_current(settings)
    release = releases.next_release(settings)
    work = settings.moved_to(release)
    results = {}
    try:
        if settings.warehouse.exists():
            # Fail now rather than after the work if another process is writing to the warehouse.
            with connection.connect(settings, read_only=True):
                pass
        take_in = partial(fetch, published=settings, accept_drop=accept_drop)
        results["fetch"] = step("fetch", work, take_in)
        if settings.warehouse.exists() and not full:
            same_model = replace(work, models=settings.models)
            changed = partial(update, published=settings.warehouse)
            results["update"] = step("update", same_model, changed)
            if not results["update"]["is_full_run"]:
                for task in _purchase_tasks(same_model, trained=True):
                    name = f"{task} score"
                    results[name] = step(name, same_model, OF_TASK[task]["score"])
                failures = _draw(same_model, settings.dashboards, step, results)
                releases.publish(release, same_model, settings)
                _tell(failures)
                return results
            work.warehouse.unlink(missing_ok=True)
        # `score` builds the tables that depend on scores, so `build` skips them.
        steps = STEPS | {"build": _build}
        for name, function in list(steps.items())[1:-1]:
            results[name] = step(name, work, function)
            if name == "build" and settings.warehouse.exists():
                run_records.copy_history(settings, work)
        record(work)
        for task in _purchase_tasks(work):
            for name, function in OF_TASK[task].items():
                results[f"{task} {name}"] = step(f"{task} {name}", work, function)
        failures = _draw(work, settings.dashboards, step, results)
        releases.publish(release, work, settings)
        _tell(failures)
    finally:
        releases.remove_all_but_current(settings)
    return results


def _build(settings: Settings, progress: Progress) -> Result:
    """Build everything but the results, and note what cannot be predicted."""
    result = build(settings, progress, ("--selector", "learning"))
    skipped = defaultdict(list)
    for task, reason in _reasons_to_skip(settings).items():
        skipped[reason].append(task)
    result["notes"] = [
        f"{' and '.join(tasks)} skipped: {reason}" for reason, tasks in skipped.items() if reason
    ]
    return result


def _purchase_tasks(settings: Settings, *, trained: bool = False) -> list[str]:
    """Return the purchase tasks that the data allow, or those of them that have a model."""
    from ml.jobs.task import TASKS  # takes seconds to import, see `steps.later`

    allowed = [task for task, reason in _reasons_to_skip(settings).items() if not reason]
    return [
        task for task in allowed if not trained or (settings.models / TASKS[task].alias).exists()
    ]


def _reasons_to_skip(settings: Settings) -> dict[str, str]:
    """Return why the data do not allow a purchase task, by its name; empty if they do."""
    from ml.jobs.purchase import HORIZONS  # takes seconds to import, see `steps.later`

    with connection.connect(settings, read_only=True) as con:
        return {task: horizon.reason_to_skip(con) for task, horizon in HORIZONS.items()}


def _draw(
    work: Settings,
    opened_at: Path,
    step: Callable[[str, Settings, Step], Result],
    results: dict[str, Result],
) -> dict[str, str]:
    """Draw the pages of a release, and return why pages failed, by name.

    Whatever happens here, the scores are made: a release without pages has one that says so.
    """
    try:
        results["report"] = step(
            "report", work, partial(report, keep_going=True, opened_at=opened_at)
        )
    except Exception as error:
        reason = str(error) or repr(error)
        with suppress(OSError):
            report_failure(work, reason)
        return {"all pages": reason}
    return results["report"]["failures"]


def _tell(failures: dict[str, str]) -> None:
    if failures:
        reasons = "\n".join(f"  {page}: {reason}" for page, reason in failures.items())
        raise RestockError(
            f"the scores are published, but pages could not be drawn:\n{reasons}\n"
            "Correct the cause, then run `restock report`."
        )
