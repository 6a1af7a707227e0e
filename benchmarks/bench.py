"""Measures the whole job at several sizes, and beside its peers; writes docs/benchmarks.md.

`make bench` does all of it, `make bench SIZES=1/16` a quick part. The orders are simulated, at full
size as many as Instacart's: 206,209 shoppers. Every number on the page is written by this script.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb

from ml.simulation.simulate import simulate

FULL = 206_209
ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
RAW = ROOT / "data" / "raw" / "simulated"
# A job that takes well under a minute is repeated, so that its spread is seen.
REPEATED_BELOW, REPEATS = FULL // 8, 3
SLOWEST = 12


def raw_files(shoppers: int) -> Path:
    """Return a folder with the orders of so many shoppers; made once, then kept."""
    folder = RAW / str(shoppers)
    return folder if folder.exists() else simulate(folder, shoppers).folder


def measure(script: str, *arguments: str | Path, **places: str) -> Any:
    """Run a script of this folder in a process of its own and return the JSON it prints."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name(script), *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | places,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def run_job(**places: str) -> dict[str, Any]:
    """Run a job, and return what each of its stages took, and all of it."""
    started, before = time.perf_counter(), cpu_of_children()
    return measure("job.py", **places) | {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": cpu_of_children() - before,
    }


def cpu_of_children() -> float:
    """Return the CPU seconds of all processes that have been started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def at(folder: str, raw: Path) -> dict[str, str]:
    """Return the variables of a job on these raw files that writes into a folder."""
    return {
        "RESTOCK_SOURCE": "instacart",
        "RESTOCK_RAW_DIR": str(raw),
        "RESTOCK_WAREHOUSE": f"{folder}/restock.duckdb",
        "RESTOCK_DASHBOARDS": f"{folder}/pages",
        "DBT_TARGET_PATH": f"{folder}/target",
        "DBT_LOG_PATH": f"{folder}/logs",
    }


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Write a median, and the range where there is more than one value."""
    if not values:
        return ""
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Write a markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines] + [""]


def order_lines(raw: Path) -> int:
    """Return how many order lines the raw files have."""
    with duckdb.connect() as con:
        return con.execute(f"select count(*) from '{raw}/order_products__*.csv'").fetchall()[0][0]


def a_day_later(raw: Path, folder: Path, shoppers: int) -> Path:
    """Write raw files in which so many open orders came, with what was in those before them."""
    folder.mkdir()
    for file in raw.glob("*.csv"):
        (folder / file.name).symlink_to(file)
    with duckdb.connect() as con:
        con.execute(
            f"""
            create table orders as from '{raw}/orders.csv';
            create table delivered as
            select user_id, order_id, order_number from orders
            where eval_set = 'test' order by hash(user_id) limit {shoppers};
            """
        )
        for name, query in {
            "orders": """
                select * replace (
                    case when order_id in (select order_id from delivered) then 'train'
                    else eval_set end as eval_set
                )
                from orders
            """,
            "order_products__train": f"""
                from '{raw}/order_products__train.csv'
                union all
                select delivered.order_id, product_id, add_to_cart_order, 1 as reordered
                from delivered
                inner join orders as last
                    on last.user_id = delivered.user_id
                    and last.order_number = delivered.order_number - 1
                inner join '{raw}/order_products__prior.csv' as lines
                    on last.order_id = lines.order_id
            """,
        }.items():
            (folder / f"{name}.csv").unlink()
            con.execute(f"copy ({query}) to '{folder}/{name}.csv'")
    return folder


