"""The commands about what is published: what there is, and which model and release is served."""

from pkgutil import resolve_name

import typer

from ml import listing, options
from ml.console import Session
from ml.jobs import status as reading
from ml.jobs.steps import later
from ml.settings import Settings

app = typer.Typer()


@app.command()
def status(quiet: options.Quiet = False, as_json: options.Json = False) -> None:
    """Show what is published, how old and how good it is, and what the last run did."""
    session = Session(quiet, as_json)
    with session.errors():
        session.tell(reading.status(Settings.load()), listing.status)


@app.command()
def models(quiet: options.Quiet = False, as_json: options.Json = False) -> None:
    """List the model versions with their figures, and where each is used."""
    session = Session(quiet, as_json)
    with session.errors():
        session.tell(reading.list_models(Settings.load()), listing.models)


@app.command()
def releases(quiet: options.Quiet = False, as_json: options.Json = False) -> None:
    """List the releases that are kept, with their batch, models, figures and size."""
    session = Session(quiet, as_json)
    with session.errors():
        session.tell(reading.list_releases(Settings.load()), listing.releases)


@app.command()
def promote(
    version: options.Version = "",
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    log_file: options.LogFile = None,
) -> None:
    """Put a model version into production. The next run scores everything with it.

    After a rollback, runs keep the model until this command. Without VERSION, it only lets them
    train again.
    """
    session = Session(quiet, as_json, log_file)
    with session.job(reads_orders=False) as settings:
        session.step("promote", settings, later("ml.jobs.promotion:promote", version=version))


@app.command()
def rollback(
    release: options.Release = "",
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    log_file: options.LogFile = None,
) -> None:
    """Publish an earlier release again: its scores, models and pages, with one rename.

    Runs keep its model until `restock promote`.
    """
    session = Session(quiet, as_json, log_file)
    with session.job(reads_orders=False) as settings:
        session.step("rollback", settings, later("ml.jobs.promotion:rollback", release=release))


@app.command()
def why(
    shopper: options.Shopper,
    product: options.Product,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Show why a product has its probability for a shopper: history, features, contributions."""
    session = Session(quiet, as_json)
    with session.errors():
        settings = Settings.load()
        settings.prepare_workspace()
        found = resolve_name("ml.serving.why:why")(settings, shopper, product)
        session.tell(found, listing.why)


@app.command()
def publish(
    to: options.PublishTo = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    log_file: options.LogFile = None,
) -> None:
    """Write what `restock serve` answers to Redis or PostgreSQL, for services on other machines.

    Needs `restock[redis]` or `restock[postgres]`. Readers see one batch, the old one or the new
    one. After an interruption, the same command goes on where it stopped.
    """
    session = Session(quiet, as_json, log_file)
    with session.errors():
        settings = Settings.load(publish_to=to)
        written = session.step("publish", settings, later("ml.jobs.publish:publish"))
        session.written["published to"] = written["path"]
    session.sum_up()


@app.command()
def serve(host: options.Host = "127.0.0.1", port: options.Port = 8080) -> None:
    """Answer over HTTP: baskets, predictions, demand, and live scores. Needs `restock[serve]`.

    Writes a line of JSON for each request to the standard output. Ctrl-C or SIGTERM ends it.
    """
    with Session(quiet=False, as_json=False).errors():
        resolve_name("ml.serving.server:serve")(Settings.load(), host=host, port=port)


@app.command("app")
def app_(host: options.Host = "127.0.0.1", port: options.Port = 8501) -> None:
    """Show pages in a browser: one shopper and what if, a file, tomorrow. Needs `restock[app]`.

    Ctrl-C or SIGTERM ends it.
    """
    with Session(quiet=False, as_json=False).errors():
        resolve_name("ml.app.server:serve")(Settings.load(), host=host, port=port)
