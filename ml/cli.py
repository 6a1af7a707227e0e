"""The ``restock`` command: flags in, a job, a summary out."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

# OpenMP threads that wait by spinning slow down a busy machine. Libraries read this when loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from ml.console import Session, interrupt
from ml.errors import SettingsError
from ml.jobs.report import PAGES, QUERIES, changes
from ml.jobs.report import report as write_pages
from ml.jobs.run import run as run_every_step
from ml.jobs.steps import STEPS, later, with_tables
from ml.settings import Settings

app = typer.Typer(
    help="Predicts what each shopper will buy again.",
    no_args_is_help=True,
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


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"restock {version('restock')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None: ...


def _step_command(name: str) -> Callable[..., None]:
    def command(
        source: Source = None, raw_dir: RawDir = None, quiet: Quiet = False, as_json: Json = False
    ) -> None:
        session = Session(quiet, as_json)
        with session.job(source=source, raw_dir=raw_dir) as settings:
            session.step(name, settings, STEPS[name])

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
        session.step("train", settings, STEPS["train"])


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
        found = session.step("tune", settings, later("ml.jobs.tune:tune", trials=trials))
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
        step = STEPS["evaluate"]
        if folds:
            step = later("ml.jobs.evaluate:cross_validate", folds=folds, model_card=card)
        session.step("evaluate", settings, with_tables(step))


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
        step = with_tables(later("ml.jobs.score:score_as_of")) if named else STEPS["score"]
        session.step("score", settings, step)


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
    with session.errors():
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
        run_every_step(settings, session.step, full=full)


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

    with session.errors():
        step = later(
            "ml.jobs.simulate:simulate", out=out, shoppers=shoppers, products=products, seed=seed
        )
        session.step("simulate", Settings.load(), step)
        session.written["orders"] = out
    session.sum_up()


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGINT, interrupt)
    app()
