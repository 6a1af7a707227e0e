"""The run job: every step in order, in a release that is published if all steps succeed."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from ml.jobs.build import build
from ml.jobs.fetch import fetch
from ml.jobs.report import report
from ml.jobs.steps import STEPS, Result, Step
from ml.settings import Settings
from ml.warehouse import connection, history


def run(
    settings: Settings,
    step: Callable[[str, Settings, Step], Result],
    *,
    full: bool = False,
    accept_drop: bool = False,
) -> dict[str, Result]:
    """Build a new release step by step, then publish it.

    After the first run, only shoppers with new orders are built and scored
    (`ml.jobs.increment`), unless too much has changed.

    Args:
        settings: the settings with the published paths.
        step: called with the name, settings and function of each step; returns its result.
        full: rebuild everything and train a new model.
        accept_drop: accept raw files with much less than in the last run.

    Returns:
        The result of each step by name.
    """
    from ml.jobs import increment  # takes seconds to import, see `steps.later`
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
            update = partial(increment.update, published=settings.warehouse)
            results["update"] = step("update", same_model, update)
            if not results["update"]["is_full_run"]:
                results["report"] = step("report", same_model, report)
                releases.publish(release, same_model, settings)
                return results
            work.warehouse.unlink(missing_ok=True)
        # `score` builds the tables that depend on scores, so `build` skips them.
        steps = STEPS | {"build": partial(build, selection=("--selector", "learning"))}
        for name, function in list(steps.items())[1:]:
            results[name] = step(name, work, function)
            if name == "build" and settings.warehouse.exists():
                history.copy_history(settings, work)
        increment.record(work)
        releases.publish(release, work, settings)
    finally:
        releases.remove_all_but_current(settings)
    return results
