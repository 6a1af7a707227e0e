"""The fetch job: reads and checks the raw files, and lands them for dbt."""

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
        SettingsError: the scoring date is earlier than the newest order.
    """
    progress(f"reading {settings.database or settings.raw_dir}", 0, 1)
    intake = sources.take_in(settings, progress)
    reject_early_day(settings, sources.newest_order(settings.landing))
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


def reject_early_day(settings: Settings, newest: date | None) -> None:
    """Raise a SettingsError if the scoring date is earlier than the newest order."""
    if settings.as_of and newest and date.fromisoformat(settings.as_of) < newest:
        raise SettingsError(
            f"the scoring date {settings.as_of} (--as-of, RESTOCK_AS_OF) is earlier than the "
            f"newest order ({newest}). Orders after the scoring date would count as the past. "
            f"Choose {newest} or a later date."
        )


def _reject_drop(before: Delivery, now: Delivery) -> None:
    """Raise a SourceError if a delivery is much smaller or older than the one before.

    The newest day may move back by a share of the days from the oldest order to the newest.
    """
    drops = [
        f"{new:,} {what} instead of {old:,} ({(new - old) / old:.1%})"
        for what, old, new in (
            ("order lines", before.line_count, now.line_count),
            ("shoppers", before.shopper_count, now.shopper_count),
        )
        if new < old * (1 - ACCEPTED_DROP)
    ]
    if before.newest_order and before.oldest_order and now.newest_order:
        days = (before.newest_order - before.oldest_order).days
        if now.newest_order < before.newest_order - timedelta(days * ACCEPTED_DROP):
            drops.append(f"newest order {now.newest_order} instead of {before.newest_order}")
    if drops:
        raise SourceError(
            f"the raw files have much less than in the last run: {'; '.join(drops)}. They may be "
            "truncated. Export them again, or add --accept-drop if this is right."
        )


def _freshness(settings: Settings, delivery: Delivery) -> list[str]:
    """Return a note if the newest order is older than the settings allow.

    Raises:
        SourceError: it is older than ``error_after``.
    """
    if not settings.warn_after and not settings.error_after:
        return []
    if delivery.newest_order is None:
        return ["freshness was not checked: the orders have no dates"]
    age = (date.today() - delivery.newest_order).days
    found = f"the newest order is {age:,} days old ({delivery.newest_order})"
    if settings.error_after and age > settings.error_after:
        raise SourceError(
            f"{found}, and error_after (RESTOCK_ERROR_AFTER) allows {settings.error_after:,}. "
            "Export the orders again, or raise error_after in restock.toml."
        )
    if settings.warn_after and age > settings.warn_after:
        return [f"{found}; warn_after is {settings.warn_after:,}"]
    return []
