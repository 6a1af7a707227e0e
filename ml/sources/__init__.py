"""Read a retailer's raw files, check them strictly, and land them as typed Parquet files.

May import `ml.settings`, `ml.mongodb` and `ml.errors`.
"""

from ml.sources.detect import with_source
from ml.sources.event_parts import landed_events
from ml.sources.intake import SOURCES, fetch, land, take_in
from ml.sources.landing_folder import check_landing
from ml.sources.raw import SourceError
from ml.sources.receipt import (
    Delivery,
    Intake,
    LandedFile,
    delivery,
    landed,
    lines_after,
    newest,
)

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
    "landed_events",
    "lines_after",
    "newest",
    "take_in",
    "with_source",
]
