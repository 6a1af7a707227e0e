"""The run job: every step in order, in a release that is published if all steps succeed.

The steps of the purchase task follow those of the reorder task, where orders or events have times.
"""

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
                if _has_purchase_model(same_model) and not _reason_to_skip_purchases(same_model):
                    function = OF_TASK["purchase"]["score"]
                    results["purchase score"] = step("purchase score", same_model, function)
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
        if not _reason_to_skip_purchases(work):
            for name, function in OF_TASK["purchase"].items():
                results[f"purchase {name}"] = step(f"purchase {name}", work, function)
        failures = _draw(work, settings.dashboards, step, results)
        releases.publish(release, work, settings)
        _tell(failures)
    finally:
        releases.remove_all_but_current(settings)
    return results


def _build(settings: Settings, progress: Progress) -> Result:
    """Build everything but the results, and note if purchases cannot be predicted."""
    result = build(settings, progress, ("--selector", "learning"))
    if reason := _reason_to_skip_purchases(settings):
        result["note"] = f"who buys next is not predicted: {reason}"
    return result


def _has_purchase_model(settings: Settings) -> bool:
    """Return whether the last full run trained a purchase model."""
    from ml.jobs.task import PURCHASE  # takes seconds to import, see `steps.later`

    return (settings.models / PURCHASE.alias).exists()


def _reason_to_skip_purchases(settings: Settings) -> str:
    from ml.jobs import purchase  # takes seconds to import, see `steps.later`

    with connection.connect(settings, read_only=True) as con:
        return purchase.reason_to_skip(con)


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
