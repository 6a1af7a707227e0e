"""The ``restock`` command. Thin: flags in, a job, a summary out."""

import errno
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import duckdb
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

# OpenMP threads that wait by spinning make a busy machine crawl. Read when a library is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from ml.errors import InterruptionError, RestockError, SettingsError, StorageError
from ml.jobs import run as jobs
from ml.jobs.report import PAGES, QUERIES, changes
from ml.jobs.report import report as write_pages
from ml.settings import Settings
from ml.simulation import simulate as simulation
from ml.warehouse.dbt import Progress, disk_full

if TYPE_CHECKING:
    from ml.modelling.metrics import Estimate

app = typer.Typer(
    help="Predicts what each shopper will buy again.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 failed, 2 wrong flag or setting, 3 wrong input data, "
    "4 the warehouse is busy (try again later), 5 no room or no permission to write, "
    "130 interrupted.",
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
        help="gradient_boosting, histogram_boosting, logistic_regression or random_forest.",
        show_default=False,
    ),
]


class Session:
    """One call of the command: how it shows progress, what it sums up, how it fails."""

    def __init__(self, quiet: bool, as_json: bool) -> None:
        self.as_json = as_json
        self.silent = quiet or as_json
        self.console = Console(stderr=True, quiet=self.silent)
        if not self.console.is_terminal:
            self.console.width = 120  # of a log file, which has no edge
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
        if interrupted.is_set():  # and a library took it for its own
            raise KeyboardInterrupt
        self.results[name] = {
            **result,
            "seconds": round(time.perf_counter() - started, 2),
            "peak_memory_mib": round(_peak_memory_mib()),
        }
        self.console.print(
            f"[green]✓[/] [bold]{name:9}[/]{self.results[name]['rows']:>12,} rows "
            f"{self.results[name]['seconds']:>7.1f} s"
        )
        if note := result.get("note"):
            self.console.print(f"  [dim]{note}[/]", highlight=False)
        for check, worst in result.get("checks", {}).items():
            colour = {"pass": "green", "warn": "yellow"}[worst["status"]]
            where = f" ({worst['subject']})" if worst["subject"] else ""
            self.console.print(
                f"  [{colour}]{worst['status']}[/] {worst['count']:>4}  {check}: "
                f"at most {worst['largest']:g}{where}",
                highlight=False,
            )
        if figures := result.get("figures"):
            self.console.print(_figures(figures))
        return self.results[name]

    @contextmanager
    def job(self, **flags: Any) -> Iterator[Settings]:
        """Load the settings and hold the warehouse; end with a summary or with one clear error."""
        with self.told():
            settings = Settings.load(**flags)
            with jobs.exclusive(settings):
                yield settings
            self.written["warehouse"] = settings.warehouse
            if "train" in self.results:
                self.written["model"] = settings.models / "production"
            if "report" in self.results:
                self.written["pages"] = settings.dashboards / self.results["report"]["first_page"]
        self.sum_up()

    @contextmanager
    def told(self) -> Iterator[None]:
        """End the command with one clear error where something went wrong."""
        try:
            yield
        except BaseException as error:
            if (known := _known(error)) is None:
                raise
            if self.as_json:
                print(json.dumps({"error": str(known), "exit_code": known.exit_code}))
            Console(stderr=True).print(
                f"[bold red]error:[/] {_escaped(str(known))}", highlight=False, soft_wrap=True
            )
            raise typer.Exit(known.exit_code) from None

    def sum_up(self) -> None:
        """Say what was done, what it took, and where it lies."""
        if self.as_json:
            print(json.dumps(self.results))
            return
        table = Table(box=None, pad_edge=False, show_header=False)
        for label, value in {
            "seconds": f"{sum(result['seconds'] for result in self.results.values()):.1f}",
            "peak memory": f"{_peak_memory_mib():,.0f} MiB",
            **self.written,
        }.items():
            table.add_row(f"[dim]{label}", str(value))
        self.console.print(table, soft_wrap=True)


HEADLINES = {
    "auc": "AUC",
    "log_loss": "log-loss",
    "precision_at_5": "P@5",
    "mean_f1": "mean F1",
    "expected_calibration_error": "ECE",
}


