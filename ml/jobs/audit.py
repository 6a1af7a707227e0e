"""The audit: checks for leakage and for differences between training and serving."""

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

# No feature of past orders separates the labels this well; a leaked label does.
IMPLAUSIBLE_AUC = 0.95
# The usual threshold for a population that has shifted (Siddiqi 2006, see `stability`).
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
    """One result of a check; ``status`` is ``pass``, ``warn`` or ``fail``."""

    check: str
    subject: str
    value: float
    threshold: float
    status: str


def audit(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Check the warehouse, write every finding to ``ml.audit``, and raise if a check fails.

    Leaks and unscored pairs fail. A feature whose distributions at cutoffs 0 and 1 differ is only a
    warning, because serving often guesses the context.

    Raises:
        RestockError: if a check fails; the message lists what failed.
    """
    columns = features(settings)
    with connection.connect(settings) as con:
        progress("counting violations", 0, 3)
        findings = []
        for check, sql in COUNTS.items():
            count = connection.scalar(con, sql)
            findings.append(Finding(check, "", count, 0, "fail" if count else "pass"))
        progress("comparing features", 1, 3)
        # One batch of test shoppers is enough for a distribution and bounds memory use.
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
            f"the audit failed:\n{listed}\nFind the cause in models/ or in the raw data before you "
            "use these predictions."
        )
    return {"rows": len(findings), "run_id": run_id, "checks": _worst_by_check(findings)}


def _worst_by_check(findings: list[Finding]) -> dict[str, dict[str, Any]]:
    """Summarise each check: worst status, number of findings with it, and the largest of them."""
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
    """Return the AUC of a single column in its better direction; missing values rank lowest.

    ``offsets`` delimit the rows of each shopper, and every shopper has the same weight. Otherwise
    one shopper who buys thousands of products again could make a sound feature look like a leak.
    """
    low = np.where(np.isnan(column), np.finfo(np.float32).min, column)
    pairs = np.diff(offsets)
    auc = float(roc_auc_score(label, low, sample_weight=np.repeat(1 / pairs, pairs)))
    return max(auc, 1 - auc)


def stability(before: Column, after: Column, bins: int = 10) -> float:
    """Return the population stability index of a column between two samples.

    The index is the sum over bins of (a - b) ln(a / b), where b and a are the shares of the bin
    before and after. The bins have equal count in ``before``; missing values have their own bin
    (Siddiqi 2006, "Credit Risk Scorecards", chapter 8).
    """
    known = before[~np.isnan(before)]
    edges = np.unique(np.quantile(known, np.arange(1, bins) / bins)) if len(known) else np.empty(0)

    def shares(column: Column) -> npt.NDArray[np.floating]:
        code = np.where(
            np.isnan(column), len(edges) + 1, np.searchsorted(edges, column, side="right")
        )
        # Half an extra row in every bin keeps the logarithm finite.
        count = np.bincount(code, minlength=len(edges) + 2) + 0.5
        return count / count.sum()

    b, a = shares(before), shares(after)
    return float(np.sum((a - b) * np.log(a / b)))
