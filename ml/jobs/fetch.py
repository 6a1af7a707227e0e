"""The fetch job: reads and checks the raw files, and lands them for dbt."""

from datetime import date
from typing import Any

from ml import sources
from ml.errors import SettingsError
from ml.progress import Progress
from ml.settings import Settings


def fetch(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Read and check the raw files, and land them; does nothing if they have not changed.

    Raises:
        SourceError: the raw files are missing or malformed.
        SettingsError: the scoring date is earlier than the newest order.
    """
    progress(f"reading {settings.raw_dir}", 0, 1)
    intake = sources.take_in(settings)
    reject_early_day(settings, sources.newest_order(settings.landing))
    progress("landed", 1, 1)
    return {
        "rows": sum(file.rows for file in intake.files),
        "files": {file.name: file.rows for file in intake.files},
        "path": str(settings.landing),
        "notes": list(intake.notes),
    }


def reject_early_day(settings: Settings, newest: date | None) -> None:
    """Raise a SettingsError if the scoring date is earlier than the newest order."""
    if settings.as_of and newest and date.fromisoformat(settings.as_of) < newest:
        raise SettingsError(
            f"the scoring date {settings.as_of} (--as-of, RESTOCK_AS_OF) is earlier than the "
            f"newest order ({newest}). Orders after the scoring date would count as the past. "
            f"Choose {newest} or a later date."
        )
