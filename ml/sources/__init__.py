"""Read a retailer's raw files, check them strictly, and land them as typed Parquet files.

May import `ml.settings` and `ml.errors`.
"""

from ml.sources.intake import (
    SOURCES,
    Intake,
    LandedFile,
    fetch,
    land,
    landed,
    lines_after,
    newest_order,
    take_in,
)
from ml.sources.raw import SourceError

__all__ = [
    "SOURCES",
    "Intake",
    "LandedFile",
    "SourceError",
    "fetch",
    "land",
    "landed",
    "lines_after",
    "newest_order",
    "take_in",
]
