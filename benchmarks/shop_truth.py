"""Measures the purchase model of a simulated shop against its true probabilities; prints a table.

    python benchmarks/shop_truth.py --out /tmp/shop_truth

simulates a shop of 8,000 shoppers, then lands it, builds it, and trains and measures the purchase
model twice: with its events, and with its orders alone. `restock simulate --events` writes the
truth. All rows of the table are of the same test moments: those that both models score, which are
the shoppers with an order in the past. The simulated shop is kept in the folder for another run.
"""

import argparse
import os
import shutil
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import duckdb
import numpy as np
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from ml.jobs import evaluate, fetch, train
from ml.jobs.task import PURCHASE
from ml.modelling.metrics import reliability_bins
from ml.settings import Settings
from ml.simulation.events import simulate_events
from ml.warehouse import dbt

SHOPS = {"with events": "*.parquet", "with orders alone": "[op]*.parquet"}
"""The files of the simulated shop that each model sees."""


def measured(simulated: Path, files: str, folder: Path) -> Path:
    """Build a shop from some of its files, measure its purchase model, return the warehouse."""
    raw = folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for path in simulated.glob(files):
        shutil.copy2(path, raw)
    settings = Settings.load(source="order_log", raw_dir=raw, warehouse=folder / "restock.duckdb")
    settings.prepare_workspace()
    models = ("--select", "+purchase_examples,resource_type:model", "+targets,resource_type:model")
    fetch.fetch(settings, quiet)
    dbt.run(settings, "build", *models, progress=quiet)
    train.train(settings, quiet, PURCHASE)
    evaluate.evaluate(settings, quiet, PURCHASE)
    return settings.warehouse


def quiet(what: str, done: int, total: int) -> None:
    """Show no progress: the table is the only output."""


def main() -> None:
    """Measure both models and print a row for each, after a row for the truth."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder for both shops")
    parser.add_argument("--shoppers", type=int, default=8_000)
    parser.add_argument("--days", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    simulated = chosen.out / "simulated"
    if not simulated.exists():
        simulate_events(simulated, chosen.shoppers, chosen.seed, days=chosen.days)
    shops = [measured(simulated, files, chosen.out / name) for name, files in SHOPS.items()]
    with duckdb.connect() as con:
        for number, warehouse in enumerate(shops):
            con.execute(f"attach '{warehouse}' as shop_{number} (read_only)")
        rows = con.execute(
            f"""
            select bought, probability as truth, alone.purchase_probability as alone,
                events.purchase_probability as events
            from '{simulated}/true_probabilities.parquet'
            inner join shop_0.ml.purchase_test_predictions as events using (user_id, cutoff_at)
            inner join shop_1.ml.purchase_test_predictions as alone using (user_id, cutoff_at)
            where probability > 0  -- robots never buy
            order by user_id, cutoff_at
            """
        ).fetchnumpy()
    bought, truth = rows["bought"].astype(int), rows["truth"]
    print(f"{len(bought):,} moments; {bought.mean():.2%} of them have a purchase.\n")
    print("| simulated | AUC | average precision | log-loss | ECE against the truth |")
    print("| --- | --- | --- | --- | --- |")
    losses = {}
    for name in ("truth", "events", "alone"):
        p = rows[name].astype(float)
        bins = reliability_bins(p, truth)
        error = np.average(np.abs(bins.mean_predicted - bins.mean_observed), weights=bins.n)
        losses[name] = log_loss(bought, p)
        figures = (roc_auc_score(bought, p), average_precision_score(bought, p), losses[name])
        print(f"| {name} | " + " | ".join(f"{f:.4f}" for f in figures) + f" | {error:.5f} |")
    share = (losses["alone"] - losses["events"]) / (losses["alone"] - losses["truth"])
    print(f"\nEvents close {share:.0%} of the gap in log-loss.")


if __name__ == "__main__":
    main()
