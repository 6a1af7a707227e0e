"""Measures the purchase model of a simulated shop against its true probabilities; prints a table.

    python benchmarks/shop_truth.py --out /tmp/shop_truth

simulates a shop of 8,000 shoppers, then lands it, builds it, and trains and measures the purchase
model twice: with its events, and with its orders alone. `restock simulate --events` writes the
truth. All rows of the table are of the same test moments. Orders alone do not know a shopper before
the first order, so such a moment gets the share of buyers among its like on the training days. The
simulated shop stays in the folder for another run.
"""

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import duckdb
import numpy as np
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from ml.jobs import evaluate, fetch, train
from ml.jobs.task import TASKS
from ml.modelling.metrics import reliability_bins
from ml.settings import Settings
from ml.simulation.events import simulate_events
from ml.warehouse import dbt

SHOPS = {"events": "*.parquet", "orders alone": "[op]*.parquet"}
"""The files of the simulated shop that each model sees."""
FORECASTS = f"""
    with unknown as (
        select avg(label::integer) as share
        from events.purchase_examples
        anti join "orders alone".purchase_examples using (user_id, cutoff_at)
        where {TASKS["purchase"].parts["train"]}
    )
    select
        bought,
        probability as "the truth",
        with_events.purchase_probability as events,
        coalesce(alone.purchase_probability, share) as "orders alone"
    from true_probabilities
    inner join events.ml.purchase_test_predictions as with_events using (user_id, cutoff_at)
    left join "orders alone".ml.purchase_test_predictions as alone using (user_id, cutoff_at)
    cross join unknown
    where probability > 0  -- robots never buy
    order by user_id, cutoff_at
"""


def quiet(what: str, done: int, total: int) -> None:
    """Show no progress: the table is the only output."""


def measure(simulated: Path, files: str, folder: Path) -> Path:
    """Build a shop from some of its files, measure its purchase model, return the warehouse."""
    raw = folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for path in simulated.glob(files):
        shutil.copy2(path, raw)
    settings = Settings.load(source="order_log", raw_dir=raw, warehouse=folder / "restock.duckdb")
    settings.prepare_workspace()
    fetch.fetch(settings, quiet)
    models = (f"+{name},resource_type:model" for name in ("purchase_examples", "targets"))
    dbt.run(settings, "build", "--select", *models, progress=quiet)
    train.train(settings, quiet, TASKS["purchase"])
    evaluate.evaluate(settings, quiet, TASKS["purchase"])
    return settings.warehouse


def forecasts(simulated: Path, warehouses: Sequence[Path]) -> dict[str, Any]:
    """Return the outcome of each test moment, its true probability and both forecasts."""
    with duckdb.connect() as con:
        for name, warehouse in zip(SHOPS, warehouses, strict=True):
            con.execute(f"attach '{warehouse}' as \"{name}\" (read_only)")
        truth = f"'{simulated}/true_probabilities.parquet'"
        con.execute(f"create view true_probabilities as from {truth}")
        return con.execute(FORECASTS).fetchnumpy()


def main() -> None:
    """Measure both models and print a row for each, after a row for the truth."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for both shops")
    parser.add_argument("--shoppers", type=int, default=8_000)
    parser.add_argument("--days", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    simulated = chosen.out / "simulated"
    if not simulated.exists():
        simulate_events(simulated, chosen.shoppers, chosen.seed, days=chosen.days)
    shops = [measure(simulated, files, chosen.out / name) for name, files in SHOPS.items()]
    rows = forecasts(simulated, shops)
    bought, truth = rows.pop("bought").astype(int), rows["the truth"]
    print(f"{len(bought):,} moments; {bought.mean():.2%} of them have a purchase.\n")
    print("| simulated | AUC | average precision | log-loss | ECE against the truth |")
    print("| --- | --- | --- | --- | --- |")
    losses = {}
    for name, column in rows.items():
        p = column.astype(float)
        bins = reliability_bins(p, truth)
        error = np.average(np.abs(bins.mean_predicted - bins.mean_observed), weights=bins.n)
        losses[name] = log_loss(bought, p)
        figures = (roc_auc_score(bought, p), average_precision_score(bought, p), losses[name])
        print(f"| {name} | " + " | ".join(f"{f:.4f}" for f in figures) + f" | {error:.5f} |")
    best, events, alone = losses.values()
    share = (alone - events) / (alone - best)
    print(f"\nIn log-loss, events close {share:.0%} of the gap between orders and the truth.")


if __name__ == "__main__":
    main()
