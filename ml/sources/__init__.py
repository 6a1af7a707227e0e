"""Read a retailer's raw files, check them strictly, and land them as typed Parquet files.

May import `ml.settings` and `ml.errors`.
"""

from ml.sources.detect import with_source
from ml.sources.intake import (
    SOURCES,
    Delivery,
    Intake,
    LandedFile,
    check_landing,
    delivery,
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
    "Delivery",
    "Intake",
    "LandedFile",
    "SourceError",
    "check_landing",
    "delivery",
    "fetch",
    "land",
    "landed",
    "lines_after",
    "newest_order",
    "take_in",
    "with_source",
]
