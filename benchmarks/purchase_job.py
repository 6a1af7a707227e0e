"""The purchase task alone, from raw files to the list, every step measured; prints a table.

    restock simulate --events --shoppers 200000 --days 166 --out /tmp/shop
    RESTOCK_RAW_DIR=/tmp/shop RESTOCK_HOME=/tmp/shop_home RESTOCK_MEMORY_LIMIT=3GB \
        python benchmarks/purchase_job.py

lands the order log, builds and tests the models that the task reads, trains its model and scores
every shopper. `--steps fetch update score` makes the list of the next day, as `restock run` does if
the model stays: in a copy of the warehouse, with new days only.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable

from job import forget_peak, peak_mib

from ml.jobs import fetch, score, train
from ml.jobs.steps import AFTER
from ml.jobs.task import TASKS
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse import connection, dbt, run_records

# As in a run, the raw rows are tested by the intake alone.
MODELS = (
    "--select",
    "+purchase_examples",
    "closed_lists",
    "fct_list_outcomes",
    "drift_moments",
    "--exclude",
    "path:models/staging,resource_type:test",
)


def quiet(what: str, done: int, total: int) -> None:
    """Show no progress: the table is the only output."""


def built(settings: Settings, *, rebuild_from: str = "") -> None:
    """Build and test the models."""
    variables = json.dumps({"rebuild_from": rebuild_from})
    dbt.run(settings, "build", *MODELS, "--vars", variables, progress=quiet)
    with connection.connect(settings) as con:
        run_records.record_files(con, settings)


def updated(settings: Settings) -> None:
    """Copy the warehouse, and bring the copy up to date, as `ml.jobs.update` does."""
    copy = settings.warehouse.with_name("copy.duckdb")
    shutil.copyfile(settings.warehouse, copy)
    copy.replace(settings.warehouse)
    dbt.run(settings, "run", "--select", "path:models/staging", progress=quiet)
    with connection.connect(settings, read_only=True) as con:
        day = run_records.first_changed_day(con, settings)
    built(settings, rebuild_from=str(day))


def trained(settings: Settings) -> None:
    """Train a model and put it into production."""
    task = TASKS["purchase"]
    versions.promote(settings.models, train.train(settings, quiet, task)["model"], task.alias)


def scored(settings: Settings) -> None:
    """Score every shopper, and build and test the tables of the list."""
    score.score(settings, quiet, TASKS["purchase"])
    # Monitoring also grades forecasts of products, which are not built here.
    after = (*AFTER[TASKS["purchase"].name], "path:models/monitoring+")
    dbt.run(settings, "build", *after, progress=quiet)


STEPS: dict[str, Callable[[Settings], object]] = {
    "fetch": lambda settings: fetch.fetch(settings, quiet),
    "build": built,
    "update": updated,
    "train": trained,
    "score": scored,
}
FIRST = ("fetch", "build", "train", "score")


def main() -> None:
    """Run the steps and print what each took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=FIRST)
    settings = Settings.load(source="order_log")
    settings.prepare_workspace()
    print("| step | CPU s | s | peak memory, MiB |\n| --- | --- | --- | --- |")
    for name in parser.parse_args().steps:
        forget_peak()
        started, cpu = time.perf_counter(), time.process_time()
        STEPS[name](settings)
        took = time.process_time() - cpu, time.perf_counter() - started, peak_mib()
        print(f"| {name} | " + " | ".join(f"{figure:,.1f}" for figure in took) + " |", flush=True)
    print(f"| all, with imports | {time.process_time():.1f} | | |")


if __name__ == "__main__":
    main()
