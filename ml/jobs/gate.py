"""The gate: decides whether a challenger takes the place of the champion of its task.

Both are measured on the same test shoppers of the new data, whom neither ever saw, because the
split is a hash. The champion meets a population that it did not learn from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ml.errors import RestockError
from ml.jobs import comparison
from ml.jobs.evaluation_report import Predictions, compare_with_rules, qualities
from ml.jobs.task import Task, features_of
from ml.modelling import gate
from ml.modelling.gate import Difference
from ml.modelling.model import Model
from ml.modelling.rules import Score
from ml.modelling.verdict import WORSE, Verdict
from ml.progress import Progress
from ml.registry import decisions, versions
from ml.registry.decisions import Decision
from ml.settings import Settings
from ml.warehouse import connection, examples
from ml.warehouse.examples import Examples
from ml.warehouse.feature_list import Feature

AGE = "model_age_days"
"""The rule by which a challenger serves although test shoppers are too few to compare it."""


@dataclass(frozen=True)
class Compared:
    """How a challenger compares with the champion, and both with the best simple rule."""

    found: Mapping[str, Difference]
    challenger: Verdict | None
    champion: Verdict | None


def champion(published: Settings, task: Task) -> str:
    """Return the version that serves a task; empty if there is none for this source."""
    version = versions.production(published.models, task.alias)
    if not version.exists():
        return ""
    card = versions.metadata(published.models, task.alias)
    return version.name if card["source"] == published.source else ""


def first(settings: Settings, task: Task, challenger: str, rules: Sequence[str]) -> Decision:
    """Return the decision about a challenger without a champion: it is promoted."""
    return Decision(
        task=task.name,
        decision=decisions.FIRST,
        is_promoted=True,
        rules=", ".join(rules),
        reason="no model served this source before",
        challenger=challenger,
        fingerprint=comparison.fingerprint(settings),
    )


def decide(
    settings: Settings,
    progress: Progress,
    task: Task,
    *,
    challenger: str,
    published: Settings,
    rules: Sequence[str],
) -> dict[str, Any]:
    """Compare a challenger with the champion of a task, and decide which of them serves.

    Writes the metrics of a challenger that is not promoted to its ``model.json``. Promotes nothing.

    Args:
        settings: the settings of the run, with the new warehouse and the challenger.
        progress: called with the progress.
        task: the task.
        challenger: the version that the run has trained.
        published: the settings with the published models.
        rules: the rules that asked for the challenger.

    Returns:
        ``rows`` compared, the fields of the ``decision``, and a ``note``.

    Raises:
        RestockError: the challenger cannot be read.
    """
    columns = features_of(settings, task, challenger)
    model, _ = versions.load_measured(settings.models, columns, challenger)
    decision = Decision(
        task=task.name,
        decision=decisions.TOO_FEW,
        rules=", ".join(rules),
        champion=champion(published, task),
        challenger=challenger,
        fingerprint=comparison.fingerprint(settings),
    )
    serving, known, why = _load(published, task)
    progress("reading examples", 0, 2)
    with connection.connect(settings, read_only=True) as con:
        if task.measured_by_folds(con):
            decision = replace(decision, test_shopper_count=0)
            decided = _too_few(decision, None) if serving else _not_comparable(decision, why, None)
            return _result(decided, 0)
        columns = max(columns, known, key=len)  # one of the models may read sequences
        test = examples.read_part(con, columns, task.parts["test"], task.table)
        beside = task.beside(settings, con, columns, test)
    progress("comparing with the champion", 1, 2)
    decision = replace(decision, test_shopper_count=len(test.user_id))
    if serving:
        compared = compare(task, test, beside, model, serving, seed=settings.seed)
        decision = _with_figures(decision, compared)
        is_enough = len(test.user_id) >= gate.MINIMUM_SHOPPERS
        decision = judged(decision, compared) if is_enough else _too_few(decision, compared)
    else:
        predicted, of_rules = Predictions.of(model, test), qualities(task, test, beside)
        found = compare_with_rules(task, test, model.name, predicted, of_rules, settings.seed)
        decision = _not_comparable(decision, why, found)
    if not decision.is_promoted:
        _write_metrics(settings, task, test, model, challenger)
    progress("decided", 2, 2)
    return _result(decision, len(test))


def compare(
    task: Task,
    test: Examples,
    beside: Mapping[str, Score],
    challenger: Model,
    champion: Model,
    *,
    seed: int,
) -> Compared:
    """Measure both models, and the baselines beside them, on the same test rows."""
    rules = qualities(task, test, beside)
    ours, theirs = (Predictions.of(model, test) for model in (champion, challenger))
    found = gate.compare(
        task.rule.gated(ours.score(), test.label, test.offsets),
        task.rule.gated(theirs.score(), test.label, test.offsets),
        np.diff(test.offsets).astype(float),
        seed=seed,
    )
    return Compared(
        found,
        compare_with_rules(task, test, challenger.name, theirs, rules, seed),
        compare_with_rules(task, test, champion.name, ours, rules, seed),
    )


def judged(decision: Decision, compared: Compared) -> Decision:
    """Return the decision about a challenger that enough test shoppers have measured."""
    against = gate.faults(compared.found, compared.challenger, compared.champion)
    return replace(
        decision,
        decision=decisions.REFUSED if against else decisions.PROMOTED,
        is_promoted=not against,
        reason="; ".join([gate.described(compared.found), *against]),
    )


def _load(published: Settings, task: Task) -> tuple[Model | None, list[Feature], str]:
    """Return the champion of a task and its features, or None and why it cannot score these."""
    try:
        columns = features_of(published, task)
        return versions.load_measured(published.models, columns, task.alias)[0], columns, ""
    except RestockError as error:
        return None, [], str(error)


def _too_few(decision: Decision, compared: Compared | None) -> Decision:
    """Return the decision where nothing can be told: only the age of the model promotes."""
    is_worse = compared is not None and _is_worse(compared.challenger)
    is_promoted = AGE in decision.named() and not is_worse
    return replace(
        decision,
        decision=decisions.TOO_FEW,
        is_promoted=is_promoted,
        reason=f"{decision.test_shopper_count:,} test shoppers, and the gate needs "
        f"{gate.MINIMUM_SHOPPERS:,}"
        + ("; promoted because of the age of the champion" if is_promoted else ""),
    )


def _not_comparable(decision: Decision, why: str, verdict: Verdict | None) -> Decision:
    """Return the decision where the champion cannot be measured, nor score these orders."""
    against = (
        f"; {verdict.rule.replace('_', ' ')} is better" if verdict and _is_worse(verdict) else ""
    )
    return replace(
        decision,
        decision=decisions.NOT_COMPARABLE,
        is_promoted=not against,
        baseline=verdict.rule if verdict else None,
        verdict=verdict.verdict if verdict else None,
        reason=f"the champion cannot be measured: {why}{against}",
    )


def _is_worse(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.verdict == WORSE


def _with_figures(decision: Decision, compared: Compared) -> Decision:
    figures: dict[str, Any] = {}
    for name, each in compared.found.items():
        ends = ("", "_low", "_high")
        figures[name] = each.champion
        figures |= {
            f"{name}_difference{end}": None if np.isnan(value) else value
            for end, value in zip(ends, each.difference, strict=True)
        }
    if compared.challenger:
        figures["baseline"] = compared.challenger.rule
        figures["verdict"] = compared.challenger.verdict
    return replace(decision, **figures)


def _write_metrics(
    settings: Settings, task: Task, test: Examples, model: Model, challenger: str
) -> None:
    """Write the metrics of a challenger that no evaluation will measure."""
    estimates = task.rule.measure(
        Predictions.of(model, test).score(),
        test.label,
        test.key.to_numpy(),
        test.offsets,
        seed=settings.seed,
    )
    figures = {name: each.value for name, each in estimates.items() if not np.isnan(each.value)}
    measured = {"run_id": "", "split": "test", "protocol": "holdout"}
    versions.add_metrics(settings.models, measured | figures, challenger)


def _result(decision: Decision, rows: int) -> dict[str, Any]:
    name = decision.challenger
    serves = f"{name} serves"
    if not decision.is_promoted:
        serves = f"{name} does not serve, unless you run `restock promote {name}`"
    note = f"{decision.decision}: {serves}. {decision.reason}"
    return {"rows": rows, "decision": asdict(decision), "note": note}
