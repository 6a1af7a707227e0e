"""The simulate job: writes made-up orders to a folder."""

from pathlib import Path
from typing import Any

from ml.progress import Progress
from ml.settings import Settings
from ml.simulation import simulate as simulation


def simulate(
    settings: Settings,
    progress: Progress,
    *,
    out: Path,
    shoppers: int,
    products: int | None,
    seed: int,
) -> dict[str, Any]:
    """Write made-up orders in Instacart's format, with the true probability of every pair.

    Raises:
        SettingsError: the folder is not empty, or a size is out of range.
        StorageError: the disk is full, or the folder is not writable.
    """
    done = simulation.simulate(
        out,
        shoppers,
        seed,
        products,
        threads=settings.threads or None,
        progress=lambda reached: progress("simulating", reached, shoppers),
    )
    return {"rows": sum(done.rows.values()), "files": done.rows, "path": str(done.folder)}
