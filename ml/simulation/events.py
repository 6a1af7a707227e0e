"""A simulated web shop: an order log with events, and the true probability of every shopper-day.

`simulate_events` writes four Parquet files in the format of the source `order_log`:

- ``order_lines``: `user_id, order_id, ordered_at, product_id, quantity, price`
- ``products``: `product_id, product_name, aisle, department`
- ``events``: `user_id, occurred_at, event_type, event_id, product_id, session_id, value,
  received_at`, in the order in which they were received
- ``true_probabilities``: `user_id, cutoff_at, probability, bought`

`shop.py` describes who buys when, and `visits.py` describes the events.

**The log** starts on a Monday and ends at a midnight. It has what a shop knows at that midnight:
events that happened before it and were received before it. A purchase is received at once, so
each order has its event. Of the other events, 2% are received up to two days late. Of all events,
0.2% are in the log twice, alike in every column. One id in 1,000 is a robot.

**The truth** has a row per shopper and midnight, for the last 56 days and for the midnight at which
the log ends. `probability` is the exact chance of a purchase in the 24 hours from `cutoff_at`,
given everything drawn for the days before it, including the hidden intent that no log shows.
`bought` is whether the shopper bought. A shopper has rows from the midnight after the day they
join. A robot has rows too, with probability 0.

**Determinism.** Each draw is a hash of what it is drawn for (`draws.py`). The same seed, size and
library versions give the same bytes on any number of threads. A longer log is the same shop later:
its first days have the same visits and purchases.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml.errors import SettingsError
from ml.simulation.catalogue import CATALOGUE, CATALOGUE_PARAMETERS, catalogue_size
from ml.simulation.draws import Draws, Ints
from ml.simulation.shop import Shoppers, live
from ml.simulation.visits import DAY_SECONDS, EVENT_TYPES, Events, Sessions, is_doubled
from ml.simulation.workspace import Simulation, workspace

Array = npt.NDArray[Any]

START = "2024-01-01"  # a Monday
TRUTH_DAYS = 56
MIN_DAYS, MAX_DAYS = 28, 999  # ids have three digits for the day
BLOCK_SHOPPERS = 10_000  # bounds memory use

TABLES = f"""
    create macro moment(seconds) as timestamp '{START}' + to_seconds(seconds);
    create macro money(cents) as (cents / 100)::decimal(12, 2);
    create table events (
        user_id bigint, occurred_at timestamp, event_type enum {EVENT_TYPES}, event_id bigint,
        product_id bigint, session_id bigint, value decimal(12, 2), received_at timestamp
    );
    create table order_lines (
        user_id bigint, order_id bigint, ordered_at timestamp, product_id bigint,
        quantity bigint, price decimal(12, 2)
    );
    create table truth (user_id bigint, cutoff_at timestamp, probability double, bought boolean);
"""

# `drawn` has the rows of a block.
EVENTS = """
    insert into events
    select
        user_id, moment(occurred_at), $types[1 + event_type], event_id, nullif(product_id, 0),
        session_id, nullif(money(value), 0), moment(received_at)
    from drawn
"""
# A product that is in the cart twice is one line.
ORDER_LINES = """
    insert into order_lines
    select
        user_id, session_id // 10, moment(ordered_at), product_id, sum(quantity),
        money(any_value(value // quantity))
    from drawn
    group by user_id, session_id, ordered_at, product_id
"""
TRUTH = """
    insert into truth
    select user_id, moment(day * 86400), probability, bought
    from drawn
"""


def simulate_events(
    out_dir: Path,
    shoppers: int,
    seed: int = 0,
    products: int | None = None,
    days: int = 150,
    *,
    threads: int | None = None,
    memory_limit: str = "2GB",
    progress: Callable[[int], object] = lambda shoppers_done: None,
) -> Simulation:
    """Write an order log with events and true probabilities: all of it or nothing.

    Args:
        out_dir: a folder that is empty or does not exist.
        shoppers: number of shoppers.
        seed: a different seed gives a different shop.
        products: size of the catalogue. The default is 1,000 plus 10 per shopper, up to 49,688.
        days: length of the log. A shopper has about 0.9 events a day.
        threads: threads that DuckDB may use; one per core by default.
        memory_limit: memory that DuckDB may use, in DuckDB's notation. NumPy needs about half a
            gigabyte on top.
        progress: called with the number of shoppers done after each block.

    Raises:
        SettingsError: if the folder is not empty, or a size is out of range.
        StorageError: if the disk is full or the folder cannot be written.
    """
    started = time.perf_counter()
    out_dir = out_dir.resolve()
    products = catalogue_size(shoppers, products)
    if not MIN_DAYS <= days <= MAX_DAYS:
        raise SettingsError(f"Cannot simulate {days} days. Ask for {MIN_DAYS} to {MAX_DAYS}.")
    with workspace(out_dir, memory_limit, threads) as place:
        place.write("products.parquet", CATALOGUE, total=products, **CATALOGUE_PARAMETERS)
        place.con.execute(TABLES)
        draws = Draws(seed)
        for first in range(1, shoppers + 1, BLOCK_SHOPPERS):
            last = min(first + BLOCK_SHOPPERS - 1, shoppers)
            _draw_block(place.con, draws, np.arange(first, last + 1), products, days)
            progress(last)
        for table, order, name in (
            ("order_lines", "ordered_at, order_id, product_id", "order_lines"),
            ("events", "received_at, event_id", "events"),
            ("truth", "cutoff_at, user_id", "true_probabilities"),
        ):
            place.write(f"{name}.parquet", f"from {table} order by {order}")
            place.con.execute(f"drop table {table}")
    return Simulation(out_dir, place.rows, time.perf_counter() - started)


def _draw_block(
    con: duckdb.DuckDBPyConnection, draws: Draws, user_id: Ints, products: int, days: int
) -> None:
    """Draw a block of shoppers and add its rows to the tables."""
    shoppers = Shoppers.draw(draws, user_id)
    # The day after the log's end has a true probability, and its purchases are the outcome.
    history = live(draws, shoppers, days + 1)
    events = Events.draw(draws, Sessions.draw(draws, shoppers, history), products)

    def insert(query: str, columns: Mapping[str, Array], **parameters: object) -> None:
        con.register("drawn", pa.table(dict(columns)))
        con.execute(query, parameters)
        con.unregister("drawn")

    end = days * DAY_SECONDS
    is_in_log = (events.occurred_at < end) & (events.received_at < end)
    copies = is_in_log * (1 + is_doubled(draws, events.event_id))
    is_ordered = (events.ordered_at >= 0) & (events.ordered_at < end)
    columns = vars(events)
    insert(
        EVENTS,
        {name: np.repeat(values, copies) for name, values in columns.items()},
        types=list(EVENT_TYPES),
    )
    insert(ORDER_LINES, {name: values[is_ordered] for name, values in columns.items()})

    day = np.arange(max(1, days - TRUTH_DAYS), days + 1)
    at = np.nonzero(shoppers.joined < day[:, np.newaxis])
    at = day[at[0]], at[1]
    truth = {
        "user_id": user_id[at[1]],
        "day": at[0],
        "probability": history.probability[at],
        "bought": history.bought[at],
    }
    insert(TRUTH, truth)