def measured_job(size: Fraction) -> dict[str, Any]:
    """Run the whole job at a size, with its floor, its pair features, and the job of the next day.

    The last is of one shopper in a hundred.
    """
    shoppers = round(FULL * size)
    raw = raw_files(shoppers)
    runs = []
    for _ in range(REPEATS if shoppers < REPEATED_BELOW else 1):
        with tempfile.TemporaryDirectory(prefix="restock-bench-") as folder:
            runs.append(run_job(**at(folder, raw)))
            floor = measure("floor.py", raw, f"{folder}/restock.duckdb")
            later = a_day_later(raw, Path(folder) / "raw", shoppers // 100)
            next_day = run_job(**at(folder, later))
    with tempfile.TemporaryDirectory(prefix="restock-bench-") as folder:
        pairs = measure("pair_features.py", **at(folder, raw))
    return {
        "size": str(size),
        "shoppers": shoppers,
        "lines": order_lines(raw),
        "runs": runs,
        "floor": sum(floor.values()),
        "pairs": pairs,
        "next_day": next_day,
    }


def seconds(job: dict[str, Any]) -> float:
    """Return the wall clock of a job, the median of its runs."""
    return statistics.median(run["seconds"] for run in job["runs"])


def peak(job: dict[str, Any]) -> float:
    """Return the highest peak of a job's resident memory, in MiB."""
    return max(stage["peak_mib"] for run in job["runs"] for stage in run["stages"].values())


def sizes_part(jobs: Sequence[dict[str, Any]]) -> list[str]:
    """Write the table of the sizes."""
    rows = []
    for before, job in zip([None, *jobs], jobs, strict=False):
        score = [run["stages"]["score"] for run in job["runs"]]
        rows.append(
            [
                job["size"],
                f"{job['shoppers']:,}",
                f"{job['lines']:,}",
                spread([run["seconds"] for run in job["runs"]]),
                spread([run["cpu_seconds"] for run in job["runs"]]),
                f"{seconds(job) / seconds(before):.1f}" if before else "",
                f"{peak(job):,.0f}",
                f"{job['runs'][-1]['bytes'] / 2**20:,.0f}",
                spread([s["rows_per_second"] for s in score], 0),
                f"{job['pairs']['seconds']:.1f}, {job['pairs']['peak_mib']:,.0f} MiB",
                f"{job['floor']:.1f}",
                f"{seconds(job) / job['floor']:.1f}",
            ]
        )
    header = [
        *("size", "shoppers", "order lines", "whole job, s", "CPU s", "growth", "peak memory, MiB"),
        *("warehouse, MiB", "scored, rows/s", "raw csv to pair features, one cutoff, s"),
        *("floor, s", "times the floor"),
    ]
    return table(header, rows)


def next_day_part(jobs: Sequence[dict[str, Any]]) -> list[str]:
    """Write the table of the runs on a day's orders."""
    rows = []
    for job in jobs:
        stages = job["next_day"]["stages"]
        rows.append(
            [
                job["size"],
                f"{job['shoppers'] // 100:,}",
                f"{stages['update']['rows']:,}",
                *(f"{stage['seconds']:.1f}" for stage in stages.values()),
                f"{job['next_day']['seconds']:.1f}",
                f"{job['next_day']['cpu_seconds']:.1f}",
                f"{job['next_day']['seconds'] / seconds(job):.0%}",
                f"{max(stage['peak_mib'] for stage in stages.values()):,.0f}",
            ]
        )
    header = [
        *("size", "shoppers with orders", "pairs scored", "fetch, s", "update, s", "report, s"),
        *("whole run, s", "CPU s", "share of the full run", "peak memory, MiB"),
    ]
    return table(header, rows)


def stages_part(job: dict[str, Any]) -> list[str]:
    """Write the table of a job's stages, and of its slowest models and tests."""
    rows = []
    for name in job["runs"][0]["stages"]:
        stage = [run["stages"][name] for run in job["runs"]]
        rows.append(
            [
                name,
                f"{stage[0]['rows']:,}",
                spread([s["seconds"] for s in stage]),
                spread([s["cpu_seconds"] for s in stage]),
                spread([s["rows"] / s["seconds"] for s in stage], 0),
                f"{max(s['peak_mib'] for s in stage):,.0f}",
            ]
        )
    stages = job["runs"][-1]["stages"].values()
    nodes = sorted(
        ((took, node) for stage in stages for node, took in stage["nodes"].items()), reverse=True
    )
    return [
        f"### Size {job['size']}",
        "",
        *table(["stage", "rows", "s", "CPU s", "rows/s", "peak memory, MiB"], rows),
        f"Slowest of {len(nodes)} models and tests:",
        "",
        *table(
            ["model or test", "s"],
            [
                ["`{0}.{2}`".format(*node.split(".")), f"{took:.1f}"]
                for took, node in nodes[:SLOWEST]
            ],
        ),
    ]


def measured_peers(raw: Path) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Run every peer in turn, several times: task -> who -> what each run took."""
    runs: dict[str, dict[str, list[dict[str, float]]]] = {
        task: defaultdict(list) for task in ("features", "boosting", "prediction")
    }
    with tempfile.TemporaryDirectory(prefix="restock-bench-") as folder:
        results = {
            engine: f"{folder}/{engine}.parquet" for engine in ("DuckDB", "pandas", "Polars")
        }
        for _ in range(REPEATS):
            for engine, result in results.items():
                runs["features"][engine].append(measure("peers.py", raw, engine, result))
            for task in ("boosting", "prediction"):
                for name, took in measure("peers.py", task).items():
                    runs[task][name].append({"seconds": took})
        first, *others = results.values()
        for other in others:
            insist_equal(first, other)
    return runs


def insist_equal(first: str, other: str) -> None:
    """Compare two tables of pair features.

    Raises:
        ValueError: if they differ by more than rounding.
    """
    with duckdb.connect() as con:
        columns = [name for name, *_ in con.execute(f"describe from '{first}'").fetchall()][2:]
        differs = " or ".join(
            f"(a.{c} is null) <> (b.{c} is null) or abs(a.{c} - b.{c}) > 1e-9" for c in columns
        )
        query = f"""
            select count(*) from '{first}' as a full join '{other}' as b using (user_id, product_id)
            where a.user_id is null or b.user_id is null or {differs}
        """
        if differing := con.execute(query).fetchall()[0][0]:
            raise ValueError(f"{differing} rows of {first} and {other} differ")


def peers_part(runs: dict[str, dict[str, list[dict[str, float]]]], lines: int) -> list[str]:
    """Write the tables of the peers, each with its ratio to ours."""
    said = {
        "features": f"Seconds from raw csv of {lines:,} order lines to ten pair features in a "
        "Parquet file. Polars runs lazily on its streaming engine. The three results are equal.",
        "boosting": "Seconds to fit 100 trees of 15 leaves on 300,000 made-up rows of 70 columns.",
        "prediction": "Seconds per million rows for 350 trees of 15 leaves. The first row is "
        "`ml/modelling/trees.py`, which gives LightGBM's scores on one thread; the others use "
        "every core.",
    }
    page = []
    for task, entries in runs.items():
        ours, *_ = entries
        rows = []
        for name, taken in entries.items():
            times = [run["seconds"] for run in taken]
            ratios = [a / b["seconds"] for a, b in zip(times, entries[ours], strict=True)]
            memory = [run["peak_mib"] for run in taken if "peak_mib" in run]
            rows.append([name, spread(times, 2), spread(ratios, 2), spread(memory, 0)])
        header = [task, "s", f"times {ours}", "peak memory, MiB"]
        page += [said[task], "", *table(header, rows)]
    return page


def notebook_part(job: dict[str, Any], notebook: dict[str, float]) -> list[str]:
    """Write the table of the whole job beside a notebook on the same files."""
    stages = job["runs"][-1]["stages"]
    rows = [
        [
            "Restock",
            f"{stages['score']['rows']:,} pairs scored, at 11 cutoffs built",
            f"{seconds(job):,.0f}",
            f"{statistics.median(run['cpu_seconds'] for run in job['runs']):,.0f}",
            f"{peak(job):,.0f}",
        ],
        [
            "notebook",
            f"{notebook['pairs']:,} pairs, 3 features",
            f"{notebook['seconds']:,.0f}",
            f"{notebook['cpu_seconds']:,.0f}",
            f"{notebook['peak_mib']:,.0f}",
        ],
    ]
    return [
        f"The notebook way on {job['lines']:,} order lines (`benchmarks/notebook.py`): pandas "
        "reads, merges and groups, and a logistic regression learns from 500,000 sampled pairs. "
        f"Its label is part of its features, so the AUC of {notebook['auc']:.2f} that it prints "
        "says nothing.",
        "",
        *table(["whole job", "result", "s", "CPU s", "peak memory, MiB"], rows),
    ]


def machine() -> str:
    """Describe the machine, and whether others were at work on it."""
    cpu = Path("/proc/cpuinfo").read_text().split("model name\t: ")[1].splitlines()[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    libraries = ", ".join(
        f"{name} {version(name)}" for name in ("duckdb", "lightgbm", "pandas", "polars")
    )
    return (
        f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB; Python {platform.python_version()}, "
        f"{libraries}"
    )


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", default="1/16 1/4 1", help="parts of the full size")
    sizes = sorted(Fraction(size) for size in parser.parse_args().sizes.split())
    load = os.getloadavg()[0]
    # Peers need not see the largest: a quarter says enough, and fits into pandas.
    compared = raw_files(round(FULL * min(sizes[-1], Fraction(1, 4))))
    peers = measured_peers(compared)
    jobs = [measured_job(size) for size in sizes]
    notebook = measure("notebook.py", raw_files(jobs[-1]["shoppers"]))
    busy = (
        f"**The machine was busy (load {load:.1f} before the first run), so times are too long. "
        "CPU seconds are less affected.**"
        if load > 0.5
        else f"The machine was quiet (load {load:.1f} before the first run)."
    )
    PAGE.write_text(
        "\n".join(
            [
                "# Benchmarks",
                "",
                f'Written by `make bench SIZES="{" ".join(map(str, sizes))}"` on {date.today()}. '
                f"Machine: {machine()}. {busy}",
                "",
                "The purchase task on 30 million events has [figures of its own]"
                "(performance.md#the-purchase-task), from `benchmarks/purchase_job.py`.",
                "",
                "## The whole job",
                "",
                "`restock run` on simulated orders (`restock simulate`), from raw csv to published "
                "predictions and pages. A repeated job shows its median and range. *Growth* is the "
                "time divided by that of the previous size. The *floor* is the time DuckDB needs "
                "to read the raw csv and write the predictions. *Scored* is scoring alone; the "
                "stage `score` also builds the tables behind the pages. Memory is the resident "
                "memory of the job, which is one process.",
                "",
                *sizes_part(jobs),
                *(line for job in jobs[::-1] for line in stages_part(job)),
                "## A day later",
                "",
                "The second `restock run`, after one shopper in a hundred received their open "
                "order. It reads all raw files, and builds and scores only these shoppers.",
                "",
                *next_day_part(jobs),
                "## Peers",
                "",
                "Peers take turns in one run on the same files. Medians, with ranges in brackets.",
                "",
                *peers_part(peers, order_lines(compared)),
                *notebook_part(jobs[-1], notebook),
            ]
        )
    )
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