def _figures(figures: "dict[str, dict[str, Estimate]]") -> Table:
    """Lay out what models and baselines reach, best first, each with half its 95% interval."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("± 95% interval", no_wrap=True)
    for heading in HEADLINES.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for name, of_model in sorted(figures.items(), key=lambda item: -item[1]["auc"].value):
        estimates = [of_model.get(metric) for metric in HEADLINES]
        table.add_row(
            name.replace("_", " "),
            *(
                f"{e.value:.4f} [dim]±{(e.high - e.low) / 2:.4f}[/]" if e else "-"
                for e in estimates
            ),
        )
    return table


def _peak_memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


# Set by Ctrl-C: what a library raises then has many names, or none.
interrupted = Event()


def _interrupt(*_: Any) -> None:
    interrupted.set()
    raise KeyboardInterrupt


def _known(error: BaseException) -> RestockError | None:
    """Translate what the operating system or DuckDB says into what a user can act on."""
    if interrupted.is_set():
        return InterruptionError("interrupted: run the same command again.")
    if isinstance(error, RestockError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return disk_full(Path(error.filename or ""))
    if isinstance(error, OSError):
        return StorageError(f"{error.filename}: {error.strerror}. Check the path and its rights.")
    if not isinstance(error, duckdb.Error):
        return None
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
    "audit": "Look for leaks, for features that differ at serving, and for pairs without a score.",
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
def tune(
    trials: Annotated[int, typer.Option(min=1, help="Parameter sets to try.")] = 20,
    source: Source = None,
    raw_dir: RawDir = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Search for better parameters on validation shoppers, never on test shoppers."""
    session = Session(quiet, as_json)
    with session.job(source=source, raw_dir=raw_dir) as settings:
        found = session.step("tune", settings, jobs.later("ml.jobs.tune:tune", trials=trials))
        now, best = found["log_loss"]["now"], found["log_loss"]["best"]
        session.console.print(f"log-loss on validation shoppers: {now:.5f} now, {best:.5f} at best")
        if best < now:
            session.console.print("for restock.toml:\n\\[parameters]")
            for name, value in found["parameters"].items():
                session.console.print(f"{name} = {value}", highlight=False)


@app.command()
def evaluate(
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Fit every estimator this many times, so that each shopper is a test shopper "
            "once. Without it, the production model is measured on the test shoppers.",
            show_default=False,
        ),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(help="With --folds: write a model card to this file.", show_default=False),
    ] = None,
    source: Source = None,
    raw_dir: RawDir = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure models on shoppers that they never saw, beside the baselines."""
    session = Session(quiet, as_json)
    with session.job(source=source, raw_dir=raw_dir) as settings:
        if card and not folds:
            raise SettingsError("--card is written from a cross-validation: give --folds too")
        step = jobs.STEPS["evaluate"]
        if folds:
            step = jobs.later("ml.jobs.evaluate:cross_validate", folds=folds, model_card=card)
        session.step("evaluate", settings, jobs.with_tables(step))


@app.command()
def score(
    as_of: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="As if the next orders were placed on this day; not before the newest order.",
            show_default=False,
        ),
    ] = None,
    as_of_days: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="As if each shopper's next order came N days after their last one.",
            show_default=False,
        ),
    ] = None,
    source: Source = None,
    raw_dir: RawDir = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score every user-product pair, as of the day that is named or was built."""
    session = Session(quiet, as_json)
    with session.job(
        source=source, raw_dir=raw_dir, as_of=as_of, as_of_days=as_of_days
    ) as settings:
        named = as_of is not None or as_of_days is not None
        session.step("score", settings, jobs.score_as_of if named else jobs.STEPS["score"])


@app.command()
def report(
    source: Source = None,
    raw_dir: RawDir = None,
    standalone: Annotated[
        bool, typer.Option("--standalone", help="Also write every page into one file, to mail.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on: draw again what changes, until Ctrl-C.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write the pages."""
    session = Session(quiet, as_json)

    def draw() -> None:
        with session.job(source=source, raw_dir=raw_dir) as settings:
            session.step("report", settings, partial(write_pages, standalone=standalone))

    if not watch:
        draw()
        return
    with session.told():
        warehouse = Settings.load(source=source, raw_dir=raw_dir).warehouse
    stop = Event()
    # Pages that are being drawn are drawn to the end.
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    for _ in changes(PAGES, QUERIES, warehouse, stop=stop):
        with suppress(typer.Exit):  # an error was told, and the last good pages stay
            draw()


@app.command()
def run(
    source: Source = None,
    raw_dir: RawDir = None,
    model: Model = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="Make everything anew, however few shoppers have new orders."),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Do everything: fetch, build, train, evaluate, score, audit, report; publish at the end.

    Where a run went before, only shoppers with new orders are scored again, by the same model;
    once a tenth of them have new orders, or the code or a setting changed, the run is a full one.
    """
    session = Session(quiet, as_json)
    with session.job(source=source, raw_dir=raw_dir, model=model) as settings:
        jobs.run(settings, session.step, full=full)


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
    session.sum_up()


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGINT, _interrupt)
    app()
