"""The ``restock`` command: reads flags, runs a job, prints a summary."""

import os
import signal
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

# OpenMP threads that spin while they wait slow down a busy machine. Libraries read this on import.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from ml import lifecycle, options
from ml.console import Session, interrupt
from ml.errors import SettingsError
from ml.jobs.build import build as build_tables
from ml.jobs.deadline import Deadline
from ml.jobs.fetch import fetch as take_in
from ml.jobs.report import PAGES, QUERIES, changes
from ml.jobs.report import report as write_pages
from ml.jobs.run import run as run_every_step
from ml.jobs.steps import AFTER, OF_TASK, later, with_tables
from ml.registry import outputs, releases
from ml.settings import Settings

app = typer.Typer(
    help="Predict what each shopper will buy again, from your own order history.\n\n"
    "`restock run` runs every step. Each step is also a separate command. A flag overrides its "
    "RESTOCK_* environment variable, and a variable overrides restock.toml.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 success, 1 failure, 2 invalid flag or setting, 3 invalid input data, "
    "4 warehouse busy (try again later), 5 disk full or no permission to write, "
    "124 longer than --timeout, 130 interrupted (Ctrl-C).",
)


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


@app.command()
def run(
    source: options.Source = None,
    raw_dir: options.RawDir = None,
    model: options.Model = None,
    full: options.Full = False,
    accept_drop: options.AcceptDrop = False,
    timeout: options.Timeout = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    log_file: options.LogFile = None,
) -> None:
    """Run every step, then publish the warehouse, the model and the pages together.

    The steps are fetch, build, train, evaluate, score, audit and report.

    After the first run, Restock keeps the model and scores only shoppers with new orders, or
    everyone if the catalogue or the scoring date has changed. Once a rule of retrain_rules.csv
    fires, or the code or a setting has changed, it trains a challenger, which serves if it is not
    worse than the model in production.
    """
    session = Session(quiet, as_json, log_file)
    deadline = Deadline(timeout, session.fail) if timeout is not None else None
    with session.job(source=source, raw_dir=raw_dir, model=model) as settings:
        run_every_step(
            settings, session.step, full=full, accept_drop=accept_drop, deadline=deadline
        )


@app.command()
def fetch(
    source: options.Source = None,
    raw_dir: options.RawDir = None,
    accept_drop: options.AcceptDrop = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    log_file: options.LogFile = None,
) -> None:
    """Read and check the raw files, and write them as Parquet for dbt.

    Files that have not changed since the last fetch are not read again.
    """
    session = Session(quiet, as_json, log_file)
    with session.job(source=source, raw_dir=raw_dir) as settings:
        session.step("fetch", settings, partial(take_in, accept_drop=accept_drop))


@app.command()
def build(
    source: options.Source = None,
    raw_dir: options.RawDir = None,
    accept_drop: options.AcceptDrop = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    log_file: options.LogFile = None,
) -> None:
    """Build and test every dbt model, from the raw files to the report tables."""
    session = Session(quiet, as_json, log_file)
    with session.job(source=source, raw_dir=raw_dir) as settings:
        session.step("build", settings, partial(build_tables, accept_drop=accept_drop))


@app.command()
def train(
    task: options.Task = "reorder",
    model: options.Model = None,
    source: options.Source = None,
    raw_dir: options.RawDir = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    log_file: options.LogFile = None,
) -> None:
    """Train a model on the training shoppers and register it as a candidate.

    `restock promote` puts it into production. The first model of a task is promoted at once.
    """
    session = Session(quiet, as_json, log_file)
    with session.job(source=source, raw_dir=raw_dir, model=model) as settings:
        session.step("train", settings, later("ml.jobs.train:train_alone", task=task))


