"""The steps of a run, by name and in order."""

from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

from ml.jobs.build import build
from ml.jobs.fetch import fetch
from ml.jobs.report import report
from ml.progress import Progress
from ml.settings import Settings
from ml.warehouse import connection, dbt, run_records

Result = dict[str, Any]
Step = Callable[[Settings, Progress], Result]


def later(name: str, **options: Any) -> Step:
    """Return a step that imports its function, ``module:function``, only when it runs.

    The model libraries take seconds to import, and `restock --help` needs none of them.
    """
    return lambda settings, progress: resolve_name(name)(settings, progress, **options)


def with_tables(step: Step) -> Step:
    """Return a step that also rebuilds the prediction and reporting tables."""

    def both(settings: Settings, progress: Progress) -> Result:
        result = step(settings, progress)
        built = dbt.run(settings, "build", "--selector", "results", progress=progress)
        with connection.connect(settings) as con, connection.transaction(con):
            run_records.record_tests(con, built.tests)
        return result

    return both


STEPS: dict[str, Step] = {
    "fetch": fetch,
    "build": build,
    "train": later("ml.jobs.train:train"),
    "evaluate": later("ml.jobs.evaluate:evaluate"),
    "score": with_tables(later("ml.jobs.score:score")),
    "audit": later("ml.jobs.audit:audit"),
    "report": report,
}
