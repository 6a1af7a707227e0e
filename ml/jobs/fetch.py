"""The fetch job: reads and checks the raw files, and lands them for dbt."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from ml import sources
from ml.errors import SettingsError, SourceError
from ml.progress import Progress
from ml.settings import Settings
from ml.sources import Delivery
from ml.warehouse import run_records

ACCEPTED_DROP = 0.05
"""Share by which a delivery may be smaller or older than that of the last run."""


def fetch(
    settings: Settings,
    progress: Progress,
    *,
    published: Settings | None = None,
    accept_drop: bool = False,
) -> dict[str, Any]:
    """Read and check the raw files, and land them; does nothing if they have not changed.

    Args:
        settings: the settings of the job.
        progress: called with the progress.
        published: the settings with the published warehouse; by default ``settings``.
        accept_drop: accept a delivery that is much smaller or older than that of the last run.

    Raises:
        SourceError: the raw files are missing or malformed, or the delivery is too old, or much
            smaller or older than that of the last run.
        SettingsError: the scoring date is earlier than the newest order or event, and
            ``allow_future`` is not set.
    """
    progress(f"reading {settings.database or settings.raw_dir}", 0, 1)
    intake = sources.take_in(settings, progress)
    if not settings.reading.allow_future:  # Later orders are then left out.
        reject_early_day(settings, sources.newest(settings.landing))
    delivery = sources.delivery(settings.landing)
    before = run_records.last_delivery(published or settings, delivery.source)
    if before and not accept_drop:
        _reject_drop(before, delivery)
    progress("landed", 1, 1)
    return {
        "rows": sum(file.rows for file in intake.files),
        "files": {file.name: file.rows for file in intake.files},
        "path": str(settings.landing),
        "notes": [*intake.notes, *_freshness(settings, delivery)],
    }


def reject_early_day(settings: Settings, newest: Mapping[str, date | None]) -> None:
    """Raise a SettingsError if the scoring date is earlier than the newest order or event."""
    for noun, day in newest.items():
        if settings.as_of and day and date.fromisoformat(settings.as_of) < day:
            raise SettingsError(
                f"the scoring date {settings.as_of} (--as-of, RESTOCK_AS_OF) is earlier than the "
                f"newest {noun} ({day}). What came after the scoring date would count as the past. "
                f"Choose {day} or a later date."
            )


def _reject_drop(before: Delivery, now: Delivery) -> None:
    """Raise a SourceError if a delivery is much smaller or older than the one before.

    The newest day may move back by a share of the days from the oldest order to the newest, and
    likewise for events.
    """
    drops = [
        f"{new or 0:,} {what} instead of {old:,} ({((new or 0) - old) / old:.1%})"
        for what, old, new in (
            ("order lines", before.line_count, now.line_count),
            ("shoppers", before.shopper_count, now.shopper_count),
            ("events", before.event_count, now.event_count),
        )
        if old and (new or 0) < old * (1 - ACCEPTED_DROP)
    ]
    for what, oldest, old_newest, new_newest in (
        ("order", before.oldest_order, before.newest_order, now.newest_order),
        ("event", before.oldest_event, before.newest_event, now.newest_event),
    ):
        if oldest and old_newest and new_newest:
            days = (old_newest - oldest).days
            if new_newest < old_newest - timedelta(days * ACCEPTED_DROP):
                drops.append(f"newest {what} {new_newest} instead of {old_newest}")
    if drops:
        raise SourceError(
            f"the raw files have much less than in the last run: {'; '.join(drops)}. They may be "
            "truncated. Export them again, or add --accept-drop if this is right."
        )


def _freshness(settings: Settings, delivery: Delivery) -> list[str]:
    """Return a note if the newest order or the newest event is older than the settings allow.

    Raises:
        SourceError: one is older than ``error_after``.
    """
    if not settings.warn_after and not settings.error_after:
        return []
    if delivery.newest_order is None:
        return ["freshness was not checked: the orders have no dates"]
    notes = []
    for noun, day in (("order", delivery.newest_order), ("event", delivery.newest_event)):
        if day is None:
            continue
        age = (date.today() - day).days
        found = f"the newest {noun} is {age:,} days old ({day})"
        if settings.error_after and age > settings.error_after:
            raise SourceError(
                f"{found}, and error_after (RESTOCK_ERROR_AFTER) allows {settings.error_after:,}. "
                f"Export the {noun}s again, or raise error_after in restock.toml."
            )
        if settings.warn_after and age > settings.warn_after:
            notes.append(f"{found}; warn_after is {settings.warn_after:,}")
    return notes
