"""The run job: every step in order, in a release that is published if all steps succeed.

The steps of the purchase tasks follow those of the reorder task, where orders or events have times.
"""

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ml.errors import RestockError
from ml.jobs.build import build
from ml.jobs.fetch import fetch
from ml.jobs.report import report, report_failure
from ml.jobs.steps import AFTER, OF_TASK, Result, Step, later, with_tables
from ml.progress import Progress
from ml.registry import records, releases, versions
from ml.settings import Settings
from ml.warehouse import connection, run_records

Do = Callable[[str, Settings, Step], Result]


def run(
    settings: Settings, step: Do, *, full: bool = False, accept_drop: bool = False
) -> dict[str, Result]:
    """Build a new release step by step, then publish it.

    After the first run, only shoppers with new orders are built and scored
    (`ml.jobs.update`), unless too much has changed. If nothing has changed, nothing is published.
    Every run is recorded.

    Args:
        settings: the settings with the published paths.
        step: called with the name, settings and function of each step; returns its result.
        full: rebuild everything and train a new model, unless the model must stay: a rollback holds
            promotion, or a version was promoted and has not scored yet.
        accept_drop: accept raw files with much less than in the last run.

    Returns:
        The result of each step by name.

    Raises:
        RestockError: a step failed, and nothing is published. Or pages could not be drawn, and
            everything else is published.
    """
    results: dict[str, Result] = {}
    started = _now()
    releases.prune(settings)
    try:
        release = _run(settings, step, results, full=full, accept_drop=accept_drop)
    except BaseException as error:
        with suppress(OSError):  # such as a full disk, which is then the error itself
            _record(settings, started, results, "failed", str(error) or repr(error))
        raise
    finally:
        releases.prune(settings)
    outcome = "published" if release else "nothing new"
    _record(settings, started, results, outcome, release=release)
    return results


def _run(
    settings: Settings, step: Do, results: dict[str, Result], *, full: bool, accept_drop: bool
) -> str:
    """Run every step, and return the name of the published release; empty if there is none."""
    from ml.jobs.update import record, update  # takes seconds to import, see `steps.later`

    release = releases.next_release(settings)
    work = settings.moved_to(release)
    if settings.warehouse.exists():
        # Fail now rather than after the work if another process is writing to the warehouse.
        with connection.connect(settings, read_only=True):
            pass
    take_in = partial(fetch, published=settings, accept_drop=accept_drop)
    results["fetch"] = step("fetch", work, take_in)
    kept_because = _why_the_model_stays(settings)
    if settings.warehouse.exists() and (not full or kept_because):
        same_model = replace(work, models=settings.models)
        changed = partial(update, published=settings.warehouse, kept_because=kept_because)
        results["update"] = step("update", same_model, changed)
        if not results["update"]["is_full_run"]:
            promoted = releases.waiting(settings)
            if not results["update"]["has_changes"] and not promoted and _is_whole(settings):
                return ""
            for task in _purchase_tasks(same_model, trained=True):
                name = _named(task, "score")
                results[name] = step(name, same_model, OF_TASK[task]["score"])
            for task in _tasks(promoted):
                name = _named(task, "evaluate")
                evaluate = with_tables(OF_TASK[task]["evaluate"], AFTER[task])
                results[name] = step(name, same_model, evaluate)
            return _publish(settings, same_model, step, results)
        work.warehouse.unlink(missing_ok=True)
    # `score` builds the tables that depend on scores, so `build` skips them.
    results["build"] = step("build", work, _build)
    if settings.warehouse.exists():
        run_records.copy_history(settings, work)
    _learn("reorder", work, step, results)
    record(work)
    for task in _purchase_tasks(work):
        _learn(task, work, step, results)
    return _publish(settings, work, step, results)


def _learn(task: str, work: Settings, step: Do, results: dict[str, Result]) -> None:
    """Train a candidate for a task, measure it, promote it, and score and audit with it."""

    def do(name: str, function: Step) -> Result:
        results[_named(task, name)] = step(_named(task, name), work, function)
        return results[_named(task, name)]

    steps = OF_TASK[task]
    trained = do("train", steps["train"])
    do("evaluate", later("ml.jobs.evaluate:evaluate", task=task, candidate=trained["model"]))
    trained["alias"] = _promote(task, work, trained["model"])
    do("score", steps["score"])
    do("audit", steps["audit"])


def _promote(task: str, work: Settings, candidate: str) -> str:
    """Put the version that a run has trained and measured into production in its release.

    This is the place for a gate between the candidate and the version in production.

    Returns:
        The alias of the task.
    """
    from ml.jobs.task import TASKS  # takes seconds to import, see `steps.later`

    alias = TASKS[task].alias
    versions.promote(work.models, candidate, alias)
    return alias


def _why_the_model_stays(settings: Settings) -> str:
    """Return why this run must not train another model; empty if it may."""
    if held := releases.held(settings):
        return (
            f"a rollback holds promotion since {held['since']}. `restock promote` lets runs train "
            "again"
        )
    promoted = (
        versions.production(settings.models, alias).name for alias in releases.waiting(settings)
    )
    return ", ".join(f"{version} was promoted" for version in promoted)


def _is_whole(settings: Settings) -> bool:
    """Return whether the last run did not fail, such as while it drew the pages."""
    runs = records.read(records.file(settings, "runs"))
    return not runs or runs[-1]["outcome"] != "failed"


def _publish(settings: Settings, work: Settings, step: Do, results: dict[str, Result]) -> str:
    """Write the index and the pages of a release, publish it, and return its name.

    Raises:
        RestockError: the release is published, but pages could not be drawn.
    """
    runs = records.read(records.file(settings, "runs"))
    with connection.connect(work) as con, connection.transaction(con):
        run_records.record_runs(con, runs)
    results["index"] = step("index", work, later("ml.serving.index:write"))
    failures = _draw(work, settings.dashboards, step, results)
    release = releases.publish(work.warehouse.parent, work, settings)
    _tell(failures)
    return release.name


def _record(
    settings: Settings,
    started: str,
    results: dict[str, Result],
    outcome: str,
    error: str = "",
    release: str = "",
) -> None:
    """Append this run to the records, which the next build loads into ``ml.runs``."""
    scored = [result["batch_id"] for result in results.values() if "batch_id" in result]
    record: dict[str, Any] = {
        "started_at": started,
        "finished_at": _now(),
        "outcome": outcome,
        "decision": "" if error else "trained" if "train" in results else "kept",
        "reason": results.get("update", {}).get("note", ""),
        "error": error,
        "release": release,
        "batch_id": scored[0] if scored else "",
        "steps": [
            {"step": name, "rows": result["rows"], "seconds": result["seconds"]}
            for name, result in results.items()
        ],
    }
    records.append(records.file(settings, "runs"), record)


def _tasks(aliases: list[str]) -> list[str]:
    """Return the names of the tasks with these aliases."""
    from ml.jobs.task import TASKS  # takes seconds to import, see `steps.later`

    return [name for name, task in TASKS.items() if task.alias in aliases]


def _named(task: str, step: str) -> str:
    """Return the name of a step of a task in the summary."""
    return step if task == "reorder" else f"{task} {step}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


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


def _draw(work: Settings, opened_at: Path, step: Do, results: dict[str, Result]) -> dict[str, str]:
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
