"""Decisions: which model serves, and why.

Every run decides once for all tasks, or once for each task that it trained a challenger for. A user
decides by `restock promote` and `restock rollback`. A decision is recorded when it takes effect, in
``<warehouse>.decisions.jsonl``, and builds load the records into ``ml.decisions``.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime

from ml.registry import records
from ml.settings import Settings

FIRST, PROMOTED, REFUSED = "first", "promoted", "refused"
TOO_FEW, NOT_COMPARABLE = "too few to tell", "not comparable"
"""With those above, what a run decides about a challenger."""
KEPT, HELD = "kept", "held"
"""What a run without a challenger decides."""
HOLD_LIFTED, ROLLED_BACK = "hold lifted", "rolled back"
"""With `PROMOTED`, what a user decides."""
ALL_TASKS = "all"
CODE_CHANGED, ASKED = "code_changed", "asked"
"""Reasons for a challenger that are no rules of the seed: changed code or settings, and a user."""

_NAMED = 6  # decisions whose challengers stay on disk: two runs with three tasks


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Decision:
    """A decision; ``ml.decisions`` describes the fields."""

    task: str
    decision: str
    decided_by: str = "run"
    is_promoted: bool = False
    rules: str = ""
    reason: str = ""
    champion: str | None = None
    challenger: str | None = None
    test_shopper_count: int | None = None
    log_loss: float | None = None
    log_loss_difference: float | None = None
    log_loss_difference_low: float | None = None
    log_loss_difference_high: float | None = None
    mean_f1: float | None = None
    mean_f1_difference: float | None = None
    mean_f1_difference_low: float | None = None
    mean_f1_difference_high: float | None = None
    baseline: str | None = None
    verdict: str | None = None
    fingerprint: str | None = None
    decided_at: str = field(default_factory=_now)

    def named(self) -> list[str]:
        """Return the rules that asked for the challenger."""
        return self.rules.split(", ") if self.rules else []


def append(settings: Settings, decisions: Iterable[Decision]) -> None:
    """Record decisions that have taken effect."""
    for decision in decisions:
        records.append(records.file(settings, "decisions"), asdict(decision))


def read(settings: Settings) -> list[Decision]:
    """Return the recorded decisions, the oldest first."""
    names = {each.name for each in fields(Decision)}
    return [
        Decision(**{name: value for name, value in record.items() if name in names})
        for record in records.read(records.file(settings, "decisions"))
    ]


def challenge(settings: Settings, task: str) -> Decision | None:
    """Return the newest decision of a run about a challenger of a task; None if there is none."""
    found = [
        each
        for each in read(settings)
        if each.decided_by == "run" and each.task == task and each.challenger
    ]
    return found[-1] if found else None


def named(settings: Settings) -> set[str]:
    """Return the versions that the last decisions about a challenger name."""
    last = [each for each in read(settings) if each.challenger][-_NAMED:]
    return {name for each in last for name in (each.champion, each.challenger) if name}
