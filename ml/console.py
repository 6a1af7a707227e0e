"""What a command prints to a terminal and its log: progress, a summary, or one error message."""

import errno
import json
import logging
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import duckdb
import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from ml import log, sources
from ml.errors import InterruptionError, RestockError, StorageError, disk_full
from ml.jobs.steps import Step
from ml.registry import outputs
from ml.registry.lock import exclusive
from ml.settings import Settings

if TYPE_CHECKING:
    from ml.modelling.metrics import Estimate

WIDTH = len("purchase_week evaluate")
"""Characters for the name of a step; this is the longest one."""
HEADLINES = {
    "auc": "AUC",
    "log_loss": "log-loss",
    "precision_at_5": "P@5",
    "mean_f1": "mean F1",
    "lift_top_tenth": "lift of top tenth",
    "list_recall": "recall of list",
    "list_size_share": "size of list",
    "expected_calibration_error": "ECE",
}


class Session:
    """One run of a command: its steps, their progress, and the summary."""

    def __init__(self, quiet: bool, as_json: bool, log_file: Path | None = None) -> None:
        self.as_json = as_json
        self.silent = quiet or as_json
        self.console = Console(stderr=True)
        self.console.quiet = self.silent or not self.console.is_terminal
        self.plain = Console(width=120, color_system=None, force_terminal=False)
        self.log_file = log_file
        self.log = log.LOG
        self.results: dict[str, dict[str, Any]] = {}
        self.written: dict[str, Path | str] = {}

    def step(self, name: str, settings: Settings, function: Step) -> dict[str, Any]:
        """Run a step, show its progress, and print one line with its rows and seconds.

        Returns:
            What the step returned, with its seconds and the peak memory of the process in MiB.
        """
        started = time.perf_counter()
        self.log = log.LOG.getChild(name)
        self.log.info("started")
        columns = (
            TextColumn(f"[bold]{name:{WIDTH}}"),
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
        if interrupted.is_set():  # a library swallowed the KeyboardInterrupt
            raise KeyboardInterrupt
        self.results[name] = {
            **result,
            "seconds": round(time.perf_counter() - started, 2),
            "peak_memory_mib": round(_peak_memory_mib()),
        }
        self._print_step(name, self.results[name])
        self.log = log.LOG
        return self.results[name]

    def say(self, what: RenderableType, level: int = logging.INFO, **options: Any) -> None:
        """Print to the terminal and to the log, which has a line for each line of the text."""
        self.console.print(what, **options)
        with self.plain.capture() as captured:
            self.plain.print(what, soft_wrap=True)
        for line in captured.get().splitlines():
            self.log.log(level, line.rstrip())

    def _print_step(self, name: str, result: dict[str, Any]) -> None:
        rows = f"{result['rows']:,} rows" if "rows" in result else ""
        self.say(f"[green]✓[/] [bold]{name:{WIDTH}}[/]{rows:>17} {result['seconds']:>7.1f} s")
        for note in (*result.get("notes", ()), result.get("note")):
            if note:
                self.say(f"  [dim]{_escaped(note)}[/]", highlight=False, soft_wrap=True)
        if figures := result.get("figures"):
            self.say(_figures(figures))
        if differences := result.get("differences"):
            self.say(_differences(differences))

    def print_checks(self, checks: dict[str, dict[str, Any]]) -> None:
        """Print one line for each check of an audit, and one for each finding to look at."""
        for check, worst in checks.items():
            colour = {"pass": "green", "warn": "yellow"}[worst["status"]]
            where = f" ({worst['subject']})" if worst["subject"] else ""
            self.say(
                f"  [{colour}]{worst['status']}[/] {worst['count']:>4}  {check}: "
                f"at most {worst['largest']:g}{where}",
                logging.WARNING if worst["status"] == "warn" else logging.INFO,
                highlight=False,
            )
            for subject, value in worst["to_look_at"].items():
                self.say(f"             [dim]{subject}: {value:g}[/]", highlight=False)

    @contextmanager
    def job(self, *, reads_orders: bool = True, **flags: Any) -> Iterator[Settings]:
        """Load the settings and lock the warehouse; end with a summary or one error message.

        Before any work, this refuses paths that hold something Restock did not create.

        Args:
            reads_orders: whether the command needs to know the source of the raw files.
            flags: settings from the command line, None where a flag is not given.
        """
        with self.errors():
            settings = Settings.load(**flags)
            settings.check_paths()
            outputs.check(settings)
            if reads_orders:
                sources.check_landing(settings.landing)
                settings = sources.with_source(settings)
            settings.prepare_workspace()
            with exclusive(settings):
                yield settings
            self.written["warehouse"] = settings.warehouse
            for name, result in self.results.items():
                if "alias" in result:
                    label = name.replace("train", "model")
                    self.written[label] = settings.models / result["alias"]
            if "report" in self.results:
                self.written["pages"] = settings.dashboards / self.results["report"]["first_page"]
            if settings.warehouse.is_symlink():
                self.written["to copy"] = "restock export --out FOLDER (these paths are links)"
        self.sum_up()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn a failure into one error message and its exit code."""
        try:
            log.start(self.log_file, to_stderr=not self.console.is_terminal, quiet=self.silent)
            yield
        except BaseException as error:
            if (known := _as_restock_error(error)) is None:
                self.log.critical("this is a bug in Restock", exc_info=error)
                raise
            self.fail(known)
            raise typer.Exit(known.exit_code) from None

    def fail(self, error: RestockError) -> None:
        """Show an error, on the terminal or in the log, and as JSON if the command prints JSON."""
        if self.as_json:
            print(json.dumps({"error": str(error), "exit_code": error.exit_code}), flush=True)
        if self.console.is_terminal:
            self.console.show_cursor()  # a progress bar hides it
            Console(stderr=True).print(
                f"[bold red]error:[/] {_escaped(str(error))}", highlight=False, soft_wrap=True
            )
        self.log.error(str(error))

    def tell(self, found: Any, show: Callable[[Any], None]) -> None:
        """Print what a command has found to the standard output, as text or JSON."""
        if self.as_json:
            print(json.dumps(found))
        elif not self.silent:
            show(found)

    def sum_up(self) -> None:
        """Print the total seconds, the peak memory and the paths of the results."""
        if self.as_json:
            print(json.dumps(self.results))
        table = Table(box=None, pad_edge=False, show_header=False)
        for label, value in {
            "seconds": f"{sum(result['seconds'] for result in self.results.values()):.1f}",
            "peak memory": f"{_peak_memory_mib():,.0f} MiB",
            **self.written,
        }.items():
            table.add_row(f"[dim]{label}", str(value))
        self.say(table, soft_wrap=True)
        for name, result in self.results.items():
            if result.get("verdict"):
                label = name.replace("evaluate", "verdict")
                said = f"[dim]{label}:[/] {_escaped(result['verdict'])}"
                self.say(said, highlight=False, soft_wrap=True)


# Set by Ctrl-C, because libraries swallow a KeyboardInterrupt or raise another error for it.
interrupted = Event()


def interrupt(*_: Any) -> None:
    """Handle Ctrl-C: record the interruption and end the command."""
    interrupted.set()
    raise KeyboardInterrupt


def _figures(figures: "dict[str, dict[str, Estimate]]") -> Table:
    """Return a table of models and baselines, best AUC first, with half-widths of 95% intervals."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("± 95% interval", no_wrap=True)
    measured = set().union(*figures.values())
    shown = [metric for metric in HEADLINES if metric in measured]
    for metric in shown:
        table.add_column(HEADLINES[metric], justify="right", no_wrap=True)

    def auc(of_model: "dict[str, Estimate]") -> float:
        return -1 if math.isnan(value := of_model["auc"].value) else value

    for name, of_model in sorted(figures.items(), key=lambda item: -auc(item[1])):
        estimates = [of_model.get(metric) for metric in shown]
        table.add_row(name.replace("_", " "), *map(_figure, estimates))
    return table


def _differences(differences: "dict[str, dict[str, Estimate]]") -> Table:
    """Return a table of the model's figures minus those of others, with half-widths as above."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("the model minus", no_wrap=True)
    measured = set().union(*differences.values())
    shown = [metric for metric in HEADLINES if metric in measured]
    for metric in shown:
        table.add_column(HEADLINES[metric], justify="right", no_wrap=True)
    for name, of_other in differences.items():
        estimates = [of_other.get(metric) for metric in shown]
        table.add_row(name.replace("_", " "), *(_figure(each, "+") for each in estimates))
    return table


def _figure(estimate: "Estimate | None", sign: str = "") -> str:
    """Return a figure with its interval, as far as they are defined; "+" shows its sign."""
    if estimate is None or math.isnan(estimate.value):
        return "-"
    half = (estimate.high - estimate.low) / 2
    return f"{estimate.value:{sign}.4f}" + ("" if math.isnan(half) else f" [dim]±{half:.4f}[/]")


def _peak_memory_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts in bytes, Linux in KiB.
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def _as_restock_error(error: BaseException) -> RestockError | None:
    """Translate an error of the operating system or DuckDB; return None for a bug."""
    if interrupted.is_set():
        return InterruptionError("interrupted. Run the same command again.")
    if isinstance(error, RestockError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return disk_full(Path(error.filename or ""))
    if isinstance(error, OSError):
        return StorageError(
            f"{error.filename}: {error.strerror}. Check the path and its permissions, or set "
            "RESTOCK_HOME to a folder that you can write to."
        )
    if not isinstance(error, duckdb.Error):
        return None
    if "No space left" in str(error) or "File too large" in str(error):
        return disk_full(Path())
    return RestockError(f"DuckDB: {error}")
