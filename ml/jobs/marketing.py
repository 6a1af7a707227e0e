"""The list job: writes the shoppers on tomorrow's list to a csv file."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ml.errors import RestockError, SettingsError
from ml.modelling.purchase_list import ListRule
from ml.progress import Progress
from ml.settings import Settings
from ml.warehouse import connection

COLUMNS = (
    *("user_id", "cutoff_at", "window_end_at", "purchase_probability", "rank", "decile"),
    *("is_held_out", "batch_id"),
)


def write(
    settings: Settings,
    progress: Progress,
    *,
    out: Path,
    recall: float | None = None,
    size: int | None = None,
    cost: float | None = None,
    gain: float | None = None,
) -> dict[str, Any]:
    """Write the shoppers on the list to ``out``, the likeliest first.

    The rule is one of ``recall``, ``size``, or ``cost`` and ``gain``, see `ListRule`. Held-out
    shoppers are on the list, and marked: leave them out when you send, and compare.

    Raises:
        RestockError: there are no scores.
        SettingsError: the rule is invalid, or ``out`` exists and is no list.
    """
    rule = ListRule(recall=recall, size=size, cost=cost, gain=gain)
    out = out.expanduser().absolute()
    if out.exists() and not _is_list(out):
        raise SettingsError(
            f"Refusing to overwrite {out}: it is not a list that Restock wrote. "
            "Name a new file with --out."
        )
    progress("reading scores", 0, 2)
    with connection.connect(settings, read_only=True) as con:
        rows = con.execute(
            f"select {', '.join(COLUMNS)} from fct_purchase_propensity order by rank"
        ).fetchall()
        robots = {
            user
            for (user,) in con.execute(
                "select user_id from moments where cutoff = 0 and is_robot"
            ).fetchall()
        }
    if not rows:
        raise RestockError(
            "there are no purchase probabilities. Run `restock run`, or "
            "`restock train --task purchase` and `restock score --task purchase`."
        )
    people = [row for row in rows if row[0] not in robots]
    listed = rule.choose(np.array([row[COLUMNS.index("purchase_probability")] for row in people]))
    progress(f"writing {out}", 1, 2)
    on_list = [row for row, chosen in zip(people, listed.is_targeted, strict=True) if chosen]
    with _replacing(out) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(on_list)
    progress("written", 2, 2)
    held_out = sum(row[COLUMNS.index("is_held_out")] for row in on_list)
    note = (
        f"{len(on_list):,} of {len(people):,} shoppers, expected to hold "
        f"{listed.expected_recall:.0%} of the buyers until {rows[0][2]}; "
        f"{listed.expected_precision:.1%} of them are expected to buy. "
        f"{held_out:,} are held out: leave them out, and compare"
    )
    if listed.expected_gain_per_1000 is not None:
        note += f". Expected gain per 1,000 shoppers: {listed.expected_gain_per_1000:,.2f}"
    return {"rows": len(on_list), "path": str(out), "note": note}


def _is_list(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return path.is_file() and file.readline().strip() == ",".join(COLUMNS)


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces ``out`` at the end of the context."""
    part = out.with_name(f".{out.name}.part")
    try:
        yield part
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
