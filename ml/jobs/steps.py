"""The steps of a run, by name and in order."""

from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

from ml.jobs.build import build
from ml.jobs.fetch import fetch
from ml.jobs.report import report
from ml.progress import Progress
from ml.settings import Settings
from ml.warehouse import connection, dbt, outcomes, run_records

Result = dict[str, Any]
Step = Callable[[Settings, Progress], Result]


def later(name: str, *, task: str = "", **options: Any) -> Step:
    """Return a step that imports its function, ``module:function``, only when it runs.

    The model libraries take seconds to import, and `restock --help` needs none of them. With
    ``task``, the function is called with the task of this name.
    """

    def step(settings: Settings, progress: Progress) -> Result:
        named = {"task": resolve_name("ml.jobs.task:TASKS")[task]} if task else {}
        return resolve_name(name)(settings, progress, **named, **options)

    return step


AFTER = {
    "reorder": ("--selector", "results"),
    "purchase": (
        "--select",
        *(f"tag:purchase,path:models/{p}" for p in ("predictions", "monitoring", "reporting")),
        *("--exclude", "fct_weekly_propensity+"),
    ),
    "purchase_week": ("--select", "fct_weekly_propensity+"),
}
"""The dbt arguments for the tables that depend on the scores of each task."""


def with_tables(step: Step, selection: tuple[str, ...]) -> Step:
    """Return a step that also rebuilds the tables that dbt selects, see `AFTER`."""

    def both(settings: Settings, progress: Progress) -> Result:
        result = step(settings, progress)
        built = dbt.run(settings, "build", *selection, progress=progress)
        with connection.connect(settings) as con, connection.transaction(con):
            run_records.record_tests(con, built.tests)
            run_records.record_kpis(con)
            outcomes.keep_demand(con)
        return result

    return both


def _of_task(task: str) -> dict[str, Step]:
    """Return the steps of a task, by name and in order."""
    return {
        "train": later("ml.jobs.train:train", task=task),
        "evaluate": later("ml.jobs.evaluate:evaluate", task=task),
        "score": with_tables(later("ml.jobs.score:score", task=task), AFTER[task]),
        "audit": later("ml.jobs.audit:audit", task=task),
    }


OF_TASK = {task: _of_task(task) for task in AFTER}
"""The steps from training to the audit of each task."""
STEPS: dict[str, Step] = {"fetch": fetch, "build": build, **OF_TASK["reorder"], "report": report}
