"""The main job: every step in order, in a release that is published if all of them succeed."""

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
    settings: Settings, step: Callable[[str, Settings, Step], Result], *, full: bool = False
) -> dict[str, Result]:
    """Do every step in a release of its own, then publish it.

    After a first run, only the shoppers with new orders are built and scored, unless they are
    many or ``full`` is true: see ``ml/jobs/increment.py``.

    ``step`` is called with each step's name, its settings and its function, and returns its result.
    """
    from ml.jobs import increment  # takes seconds to import, as in `steps.later`
    from ml.registry import releases

    releases.remove_all_but_current(settings)
    release = releases.next_release(settings)
    work = settings.moved_to(release)
    results = {}
    try:
        if settings.warehouse.exists():
            # Finds out now, not after the work, whether another process is writing it.
            with connection.connect(settings, read_only=True):
                pass
        results["fetch"] = step("fetch", work, fetch)
        if settings.warehouse.exists() and not full:
            same_model = replace(work, models=settings.models)
            update = partial(increment.update, published=settings.warehouse)
            results["update"] = step("update", same_model, update)
            if not results["update"]["is_full_run"]:
                results["report"] = step("report", same_model, report)
                releases.publish(release, same_model, settings)
                return results
            work.warehouse.unlink(missing_ok=True)
        # The tables made of the scores are built once, after scoring.
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
