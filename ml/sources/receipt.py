"""What was landed: its record, its size and its time span."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from ml.sources.raw import SourceError, parquet

RECEIPT = "intake.json"
"""The file beside the landed tables that records them."""


@dataclass(frozen=True)
class LandedFile:
    """A raw file, the table it was landed in, its number of rows, and those left out by reason."""

    name: str
    table: str
    rows: int
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Delivery:
    """The size and the time span of what was landed.

    Attributes:
        source: one of `SOURCES`.
        line_count: number of order lines.
        shopper_count: number of shoppers.
        oldest_order: date of the oldest order; None if the source has no dates.
        newest_order: date of the newest order; None if the source has no dates.
        event_count: number of events; 0 or None if the source has none.
        oldest_event: date of the oldest event; None if the source has none.
        newest_event: date on which the newest event became known; None if the source has none.
    """

    source: str
    line_count: int
    shopper_count: int
    oldest_order: date | None
    newest_order: date | None
    event_count: int | None = None
    oldest_event: date | None = None
    newest_event: date | None = None


@dataclass(frozen=True)
class Intake:
    """A record of what was landed.

    Attributes:
        source: one of `SOURCES`.
        files: the raw files.
        fingerprint: hex digest of the landed rows in any order. Only fingerprints from the same
            DuckDB version can be compared.
        seconds: how long landing took.
        notes: what a user should know about the data, a sentence each.
    """

    source: str
    files: tuple[LandedFile, ...]
    fingerprint: str
    seconds: float
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        files = [asdict(file) for file in self.files]
        return {**asdict(self), "files": files, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Intake:
        """Rebuild an intake from the result of `to_json`."""
        files = tuple(LandedFile(**file) for file in stored["files"])
        return cls(**{**stored, "files": files, "notes": tuple(stored.get("notes", ()))})


def landed(landing_dir: Path) -> Intake:
    """Return the record of what was landed in `landing_dir`.

    Raises:
        SourceError: nothing was landed there.
    """
    try:
        receipt = json.loads((landing_dir / RECEIPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise SourceError(
            "the folder has no landed files", "Run `restock fetch`", file=str(landing_dir)
        ) from None
    return Intake.from_json(receipt["intake"])


def newest(landing_dir: Path) -> dict[str, date]:
    """Return the dates of the newest landed `order` and `event`.

    An event counts when it became known. A source without dates has neither.
    """
    days: dict[str, date] = {}
    columns = (("order", "order_lines", "ordered_at"), ("event", "event_days", "day"))
    with duckdb.connect() as con:
        for noun, table, column in columns:
            path = landing_dir / f"{table}.parquet"
            if not path.exists():
                continue
            sql = f"select cast(max({column}) as date) from {parquet(path)}"
            if day := con.execute(sql).fetchall()[0][0]:
                days[noun] = day
    return days


def lines_after(landing_dir: Path, day: date) -> dict[str, int]:
    """Return how many order lines of each raw file belong to orders after a day, where there are.

    Only settings that allow orders ahead of today let such lines in.
    """
    path = landing_dir / "order_lines.parquet"
    if not path.exists():
        return {}
    files = [file.name for file in landed(landing_dir).files if file.table == path.stem]
    if not files:  # The orders are made from events.
        return {}
    part = "part" if len(files) > 1 else "0"
    later = f"from {parquet(path)} group by order_id having min(ordered_at)::date > $day"
    with duckdb.connect() as con:
        counts = con.execute(
            f"select {part}, count(*) from {parquet(path)} "
            f"where order_id in (select order_id {later}) group by all order by all",
            {"day": day},
        ).fetchall()
    return {files[number]: lines for number, lines in counts}


def delivery(landing_dir: Path) -> Delivery:
    """Return the size and the time span of what was landed in `landing_dir`.

    Raises:
        SourceError: nothing was landed there.
    """
    source = landed(landing_dir).source
    is_log = source != "instacart"
    lines, orders = ("order_lines", "order_lines") if is_log else ("order_products", "orders")
    days = "cast(min(ordered_at) as date), cast(max(ordered_at) as date)"
    with duckdb.connect() as con:
        ((*of_orders,),) = con.execute(
            f"select (select count(*) from {parquet(landing_dir / f'{lines}.parquet')}), "
            f"count(distinct user_id), {days if is_log else 'null, null'} "
            f"from {parquet(landing_dir / f'{orders}.parquet')}"
        ).fetchall()
        if not is_log:
            return Delivery(source, *of_orders)
        ((*of_events,),) = con.execute(
            "select cast(coalesce(sum(event_count), 0) as bigint), min(day), max(day) "
            f"from {parquet(landing_dir / 'event_days.parquet')}"
        ).fetchall()
    return Delivery(source, *of_orders, *of_events)