@app.command()
def evaluate(
    folds: options.Folds = None,
    peers: options.Peers = False,
    card: options.Card = None,
    model: options.Candidate = "",
    task: options.Task = "reorder",
    source: options.Source = None,
    raw_dir: options.RawDir = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    log_file: options.LogFile = None,
) -> None:
    """Evaluate the model and the baselines on shoppers that the model never saw."""
    session = Session(quiet, as_json, log_file)
    with session.job(source=source, raw_dir=raw_dir) as settings:
        if folds and peers:
            raise SettingsError("--folds measures every model already. Leave out --peers.")
        if card:
            outputs.check_card(card, f"{settings.source}.{task}")
        if model and (folds or peers or card):
            raise SettingsError(
                "--model measures one version. Leave out --folds, --peers and --card."
            )
        step = with_tables(
            later("ml.jobs.evaluate:evaluate", task=task, peers=peers, card=card), AFTER[task]
        )
        if model:
            step = later("ml.jobs.evaluate:evaluate_version", version=model)
        elif folds:
            step = later("ml.jobs.evaluate:cross_validate", task=task, folds=folds, card=card)
            step = with_tables(step, AFTER[task])
        session.step("evaluate", settings, step)


@app.command()
def score(
    as_of: options.AsOf = None,
    as_of_days: options.AsOfDays = None,
    task: options.Task = "reorder",
    source: options.Source = None,
    raw_dir: options.RawDir = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    log_file: options.LogFile = None,
) -> None:
    """Score every shopper-product pair, or every shopper, with the production model.

    Without --as-of or --as-of-days, Restock uses the scoring date of the last build.
    """
    session = Session(quiet, as_json, log_file)
    with session.job(
        source=source, raw_dir=raw_dir, as_of=as_of, as_of_days=as_of_days
    ) as settings:
        named = settings.as_of or settings.as_of_days
        moved = with_tables(later("ml.jobs.score:score_as_of", task=task), AFTER[task])
        step = moved if named else OF_TASK[task]["score"]
        session.step("score", settings, step)
        if releases.published(settings):
            session.step("index", settings, later("ml.serving.index:write"))


@app.command()
def audit(
    task: options.Task = "reorder",
    source: options.Source = None,
    raw_dir: options.RawDir = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    log_file: options.LogFile = None,
) -> None:
    """Check for leakage, features that are missing at scoring, and rows without a score."""
    session = Session(quiet, as_json, log_file)
    with session.job(source=source, raw_dir=raw_dir) as settings:
        session.print_checks(session.step("audit", settings, OF_TASK[task]["audit"])["checks"])


@app.command("list")
def list_(
    recall: options.Recall = None,
    size: options.Size = None,
    cost: options.Cost = None,
    gain: options.Gain = None,
    out: Annotated[Path, typer.Option(help="File to write. It may be an older list.")] = Path(
        "list.csv"
    ),
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    log_file: options.LogFile = None,
) -> None:
    """Write the likeliest buyers of the next 24 hours to a csv file, from the newest scores.

    A tenth of the shoppers is held out, by a hash of the ID: send them nothing, and compare.
    Without that, nobody knows who bought because of a message.
    """
    session = Session(quiet, as_json, log_file)
    with session.errors():
        step = later(
            "ml.jobs.marketing:write", recall=recall, size=size, cost=cost, gain=gain, out=out
        )
        session.step("list", Settings.load(), step)
        session.written["list"] = out
    session.sum_up()


@app.command()
def report(
    source: options.Source = None,
    raw_dir: options.RawDir = None,
    standalone: options.Standalone = False,
    hash_ids: options.HashIds = False,
    watch: options.Watch = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    log_file: options.LogFile = None,
) -> None:
    """Write the dashboard pages."""
    session = Session(quiet, as_json, log_file)

    def draw() -> None:
        with session.job(source=source, raw_dir=raw_dir) as settings:
            step = partial(write_pages, standalone=standalone, hash_ids=hash_ids)
            session.step("report", settings, step)

    if not watch:
        draw()
        return
    with session.errors():
        warehouse = Settings.load(source=source, raw_dir=raw_dir).warehouse
    stop = Event()
    # Ctrl-C lets the current drawing finish.
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    for _ in changes(PAGES, QUERIES, warehouse, stop=stop):
        with suppress(typer.Exit):  # the error is already printed, and the last good pages stay
            draw()


