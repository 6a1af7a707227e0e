"""The run job: every step in order, in a release that is published if all steps succeed.

The steps of the purchase tasks follow those of the reorder task, where orders or events have times.
"""

from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ml.errors import RestockError
from ml.jobs import comparison, retraining
from ml.jobs.build import build
from ml.jobs.deadline import Deadline
from ml.jobs.fetch import fetch
from ml.jobs.report import report, report_failure
from ml.jobs.steps import AFTER, OF_TASK, Result, Step, later, with_tables
from ml.progress import Progress
from ml.registry import decisions, records, releases, tracking, versions
from ml.registry.decisions import Decision
from ml.settings import Settings
from ml.warehouse import connection, outcomes, run_records

Do = Callable[[str, Settings, Step], Result]


def run(
    settings: Settings,
    step: Do,
    *,
    full: bool = False,
    accept_drop: bool = False,
    deadline: Deadline | None = None,
) -> dict[str, Result]:
    """Build a new release step by step, then publish it.

    After the first run, only shoppers with new orders are built and scored
    (`ml.jobs.update`), unless a rule asks for a new model. That model is a challenger: the gate
    decides whether it serves. If nothing has changed, nothing is published. Every run is recorded,
    with its decision.

    Args:
        settings: the settings with the published paths.
        step: called with the name, settings and function of each step; returns its result.
        full: rebuild everything and train a challenger, unless the model must stay: a rollback
            holds promotion, a version was promoted and has not scored yet, or the gate has refused
            a model of the same data.
        accept_drop: accept raw files with much less than in the last run.
        deadline: ends the process, with the run recorded as failed, if the steps take too long.

    Returns:
        The result of each step by name.

    Raises:
        RestockError: a step failed, and nothing is published. Or pages could not be drawn, or
            MLflow could not follow, and everything else is published.
        SettingsError: a mirror in MLflow is asked for, and MLflow is not installed.
    """

    def give_up(reason: str) -> None:
        _record(this, started, "failed", reason)
        releases.prune(settings)

    def limited(name: str, work: Settings, function: Step) -> Result:
        with deadline.over(name, give_up) if deadline else nullcontext():
            return step(name, work, function)

    is_mirrored = tracking.is_asked()
    this = _Run(settings, limited)
    started = _now()
    releases.prune(settings)
    try:
        release = _run(this, full=full, accept_drop=accept_drop)
    except BaseException as error:
        with suppress(OSError):  # such as a full disk, which is then the error itself
            _record(this, started, "failed", str(error) or repr(error))
        raise
    finally:
        releases.prune(settings)
    _record(this, started, "published" if release else "nothing new", release=release)
    if is_mirrored:
        this.results["mirror"] = step("mirror", settings, tracking.mirror)
    return this.results


@dataclass
class _Run:
    """A run: its settings with the published paths, its steps, their results, its decisions."""

    settings: Settings
    step: Do
    results: dict[str, Result] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)

    @property
    def work(self) -> Settings:
        """The settings of the release that the run builds."""
        return self.settings.moved_to(releases.next_release(self.settings))

    def do(self, name: str, settings: Settings, function: Step) -> Result:
        """Run a step, and keep its result."""
        self.results[name] = self.step(name, settings, function)
        return self.results[name]


def _run(this: _Run, *, full: bool, accept_drop: bool) -> str:
    """Run every step, and return the name of the published release; empty if there is none."""
    from ml.jobs.update import record, update  # takes seconds to import, see `steps.later`

    settings, work, rules = this.settings, this.work, [decisions.ASKED] if full else []
    if settings.warehouse.exists():
        # Fail now rather than after the work if another process is writing to the warehouse.
        with connection.connect(settings, read_only=True):
            pass
    this.do("fetch", work, partial(fetch, published=settings, accept_drop=accept_drop))
    kept_because = _why_the_model_stays(settings, work)
    if settings.warehouse.exists() and (not full or kept_because):
        same_model = replace(work, models=settings.models)
        changed = partial(update, published=settings.warehouse, kept_because=kept_because)
        updated = this.do("update", same_model, changed)
        if not updated["is_full_run"]:
            this.decisions.append(_kept(settings, kept_because or updated["note"]))
            promoted = releases.waiting(settings)
            if not updated["has_changes"] and not promoted and _is_whole(settings):
                decisions.append(settings, this.decisions)
                return ""
            for task in _purchase_tasks(same_model, trained=True):
                this.do(_named(task, "score"), same_model, OF_TASK[task]["score"])
            for task in _tasks(promoted):
                evaluate = with_tables(OF_TASK[task]["evaluate"], AFTER[task])
                this.do(_named(task, "evaluate"), same_model, evaluate)
            return _publish(this, same_model)
        rules = updated["rules"]
        work.warehouse.unlink(missing_ok=True)
    # `score` builds the tables that depend on scores, so `build` skips them.
    this.do("build", work, _build)
    if settings.warehouse.exists():
        run_records.copy_history(settings, work)
    if _learn(this, "reorder", rules):
        _serve(this, "reorder")
        record(work)
    else:
        # The champion has a population of its own, so the new warehouse cannot be scored with it.
        work.warehouse.unlink()
        because = f"the gate did not promote {this.decisions[-1].challenger}"
        changed = partial(update, published=settings.warehouse, kept_because=because)
        this.do("update", work, changed)
        retraining.count_from_now(work)
    for task in _purchase_tasks(work):
        _learn(this, task, rules)
        _serve(this, task)
    return _publish(this, work)


