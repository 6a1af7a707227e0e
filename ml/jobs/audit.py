"""The audit: checks for leakage and for differences between training and serving."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from ml.errors import RestockError
from ml.jobs.task import REORDER, Task
from ml.modelling.basket import Ints
from ml.progress import Progress
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse import connection, examples
from ml.warehouse.examples import Examples, Table
from ml.warehouse.feature_list import Feature, features

Column = npt.NDArray[np.float32]

# A leaked label separates the pairs this well. So does habit in a shop with standing orders.
IMPLAUSIBLE_AUC = 0.95
# From one order to the next, the AUC of an honest column moves by a few hundredths. A label that
# leaks into the newest past lifts it from what the column is worth, which earlier ones show, to 1.
LEAKED_AUC = 0.1
SHIFTED_MISSING_SHARE = 0.05


@dataclass(frozen=True)
class Finding:
    """One result of a check; ``status`` is ``pass``, ``warn`` or ``fail``."""

    check: str
    subject: str
    value: float
    threshold: float
    status: str


def audit(settings: Settings, progress: Progress, task: Task = REORDER) -> dict[str, Any]:
    """Check the warehouse, write every finding to ``ml.audit``, and raise if a check fails.

    Leaks and unscored rows fail. A feature that separates the labels very well only warns if it
    does so in every past, because shoppers may be that predictable. A feature that is missing more
    often now than in the past, or less often, is a warning too. Another task than the first has a
    table of its own.

    Raises:
        RestockError: if a check fails; the message lists what failed.
    """
    columns = features(settings, task.table.name)
    with connection.connect(settings) as con:
        progress("counting violations", 0, 3)
        findings = []
        for check, sql in task.counts.items():
            count = connection.scalar(con, sql)
            findings.append(Finding(check, "", count, 0, "fail" if count else "pass"))
        progress("comparing features", 1, 3)
        parts = task.audited(con)
        past, now = (_some(con, columns, part, task.table) for part in parts[:2])
        if past and now:
            for j, column in enumerate(columns):
                findings += _missing_findings(column, past.X[:, j], now.X[:, j], task)
            earlier = (_some(con, columns, part, task.table) for part in parts[2:])
            findings += _auc_findings(columns, past, now, earlier, task)
        progress("writing ml.audit", 2, 3)
        run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        with connection.transaction(con):
            con.executemany(
                f"insert into {task.written('audit')} values (?, ?, ?, ?, ?, ?)",
                [(run_id, f.check, f.subject, f.value, f.threshold, f.status) for f in findings],
            )
    progress("audited", 3, 3)
    failed = [finding for finding in findings if finding.status == "fail"]
    if failed:
        listed = "\n".join(f"  {f.check} {f.subject}: {f.value:g}" for f in failed)
        raise RestockError(
            f"the audit failed:\n{listed}\nFind the cause in models/ or in the raw data before you "
            "use these predictions."
        )
    passed = sum(finding.status == "pass" for finding in findings)
    note = " of ".join(filter(None, ("audit", task.scope))) + f": {passed} checks passed"
    if passed < len(findings):
        command = " --task ".join(filter(None, ("restock audit", task.scope)))
        note += f", {len(findings) - passed} to look at (`{command}` lists them)"
    checks = _worst_by_check(findings)
    return {
        "rows": len(findings),
        "run_id": run_id,
        "checks": checks,
        "notes": _refit(settings, task),
        "note": note,
    }


def _refit(settings: Settings, task: Task) -> list[str]:
    """Say whether the model that serves differs from the one that the figures are of."""
    if not versions.production(settings.models, task.alias).exists():
        return []
    shoppers = versions.metadata(settings.models, task.alias).get("refit_shoppers", 0)
    if not shoppers:
        return []
    return [
        f"the model that serves learned from {shoppers:,} labelled shoppers, test shoppers among "
        "them; the figures on test shoppers are of a model that never saw them"
    ]


def _worst_by_check(findings: list[Finding]) -> dict[str, dict[str, Any]]:
    """Summarise each check.

    Returns:
        For each check its worst status, the number of findings with it, the largest of them, and
        every finding that did not pass.
    """
    order = ("pass", "warn", "fail")
    summary: dict[str, dict[str, Any]] = {}
    for check in dict.fromkeys(finding.check for finding in findings):
        of_check = [finding for finding in findings if finding.check == check]
        status = max((finding.status for finding in of_check), key=order.index)
        worst = [finding for finding in of_check if finding.status == status]
        largest = max(worst, key=lambda finding: finding.value)
        summary[check] = {
            "status": status,
            "count": len(worst),
            "largest": round(largest.value, 4),
            "subject": largest.subject,
            "to_look_at": {
                finding.subject: round(finding.value, 4)
                for finding in sorted(of_check, key=lambda finding: -finding.value)
                if finding.status != "pass"
            },
        }
    return summary


def _some(
    con: duckdb.DuckDBPyConnection, columns: Sequence[Feature], part: str, table: Table
) -> Examples | None:
    """Return rows of a part, or None if there are none.

    One batch of them is enough for a distribution and bounds memory use.
    """
    batches = examples.batches(con, part, table)
    return examples.load(con, columns, batches[0]) if batches else None


def _auc_findings(
    columns: Sequence[Feature],
    past: Examples,
    now: Examples,
    earlier: Iterable[Examples | None],
    task: Task,
) -> Iterator[Finding]:
    """Yield the AUC of every column in the past, and whether an implausible one is a leak.

    Shoppers with a habit, such as a standing order, make a column this good at every cutoff, and
    its values at cutoff 0 differ between rows too. A leak shows in one of two ways. It reaches
    the newest past only, where the AUC is then far above that of earlier ones. Or it is the label
    of every past, and the same value for all rows of cutoff 0, whose labels nobody knows. The
    second does not apply to the context, which can be the same for everyone.
    """
    aucs = _separations(past, range(len(columns)))
    suspects = [j for j, auc in aucs.items() if auc > IMPLAUSIBLE_AUC]
    before = [_separations(rows, suspects) for rows in earlier if rows] if suspects else []
    for j, auc in aucs.items():
        proofs = []
        if j in suspects:
            if known := [of_cutoff[j] for of_cutoff in before if j in of_cutoff]:
                proofs.append((f"AUC above {task.earlier}", auc - max(known), LEAKED_AUC))
            if columns[j].group != "context":
                values = len(np.unique(now.X[:, j]))  # NaN counts as one value
                proofs.append(("one value at cutoff 0", float(values <= 1), 0))
        is_leak = any(value > threshold for _, value, threshold in proofs)
        status = "fail" if is_leak else "warn" if j in suspects else "pass"
        yield Finding("single-column AUC", columns[j].name, auc, IMPLAUSIBLE_AUC, status)
        for check, value, threshold in proofs:
            status = "fail" if value > threshold else "pass"
            yield Finding(check, columns[j].name, value, threshold, status)


def _separations(pairs: Examples, columns: Iterable[int]) -> dict[int, float]:
    """Return the AUC of columns by their position; none if all labels are the same."""
    if len(np.unique(pairs.label)) < 2:
        return {}
    return {j: separation(pairs.X[:, j], pairs.label, pairs.offsets) for j in columns}


def _missing_findings(feature: Feature, past: Column, now: Column, task: Task) -> Iterator[Finding]:
    """Yield the shares of missing values of a column in the past and now."""
    for when, column in ((task.past, past), ("at cutoff 0", now)):
        share = float(np.isnan(column).mean())
        differs = abs(share - float(np.isnan(past).mean())) > SHIFTED_MISSING_SHARE
        yield Finding(
            f"missing share {when}",
            feature.name,
            share,
            SHIFTED_MISSING_SHARE,
            "warn" if differs else "pass",
        )


def separation(column: Column, label: npt.NDArray[np.int8], offsets: Ints) -> float:
    """Return the AUC of a single column in its better direction; missing values rank lowest.

    ``offsets`` delimit the rows of each shopper, and every shopper has the same weight. Otherwise
    one shopper who buys thousands of products again could make a sound feature look like a leak.
    """
    low = np.where(np.isnan(column), np.finfo(np.float32).min, column)
    pairs = np.diff(offsets)
    auc = float(roc_auc_score(label, low, sample_weight=np.repeat(1 / pairs, pairs)))
    return max(auc, 1 - auc)