@app.command()
def export(
    table: options.Table = None,
    out: options.ExportOut = None,
    format: options.ExportFormat = None,
    to: options.ExportTo = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    log_file: options.LogFile = None,
) -> None:
    """Write a published table to a file, copy the whole release, or write to a database.

    With a table, the file appears when it is complete. With --out alone, the copy has the
    warehouse, the models and the pages of one release as plain files, even while a run publishes
    the next one. Use it for backups: the published paths are links. With --to, the collection has
    one scoring run, even for a reader in the middle of an export.
    """
    session = Session(quiet, as_json, log_file)
    with session.errors():
        settings = Settings.load()
        if not table and not out and not to:
            raise SettingsError(
                "name a table, a folder with --out, or a MongoDB database with --to"
            )
        if table and to:
            raise SettingsError("--to always writes purchase probabilities. Leave out the table.")
        if format and not table:
            raise SettingsError("--format is the format of a table. Name one.")
        if table:
            format = format or "csv"
            out = out or Path(f"{table}.{format}")
            step = later("ml.jobs.tables:write", table=f"fct_{table}", out=out, format=format)
            if table == "list":
                step = later("ml.jobs.marketing:write", out=out, format=format)
            written = session.step("export", settings, step)
            session.written[table] = written["path"]
        elif out:
            session.step("export", settings, later("ml.jobs.export:export", out=out))
            session.written["export"] = out
        if to:
            written = session.step("export to", settings, later("ml.jobs.sink:write", to=to))
            session.written["export to"] = written["path"]
    session.sum_up()


@app.command()
def tune(
    trials: Annotated[int, typer.Option(min=1, help="Number of parameter sets to try.")] = 20,
    task: options.Task = "reorder",
    source: options.Source = None,
    raw_dir: options.RawDir = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    log_file: options.LogFile = None,
) -> None:
    """Search for better model parameters on the validation shoppers.

    The search never uses the test shoppers. It prints the parameters to add to restock.toml.
    """
    session = Session(quiet, as_json, log_file)
    with session.job(source=source, raw_dir=raw_dir) as settings:
        found = session.step("tune", settings, later("ml.jobs.tune:tune", task=task, trials=trials))
        now, best = found["log_loss"]["now"], found["log_loss"]["best"]
        session.say(f"validation log-loss: {now:.5f} now, {best:.5f} with the best parameters")
        if best < now:
            session.say("Add to restock.toml:\n\\[parameters]")
            for name, value in found["parameters"].items():
                session.say(f"{name} = {value}", highlight=False)


@app.command()
def simulate(
    shoppers: Annotated[int, typer.Option(help="Number of shoppers. Instacart has 206,209.")],
    out: Annotated[Path, typer.Option(help="Output folder. It must be empty or not exist yet.")],
    products: options.Products = None,
    events: options.Events = False,
    days: options.Days = None,
    weeks: options.Weeks = None,
    seed: options.Seed = 0,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    log_file: options.LogFile = None,
) -> None:
    """Generate made-up orders in Instacart's format, with the true probability of every pair.

    With --events, generate an order log with the events of a web shop, and the true probability
    that each shopper buys within 24 hours of each midnight. With --weeks, generate an order log of
    a shop that grows from week to week, with the true probability of every pair.
    """
    session = Session(quiet, as_json, log_file)

    with session.errors():
        if days is not None and not events:
            raise SettingsError("--days is the length of an event log. Add --events.")
        if weeks is not None and events:
            raise SettingsError("--weeks is the length of a log without events. Use --days.")
        if events and days is None:
            days = 150
        step = later(
            "ml.jobs.simulate:simulate",
            out=out,
            shoppers=shoppers,
            products=products,
            seed=seed,
            days=days,
            weeks=weeks,
        )
        session.step("simulate", Settings.load(), step)
        session.written["orders"] = out
    session.sum_up()


app.add_typer(lifecycle.app)


def main() -> None:
    """Run the ``restock`` command."""
    signal.signal(signal.SIGINT, interrupt)
    app()
