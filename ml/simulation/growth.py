"""A simulated shop that grows: dated orders until a day, and the truth about the orders after it.

`simulate_growth` writes three files in the format of the source `order_log`:

- ``order_lines.csv``: `user_id, order_id, product_id, ordered_at`, by day
- ``products.csv``: `product_id, product_name, aisle, department`
- ``true_probabilities.parquet``: `user_id, product_id, probability, bought, ordered_at`, with one
  row per product that a shopper bought before, for the first order after the end of the log.
  ``ordered_at`` is the date of that order. ``probability`` knows it, and the size of the trip

`process.py` describes the orders. Half of the shoppers join in the first eight weeks and the others
in the year after; they stay for 14 months on average. In a week of change, the aisles that were
in favour and the others change places, so that what was bought again before says less.

**Determinism.** A longer log is the same shop later: its first weeks have the same orders.
"""

import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

from ml.errors import SettingsError
from ml.simulation.catalogue import CATALOGUE, CATALOGUE_PARAMETERS, catalogue_size
from ml.simulation.process import (
    DAYS,
    MACROS,
    TRUTH,
    WEEKDAYS,
)
from ml.simulation.simulate import ONE_OFFS, draw_blocks, urn
from ml.simulation.workspace import Simulation, workspace

START = date(2024, 1, 1)  # a Monday
MIN_WEEKS, MAX_WEEKS = 4, 104

SHOPPERS = f"""
    create table shoppers as
    select
        range::integer as user_id,
        {ONE_OFFS} as order_count,  -- more than anyone has in these weeks
        6 * (-ln(1 - uniform('basket', range))) ** 0.6 as basket,
        uniform('loyalty', range) as loyalty,
        pick($weekdays, uniform('weekday', range)) as usual_weekday,
        3 + 6 * exp(0.4 * logistic(uniform('pace', range))) as mean_gap_days,
        case when uniform('is early', range) < 0.5 then 56 else 364 end
            * uniform('joins', range) as joined,
        joined - 420 * ln(1 - uniform('leaves', range)) as leaves
    from range(1, $shoppers + 1)
"""

# No two orders of a shopper are on one day.
APART = "update days set day = day + order_number"
LEAVE = "delete from days using shoppers where days.user_id = shoppers.user_id and day >= leaves"
# What is known when the log ends. If nothing changes, `changes_at` is null.
GROWN = """
    create table grown as
    select
        user_id,
        basket,
        loyalty,
        count_if(day < $days)::integer as closed_count,
        closed_count + 1 as next_order,
        case when $changes_on::integer is not null
            then coalesce(min(order_number) filter (where day >= $changes_on), order_count + 1)
        end as changes_at
    from shoppers join days using (user_id)
    group by user_id, basket, loyalty, order_count
    having closed_count > 0
"""
LINES = """
    select user_id, user_id::bigint * 1000 + order_number as order_id, day, product_id
    from purchases join days using (user_id, order_number)
    where not is_next
"""
# A shopper who leaves has no next order.
NEXT_ORDERS = f"""
    select user_id, product_id, day, probability, bought
    from ({TRUTH}) join block using (user_id)
    join days on days.user_id = block.user_id and order_number = next_order
"""


def simulate_growth(
    out_dir: Path,
    shoppers: int,
    seed: int = 0,
    products: int | None = None,
    weeks: int = 26,
    *,
    changes_in_week: int | None = None,
    threads: int | None = None,
    memory_limit: str = "2GB",
    progress: Callable[[int], object] = lambda shoppers_done: None,
) -> Simulation:
    """Write the orders of a shop's first weeks and the truth about the next: all or nothing.

    Args:
        out_dir: a folder that is empty or does not exist.
        shoppers: number of shoppers; not all of them have joined when the log ends.
        seed: a different seed gives a different shop.
        products: size of the catalogue. The default is 1,000 plus 10 per shopper, up to 49,688.
        weeks: length of the log.
        changes_in_week: week from which other aisles are in favour; None if nothing changes.
        threads: threads that DuckDB may use; one per core by default.
        memory_limit: memory that DuckDB may use, in DuckDB's notation.
        progress: called with the number of shoppers done after each block.

    Raises:
        SettingsError: if the folder is not empty, or a size is out of range.
        StorageError: if the disk is full or the folder cannot be written.
    """
    started = time.perf_counter()
    products = catalogue_size(shoppers, products)
    if not MIN_WEEKS <= weeks <= MAX_WEEKS:
        raise SettingsError(f"Cannot simulate {weeks} weeks. Ask for {MIN_WEEKS} to {MAX_WEEKS}.")
    with workspace(out_dir.resolve(), memory_limit, threads) as place:
        place.write("products.csv", CATALOGUE, total=products, **CATALOGUE_PARAMETERS)
        con = place.con
        con.execute(f"set variable seed = {seed}")
        con.execute(f"set variable products = {products - ONE_OFFS}")
        con.execute(MACROS)
        con.execute(SHOPPERS, {"shoppers": shoppers, "weekdays": urn(WEEKDAYS)})
        con.execute(DAYS)
        con.execute(APART)
        con.execute(LEAVE)
        changes_on = None if changes_in_week is None else 7 * changes_in_week
        con.execute(GROWN, {"days": 7 * weeks, "changes_on": changes_on})
        draw_blocks(con, "grown", shoppers, {"lines": LINES, "truth": NEXT_ORDERS}, progress)
        dated = f"* exclude (day), date '{START}' + day::integer as ordered_at"
        for table, order, name in (
            ("lines", "day, order_id, product_id", "order_lines.csv"),
            ("truth", "user_id, product_id", "true_probabilities.parquet"),
        ):
            place.write(name, f"select {dated} from {table} order by {order}")
    return Simulation(out_dir.resolve(), place.rows, time.perf_counter() - started)
