"""The audit: whether the past knows the future, and whether serving sees what training saw."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from ml.errors import RestockError
from ml.modelling.basket import Ints
from ml.progress import Progress
from ml.settings import Settings
from ml.warehouse import connection, examples
from ml.warehouse.features import features

Column = npt.NDArray[np.float32]

# No feature made of past orders separates so well; one that holds the label does.
IMPLAUSIBLE_AUC = 0.95
# The usual line between a population that is stable and one that is not (Siddiqi, see below).
SHIFTED_PSI = 0.25
SHIFTED_MISSING_SHARE = 0.05

COUNTS = {
    "past lines at or after their target": """
        select count(*) from past_items
        inner join targets using (cutoff, user_id)
        where past_items.order_number >= targets.order_number
    """,
    "shoppers in two splits": """
        select count(*) from (
            select user_id from targets group by user_id having count(distinct split) > 1
        )
    """,
    "pairs without a prediction": """
        select count(*) from (select user_id, product_id from pair_totals where cutoff = 0) as pairs
        anti join fct_predictions using (user_id, product_id)
    """,
    "predictions without a pair": """
        select count(*) from fct_predictions
        anti join (select user_id, product_id from pair_totals where cutoff = 0) as pairs
            using (user_id, product_id)
    """,
}


@dataclass(frozen=True)
class Finding:
    """One figure of the audit; ``status`` is ``pass``, ``warn`` or ``fail``."""

    check: str
    subject: str
    value: float
    threshold: float
    status: str


def audit(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Check the warehouse, write every finding to ``ml.audit``, and insist that none fails.

    Leaks and pairs that were not scored fail. A feature whose distribution at cutoff 0 differs from
    the one at cutoff 1 is a warning: at serving the context is often a guess, and says so.

    Raises:
        RestockError: if a check fails, with what it found.
    """
    columns = features(settings)
    with connection.connect(settings) as con:
        progress("counting", 0, 3)
        findings = []
        for check, sql in COUNTS.items():
            count = connection.scalar(con, sql)
            findings.append(Finding(check, "", count, 0, "fail" if count else "pass"))
        progress("comparing features", 1, 3)
        # One batch of test shoppers is plenty for a distribution, and bounds the memory.
        past, now = (
            examples.load(con, columns, examples.batches(con, cutoff=cutoff, splits=["test"])[0])
            for cutoff in (1, 0)
        )
        for j, column in enumerate(columns):
            findings += _feature_findings(
                column.name, past.X[:, j], now.X[:, j], past.label, past.offsets
            )
        progress("writing ml.audit", 2, 3)
        run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        with connection.transaction(con):
            con.executemany(
                "insert into ml.audit values (?, ?, ?, ?, ?, ?)",
                [(run_id, f.check, f.subject, f.value, f.threshold, f.status) for f in findings],
            )
    progress("audited", 3, 3)
    failed = [finding for finding in findings if finding.status == "fail"]
    if failed:
        listed = "\n".join(f"  {f.check} {f.subject}: {f.value:g}" for f in failed)
        raise RestockError(
            f"the audit failed:\n{listed}\nLook for what tells the label in "
            "models/features, or in the raw data, before you trust this model."
        )
    return {"rows": len(findings), "run_id": run_id, "checks": _worst_by_check(findings)}


def _worst_by_check(findings: list[Finding]) -> dict[str, dict[str, Any]]:
    """Sum up each check: its worst status, how many findings have it, and the largest of those."""
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
        }
    return summary


def _feature_findings(
    name: str, past: Column, now: Column, label: npt.NDArray[np.int8], offsets: Ints
) -> Iterator[Finding]:
    auc = separation(past, label, offsets)
    yield Finding(
        "single-column AUC", name, auc, IMPLAUSIBLE_AUC, "fail" if auc > IMPLAUSIBLE_AUC else "pass"
    )
    psi = stability(past, now)
    yield Finding(
        "population stability index",
        name,
        psi,
        SHIFTED_PSI,
        "warn" if psi > SHIFTED_PSI else "pass",
    )
    for cutoff, column in ((1, past), (0, now)):
        share = float(np.isnan(column).mean())
        differs = abs(share - float(np.isnan(past).mean())) > SHIFTED_MISSING_SHARE
        yield Finding(
            f"missing share at cutoff {cutoff}",
            name,
            share,
            SHIFTED_MISSING_SHARE,
            "warn" if differs else "pass",
        )


def separation(column: Column, label: npt.NDArray[np.int8], offsets: Ints) -> float:
    """Return the AUC of a column alone, in its better direction; a missing value ranks last.

    Shoppers, who own the rows between their ``offsets``, count alike: one who buys all of
    thousands of products again makes no feature a leak.
    """
    low = np.where(np.isnan(column), np.finfo(np.float32).min, column)
    pairs = np.diff(offsets)
    auc = float(roc_auc_score(label, low, sample_weight=np.repeat(1 / pairs, pairs)))
    return max(auc, 1 - auc)


def stability(before: Column, after: Column, bins: int = 10) -> float:
    """Return the population stability index of a column between two samples.

    The sum over bins of (a - b) ln(a / b) of their shares, in bins of equal count of ``before`` and
    one for missing values (Siddiqi 2006, "Credit Risk Scorecards", chapter 8).
    """
    known = before[~np.isnan(before)]
    edges = np.unique(np.quantile(known, np.arange(1, bins) / bins)) if len(known) else np.empty(0)

    def shares(column: Column) -> npt.NDArray[np.floating]:
        code = np.where(
            np.isnan(column), len(edges) + 1, np.searchsorted(edges, column, side="right")
        )
        # Half a row more in every bin keeps the logarithm finite.
        count = np.bincount(code, minlength=len(edges) + 2) + 0.5
        return count / count.sum()

    b, a = shares(before), shares(after)
    return float(np.sum((a - b) * np.log(a / b)))