def _learn(this: _Run, task: str, rules: list[str]) -> bool:
    """Train a challenger for a task, let the gate decide, and return whether it is promoted.

    In the release that the run builds, the alias of the task then names the version that serves.

    Raises:
        RestockError: the challenger is worse than a simple rule, and the champion cannot score
            these orders.
    """
    from ml.jobs import gate  # takes seconds to import, see `steps.later`
    from ml.jobs.task import TASKS

    settings, work, alias = this.settings, this.work, TASKS[task].alias
    trained = this.do(_named(task, "train"), work, OF_TASK[task]["train"])
    challenger = trained["model"]
    if gate.champion(settings, TASKS[task]):
        options = {"challenger": challenger, "published": settings, "rules": rules}
        decide = later("ml.jobs.gate:decide", task=task, **options)
        decision = Decision(**this.do(_named(task, "gate"), work, decide)["decision"])
    else:
        decision = gate.first(work, TASKS[task], challenger, rules)
    this.decisions.append(decision)
    trained["alias"] = alias
    if decision.is_promoted:
        versions.promote(work.models, challenger, alias)
    else:
        releases.refuse(challenger, work, settings, alias)
    if decision.decision == decisions.NOT_COMPARABLE and not decision.is_promoted:
        decisions.append(settings, this.decisions)
        raise RestockError(
            f"{decision.reason}. So nothing is published, and the last release stays. Serve the "
            f"new model all the same by `restock promote {challenger}`, then `restock run`."
        )
    return decision.is_promoted


def _serve(this: _Run, task: str) -> None:
    """Measure the version that serves a task, and score and audit with it."""
    for name in ("evaluate", "score", "audit"):
        this.do(_named(task, name), this.work, OF_TASK[task][name])


def _why_the_model_stays(settings: Settings, work: Settings) -> str:
    """Return why this run must not train another model; empty if it may."""
    if held := releases.held(settings):
        return (
            f"a rollback holds promotion since {held['since']}. `restock promote` lets runs train "
            "again"
        )
    if promoted := releases.waiting(settings):
        names = (versions.production(settings.models, alias).name for alias in promoted)
        return ", ".join(f"{version} was promoted" for version in names)
    last = decisions.challenge(settings, retraining.TASK)
    if last and not last.is_promoted and last.fingerprint == comparison.fingerprint(work):
        return f"the gate did not promote {last.challenger}, which learned from the same data"
    return ""


def _kept(settings: Settings, reason: str) -> Decision:
    """Return the decision of a run that trains no challenger."""
    held = releases.held(settings)
    return Decision(
        task=decisions.ALL_TASKS,
        decision=decisions.HELD if held else decisions.KEPT,
        reason=reason,
        champion=versions.production(settings.models).name,
    )


def _is_whole(settings: Settings) -> bool:
    """Return whether the last run did not fail, such as while it drew the pages."""
    runs = records.read(records.file(settings, "runs"))
    return not runs or runs[-1]["outcome"] != "failed"


def _publish(this: _Run, work: Settings) -> str:
    """Write the index and the pages of a release, publish it, and return its name.

    Raises:
        RestockError: the release is published, but pages could not be drawn.
    """
    settings = this.settings
    decided = [*decisions.read(settings), *this.decisions]
    with connection.connect(work) as con:
        outcomes.complete(con, work.source, releases.taken_back(settings))
        with connection.transaction(con):
            run_records.record_runs(con, records.read(records.file(settings, "runs")))
            run_records.record_decisions(con, [asdict(decision) for decision in decided])
    this.do("index", work, later("ml.serving.index:write"))
    failures = _draw(this, work)
    release = releases.publish(work.warehouse.parent, work, settings)
    decisions.append(settings, this.decisions)
    _tell(failures)
    return release.name


def _record(this: _Run, started: str, outcome: str, error: str = "", release: str = "") -> None:
    """Append this run to the records, which the next build loads into ``ml.runs``."""
    results = this.results
    scored = [result["batch_id"] for result in results.values() if "batch_id" in result]
    record: dict[str, Any] = {
        "started_at": started,
        "finished_at": _now(),
        "outcome": outcome,
        "decision": this.decisions[0].decision if this.decisions and not error else "",
        "reason": results.get("update", {}).get("note", ""),
        "error": error,
        "release": release,
        "batch_id": scored[0] if scored else "",
        "steps": [
            {"step": name, "rows": result["rows"], "seconds": result["seconds"]}
            for name, result in results.items()
        ],
    }
    records.append(records.file(this.settings, "runs"), record)


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


def _draw(this: _Run, work: Settings) -> dict[str, str]:
    """Draw the pages of a release, and return why pages failed, by name.

    Whatever happens here, the scores are made: a release without pages has one that says so.
    """
    try:
        draw = partial(report, keep_going=True, opened_at=this.settings.dashboards)
        return this.do("report", work, draw)["failures"]
    except Exception as error:
        reason = str(error) or repr(error)
        with suppress(OSError):
            report_failure(work, reason)
        return {"all pages": reason}


def _tell(failures: dict[str, str]) -> None:
    if failures:
        reasons = "\n".join(f"  {page}: {reason}" for page, reason in failures.items())
        raise RestockError(
            f"the scores are published, but pages could not be drawn:\n{reasons}\n"
            "Correct the cause, then run `restock report`."
        )
