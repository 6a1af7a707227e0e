"""The ``restock`` command. Thin: flags in, a job, a summary out."""

import errno
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import duckdb
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

# OpenMP threads that wait by spinning make a busy machine crawl. Read when a library is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from ml import run as jobs
from ml import simulate as simulation
from ml.errors import RestockError, StorageError
from ml.settings import Settings
from ml.transform import Progress, disk_full

app = typer.Typer(
    help="Predicts what each shopper will buy again.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 failed, 2 wrong flag or setting, 3 wrong input data, "
    "4 the warehouse is busy (try again later), 5 no room or no permission to write.",
)

Source = Annotated[
    str | None, typer.Option(help="complete_journey, instacart or order_log.", show_default=False)
]
RawDir = Annotated[Path | None, typer.Option(help="Where the raw files are.", show_default=False)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")]
Model = Annotated[
    str | None,
    typer.Option(
        help="gradient_boosting, logistic_regression or random_forest.", show_default=False
    ),
]


class Session:
    """One call of the command: how it shows progress, what it sums up, how it fails."""

    def __init__(self, quiet: bool, as_json: bool) -> None:
        self.as_json = as_json
        self.silent = quiet or as_json
        self.console = Console(stderr=True, quiet=self.silent)
        self.results: dict[str, dict[str, Any]] = {}
        self.written: dict[str, Path] = {}

    def step(self, name: str, settings: Settings, function: jobs.Step) -> dict[str, Any]:
        """Do a step, showing how far it is, and note what it took."""
        started = time.perf_counter()
        columns = (
            TextColumn(f"[bold]{name:9}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[memory]:,.0f} MiB"),
            TextColumn("{task.description}", style="dim"),
        )
        with Bar(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal
        ) as bar:
            task = bar.add_task("", total=None, memory=_peak_memory_mib())

            def progress(what: str, done: int, total: int) -> None:
                memory = _peak_memory_mib()
                bar.update(task, description=what, completed=done, total=total, memory=memory)

            result = function(settings, progress)
        self.results[name] = {
            **result,
            "seconds": round(time.perf_counter() - started, 2),
            "peak_memory_mib": round(_peak_memory_mib()),
        }
        self.console.print(
            f"[green]✓[/] [bold]{name:9}[/]{self.results[name]['rows']:>12,} rows "
            f"{self.results[name]['seconds']:>7.1f} s"
        )
        for check, worst in result.get("checks", {}).items():
            colour = {"pass": "green", "warn": "yellow"}[worst["status"]]
            where = f" ({worst['subject']})" if worst["subject"] else ""
            self.console.print(
                f"  [{colour}]{worst['status']}[/] {worst['count']:>4}  {check}: "
                f"at most {worst['largest']:g}{where}",
                highlight=False,
            )
        return self.results[name]

    @contextmanager
    def job(self, **flags: Any) -> Iterator[Settings]:
        """Load the settings and hold the warehouse, for as long as the context lasts."""
        with self.told():
            settings = Settings.load(**flags)
            with jobs.exclusive(settings):
                yield settings
            self.written["warehouse"] = settings.warehouse
            if "train" in self.results:
                self.written["model"] = settings.models / "production"
            if "report" in self.results:
                self.written["pages"] = settings.dashboards / "index.html"

    @contextmanager
    def told(self) -> Iterator[None]:
        """End with a summary or with one clear error."""
        try:
            yield
        except (RestockError, OSError, duckdb.Error) as error:
            known = _known(error)
            if self.as_json:
                print(json.dumps({"error": str(known), "exit_code": known.exit_code}))
            Console(stderr=True).print(
                f"[bold red]error:[/] {_escaped(str(known))}", highlight=False, soft_wrap=True
            )
            raise typer.Exit(known.exit_code) from None
        if self.as_json:
            print(json.dumps(self.results))
        else:
            self._summarise()

    def _summarise(self) -> None:
        table = Table(box=None, pad_edge=False, show_header=False)
        for label, value in {
            "seconds": f"{sum(result['seconds'] for result in self.results.values()):.1f}",
            "peak memory": f"{_peak_memory_mib():,.0f} MiB",
            **self.written,
        }.items():
            table.add_row(f"[dim]{label}", str(value))
        self.console.print(table, soft_wrap=True)


def _peak_memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def _known(error: Exception) -> RestockError:
    """Translate what the operating system or DuckDB says into what a user can act on."""
    if isinstance(error, RestockError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return disk_full(Path(error.filename or ""))
    if isinstance(error, OSError):
        return StorageError(f"{error.filename}: {error.strerror}. Check the path and its rights.")
    if "No space left" in str(error) or "File too large" in str(error):
        return disk_full(Path())
    return RestockError(f"DuckDB: {error}")


def _step_command(name: str) -> Callable[..., None]:
    def command(
        source: Source = None, raw_dir: RawDir = None, quiet: Quiet = False, as_json: Json = False
    ) -> None:
        session = Session(quiet, as_json)
        with session.job(source=source, raw_dir=raw_dir) as settings:
            session.step(name, settings, jobs.STEPS[name])

    return command


for _name, _help in {
    "fetch": "Read the raw files, check them, and land them for dbt.",
    "build": "Build and test every dbt model, from raw files to examples and pages' tables.",
    "evaluate": "Measure the model on test shoppers, beside the baselines.",
    "score": "Score every user-product pair into the warehouse.",
    "audit": "Look for leaks, for features that differ at serving, and for pairs without a score.",
    "report": "Write the pages.",
}.items():
    app.command(_name, help=_help)(_step_command(_name))


@app.command()
def train(
    model: Model = None,
    source: Source = None,
    raw_dir: RawDir = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a model on training shoppers and make it the production one."""
    session = Session(quiet, as_json)
    with session.job(source=source, raw_dir=raw_dir, model=model) as settings:
        session.step("train", settings, jobs.STEPS["train"])


@app.command()
def run(
    source: Source = None,
    raw_dir: RawDir = None,
    model: Model = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Do everything: fetch, build, train, evaluate, score, audit, report; publish at the end."""
    session = Session(quiet, as_json)
    with session.job(source=source, raw_dir=raw_dir, model=model) as settings:
        jobs.run(settings, session.step)


@app.command()
def simulate(
    shoppers: Annotated[int, typer.Option(help="How many; Instacart has 206,209.")],
    out: Annotated[Path, typer.Option(help="Where to: a folder that is empty or not there yet.")],
    products: Annotated[
        int | None,
        typer.Option(help="Size of the catalogue; by default it grows with the shoppers."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives other shoppers.")] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write made-up orders in Instacart's files, with the true probability of every pair."""
    session = Session(quiet, as_json)

    def write(settings: Settings, progress: Progress) -> dict[str, Any]:
        done = simulation.simulate(
            out,
            shoppers,
            seed,
            products,
            threads=settings.threads or None,
            progress=lambda reached: progress("simulating", reached, shoppers),
        )
        return {"rows": sum(done.rows.values()), "files": done.rows, "path": str(done.folder)}

    with session.told():
        session.step("simulate", Settings.load(), write)
        session.written["orders"] = out


def main() -> None:
    """Run the command line."""
    app()
