"""The simulate job: writes made-up orders to a folder."""

from functools import partial
from pathlib import Path
from typing import Any

from ml.progress import Progress
from ml.settings import Settings
from ml.simulation.events import simulate_events
from ml.simulation.simulate import simulate as simulate_orders


def simulate(
    settings: Settings,
    progress: Progress,
    *,
    out: Path,
    shoppers: int,
    products: int | None,
    seed: int,
    days: int | None = None,
) -> dict[str, Any]:
    """Write made-up data with their true probabilities.

    With a number of days, these are an order log with events, and the probability of every
    shopper-day. Without, they are orders in Instacart's format, and the probability of every pair.

    Raises:
        SettingsError: the folder is not empty, or a size is out of range.
        StorageError: the disk is full, or the folder is not writable.
    """
    write = partial(simulate_events, days=days) if days is not None else simulate_orders
    done = write(
        out,
        shoppers,
        seed,
        products,
        threads=settings.threads or None,
        progress=lambda reached: progress("simulating", reached, shoppers),
    )
    return {"rows": sum(done.rows.values()), "files": done.rows, "path": str(done.folder)}
