"""The list job: writes the shoppers on tomorrow's list to a csv or Parquet file."""

from pathlib import Path
from typing import Any

import numpy as np

from ml.errors import RestockError
from ml.jobs import tables
from ml.modelling.purchase_list import ListRule
from ml.progress import Progress
from ml.settings import Settings
from ml.warehouse import connection

COLUMNS = (
    *("user_id", "cutoff_at", "window_end_at", "purchase_probability", "rank", "decile"),
    *("is_held_out", "batch_id"),
)
PEOPLE = f"""
    select {", ".join(COLUMNS)}
    from fct_purchase_propensity
    anti join (select user_id from moments where cutoff = 0 and is_robot) as robots using (user_id)
    order by rank
"""


def write(
    settings: Settings,
    progress: Progress,
    *,
    out: Path,
    format: str = "csv",
    recall: float | None = None,
    size: int | None = None,
    cost: float | None = None,
    gain: float | None = None,
) -> dict[str, Any]:
    """Write the shoppers on the list to ``out``, the likeliest first.

    The rule is one of ``recall``, ``size``, or ``cost`` and ``gain``, see `ListRule`; without any,
    a recall of 95%. Held-out shoppers are on the list, and marked: leave them out when you send,
    and compare.

    Raises:
        RestockError: there are no scores.
        SettingsError: the rule is invalid, or ``out`` exists and is no list.
    """
    if (recall, size, cost, gain) == (None, None, None, None):
        recall = 0.95
    rule = ListRule(recall=recall, size=size, cost=cost, gain=gain)
    progress("reading scores", 0, 2)
    with connection.connect(settings, read_only=True) as con:
        people = con.execute(PEOPLE).fetchall()
        if not people:
            raise RestockError(
                "there are no purchase probabilities. Run `restock run`, with orders that have "
                "times."
            )
        p = np.array([row[COLUMNS.index("purchase_probability")] for row in people])
        listed = rule.choose(p)
        progress(f"writing {out}", 1, 2)
        # People are in the order of their probabilities, so the list is the first of them.
        rows = tables.copy(con, f"{PEOPLE} limit {listed.is_targeted.sum()}", out, format)
    progress("written", 2, 2)
    held_out = sum(row[COLUMNS.index("is_held_out")] for row in people[:rows])
    note = (
        f"{rows:,} of {len(people):,} shoppers, expected to hold "
        f"{listed.expected_recall:.0%} of the buyers until {people[0][2]}; "
        f"{listed.expected_precision:.1%} of them are expected to buy. "
        f"{held_out:,} are held out: leave them out, and compare"
    )
    if listed.expected_gain_per_1000 is not None:
        note += f". Expected gain per 1,000 shoppers: {listed.expected_gain_per_1000:,.2f}"
    return {"rows": rows, "path": str(out), "note": note}
