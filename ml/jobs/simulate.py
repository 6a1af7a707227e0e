"""The simulate job: writes made-up orders to a folder."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ml.progress import Progress
from ml.settings import Settings
from ml.simulation.events import simulate_events
from ml.simulation.growth import simulate_growth
from ml.simulation.simulate import simulate as simulate_orders
from ml.simulation.workspace import Simulation


def simulate(
    settings: Settings,
    progress: Progress,
    *,
    out: Path,
    shoppers: int,
    products: int | None,
    seed: int,
    days: int | None = None,
    weeks: int | None = None,
) -> dict[str, Any]:
    """Write made-up data with their true probabilities.

    With a number of days, these are an order log with events, and the probability of every
    shopper-day. With a number of weeks, they are an order log without events, and the probability
    of every pair. Otherwise, they are orders in Instacart's format, and the probability of every
    pair.

    Raises:
        SettingsError: the folder is not empty, or a size is out of range.
        StorageError: the disk is full, or the folder is not writable.
    """
    write: Callable[..., Simulation] = simulate_orders
    if days is not None:
        write = partial(simulate_events, days=days)
    elif weeks is not None:
        write = partial(simulate_growth, weeks=weeks)
    done = write(
        out,
        shoppers,
        seed,
        products,
        threads=settings.threads or None,
        progress=lambda reached: progress("simulating", reached, shoppers),
    )
    return {"rows": sum(done.rows.values()), "files": done.rows, "path": str(done.folder)}
