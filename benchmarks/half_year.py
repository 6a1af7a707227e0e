"""Runs a job each week in a simulated shop that grows, and grades what it served; writes a table.

    python benchmarks/half_year.py --out /tmp/half_year

Shoppers join and leave every week. Once, the catalogue changes: an aisle and its department have
other names. Once, a delivery is cut off, and the intake refuses it. Once, other aisles come into
favour. Predictions are graded on the first order of each shopper before the next release. Beside
them are the first model, if it had served for ever, and the truth, both graded on the same orders.

The table goes to `half_year.csv` in the folder, a line for each week, and in short to the standard
output.
"""

import argparse
import csv
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml.errors import RestockError
from ml.jobs.run import run
from ml.jobs.steps import Result, Step
from ml.modelling.basket import expected_f1_basket, f1
from ml.progress import silent
from ml.registry import decisions, records, versions
from ml.registry.lock import exclusive
from ml.settings import Settings
from ml.simulation.growth import START, simulate_growth
from ml.warehouse import population
from ml.warehouse.examples import matrix
from ml.warehouse.feature_list import features

BEFORE = 20
"""Weeks of the log before the first run."""
NAMES = {",chips,snacks": ",crisps,salty snacks"}
"""What the change of the catalogue renames."""


@dataclass(frozen=True)
class Story:
    """The shop, and the weeks after the first run in which something happens."""

    shoppers: int
    weeks: int
    seed: int = 0

    @property
    def catalogue_changes(self) -> int:
        """The week of the new names."""
        return self.weeks // 3

    @property
    def delivery_breaks(self) -> int:
        """The week of the delivery that is cut off."""
        return self.weeks // 2

    @property
    def taste_changes(self) -> int:
        """The week before which other aisles come into favour."""
        return 2 * self.weeks // 3

    def deliver(self, week: int, raw: Path, truth: Path) -> None:
        """Write the raw files of a week, and the truth about the orders after it."""
        simulated = raw.with_name("simulated")
        shutil.rmtree(simulated, ignore_errors=True)
        simulate_growth(
            simulated,
            self.shoppers,
            self.seed,
            products=1_000,
            weeks=BEFORE + week,
            changes_in_week=BEFORE + self.taste_changes,
        )
        (simulated / "true_probabilities.parquet").replace(truth)
        catalogue, lines = simulated / "products.csv", simulated / "order_lines.csv"
        if week >= self.catalogue_changes:
            text = catalogue.read_text()
            for old, new in NAMES.items():
                text = text.replace(old, new)
            catalogue.write_text(text)
        if week == self.delivery_breaks:
            os.truncate(lines, lines.stat().st_size * 2 // 3)
        shutil.rmtree(raw, ignore_errors=True)
        simulated.rename(raw)


@dataclass(frozen=True)
class Week:
    """A line of the table. Figures are those of the orders until the next release."""

    week: int
    outcome: str
    decision: str
    rules: str
    reason: str
    model: str
    orders: int = 0
    mean_f1: float = np.nan
    first_mean_f1: float = np.nan
    true_mean_f1: float = np.nan
    log_loss: float = np.nan
    first_log_loss: float = np.nan
    true_log_loss: float = np.nan


def live(story: Story, out: Path) -> Iterator[Week]:
    """Yield the lines of the table, each when the release after it is published."""
    raw, first = out / "raw", out / "first"
    waiting: list[Week] = []
    served = pa.table({})
    for week in range(story.weeks):
        truth = out / f"truth_{week}.parquet"
        story.deliver(week, raw, truth)
        today = START + timedelta(weeks=BEFORE + week)
        settings = Settings.load(
            source="order_log",
            raw_dir=raw,
            warehouse=out / "restock.duckdb",
            as_of=today.isoformat(),
        )
        line = replace(job(settings), week=week)
        if line.outcome == "published":
            if waiting:
                yield replace(waiting[0], **grade(served, out / "truth.parquet", today))
                yield from waiting[1:]
                waiting = []
            if not first.exists():
                shutil.copytree(settings.models / "production", first)
            served = predictions(settings, first)
            truth.replace(out / "truth.parquet")
        waiting.append(line)
    yield replace(waiting[0], **grade(served, out / "truth.parquet", today + timedelta(weeks=1)))
    yield from waiting[1:]


def job(settings: Settings) -> Week:
    """Run every step, as `restock run` does, and return what was decided.

    The records have CPU seconds.
    """

    def step(name: str, work: Settings, function: Step) -> Result:
        started = time.process_time()
        result = function(work, silent)
        return {**result, "seconds": round(time.process_time() - started, 2)}

    settings.prepare_workspace()
    before = len(decisions.read(settings))
    with exclusive(settings), suppress(RestockError):
        run(settings, step)
    last = records.read(records.file(settings, "runs"))[-1]
    model = versions.production(settings.models).name
    for decision in decisions.read(settings)[before:]:
        if decision.task in (decisions.ALL_TASKS, "reorder"):
            reason = last["error"] or decision.reason
            return Week(0, last["outcome"], decision.decision, decision.rules, reason, model)
    return Week(0, last["outcome"], "", "", last["error"], model)


def predictions(settings: Settings, first: Path) -> pa.Table:
    """Return what is published, and what the first model would have published."""
    with duckdb.connect() as con:
        con.execute(f"attach '{settings.warehouse}' as restock (read_only)")
        con.execute("create schema given; create schema population")
        for table in population.FILES:
            con.execute(f"create table population.{table} as from '{first / table}.parquet'")
        con.execute("create table given.orders as from restock.fct_orders")
        con.execute(
            "create table given.order_items as select order_id, product_id, cart_position, "
            "quantity, sales_value from restock.fct_order_items"
        )
        day = {"as_of": settings.as_of, "as_of_days": None}
        statement = (first / "features.sql").read_text()
        rows: pa.Table = con.sql(statement, params=day).to_arrow_table()
        columns = features(settings, "examples")
        model, _ = versions.load(first.parent, columns, first.name)
        offsets = starts(rows.column("user_id").to_numpy())
        probability = model.predict(
            matrix(rows, columns, np.arange(len(rows), dtype=np.uint64))
        ).astype(np.float32)
        theirs = pa.table(
            {
                "user_id": rows.column("user_id"),
                "product_id": rows.column("product_id"),
                "first_probability": probability,
                "is_first": model.rule.choose(probability, rows.column("product_id"), offsets),
            }
        )
        con.register("theirs", theirs)
        both: pa.Table = con.sql(
            "select user_id, product_id, reorder_probability, in_basket, first_probability, "
            "is_first from restock.fct_predictions full join theirs using (user_id, product_id)"
        ).to_arrow_table()
        return both


def grade(served: pa.Table, truth: Path, until: date) -> dict[str, Any]:
    """Return the figures of the first orders before a day."""
    with duckdb.connect() as con:
        con.register("served", served)
        rows = con.execute(
            f"from '{truth}' left join served using (user_id, product_id) "
            "where ordered_at < ? order by user_id, product_id",
            [until],
        ).fetchnumpy()
    offsets, bought = starts(rows["user_id"]), rows["bought"].astype(int)
    true_basket, _ = expected_f1_basket(rows["probability"], offsets)
    found: dict[str, Any] = {"orders": len(offsets) - 1}
    for name, p, basket in (
        ("", rows["reorder_probability"], rows["in_basket"]),
        ("first_", rows["first_probability"], rows["is_first"]),
        ("true_", rows["probability"], true_basket),
    ):
        if np.ma.is_masked(p):
            raise ValueError(f"{truth}: a pair was not scored")
        p = p.astype(float)
        found[f"{name}log_loss"] = -np.log(np.where(bought, p, 1 - p).clip(2.22e-16)).mean()
        found[f"{name}mean_f1"] = f1(basket.astype(bool), bought, offsets).mean()
    return found


def starts(user_id: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the offsets of the shoppers, whose rows are contiguous."""
    return np.flatnonzero(np.concatenate([[True], user_id[1:] != user_id[:-1], [True]]))


def main() -> None:
    """Run the weeks, and write a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the shop and the runs")
    parser.add_argument("--shoppers", type=int, default=3_000)
    parser.add_argument("--weeks", type=int, default=26)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    story = Story(chosen.shoppers, chosen.weeks, chosen.seed)
    chosen.out.mkdir(parents=True)
    names = [field.name for field in fields(Week)]
    with (chosen.out / "half_year.csv").open("w", newline="") as file:
        lines = csv.DictWriter(file, names)
        lines.writeheader()
        shown = [name for name in names if name not in ("reason", "model")]
        print(f"| {' | '.join(shown).replace('_', ' ')} |")
        print("|" + " --- |" * len(shown), flush=True)
        for week in live(story, chosen.out):
            lines.writerow(asdict(week))
            file.flush()
            cells = (getattr(week, name) for name in shown)
            texts = (f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in cells)
            print(f"| {' | '.join(texts)} |", flush=True)


if __name__ == "__main__":
    main()
