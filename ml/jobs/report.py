"""The report job: draws pages from ``rpt_`` models and publishes them as one folder."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import dashboards
from ml.errors import RestockError
from ml.progress import Progress
from ml.registry import outputs
from ml.settings import Settings
from ml.warehouse import connection

if TYPE_CHECKING:
    from dashboards.site import Site

_DASHBOARDS = Path(dashboards.__file__).parent
PAGES, QUERIES = _DASHBOARDS / "pages", _DASHBOARDS / "queries"


def report(
    settings: Settings,
    progress: Progress,
    standalone: bool = False,
    keep_going: bool = False,
    hash_ids: bool = False,
    opened_at: Path | None = None,
) -> dict[str, Any]:
    """Write the pages of ``dashboards/pages`` to ``settings.dashboards``.

    Args:
        settings: the settings of the job.
        progress: called with the progress.
        standalone: whether to write ``standalone.html`` too, a single file with every page.
        keep_going: whether a page that cannot be drawn says why, and the others are written.
        hash_ids: whether pages show a hash in place of each shopper's id.
        opened_at: the folder where readers open the pages, if a link leads to them.

    Returns:
        The number of pages as ``rows``, the ``first_page``, and why pages failed as ``failures``.

    Raises:
        RestockError: there are no scores or no evaluation, the report tables are out of date, or a
            page has an error; the message names the file and line of the page.
    """
    from dashboards.site import SiteError
    from ml.registry import versions  # takes seconds to import, as `dashboards.site` does

    with connection.connect(settings, read_only=True) as con:
        if connection.scalar(con, "select count(*) from rpt_score_summary") == 0:
            raise RestockError("there are no scores yet. Run `restock score` first.")
        model = connection.scalar(con, "select max_by(model_version, finished_at) from ml.batches")
        shown = connection.scalar(con, "select max(run_id) from ml.test_predictions")
        if shown not in versions.metadata(settings.models, model).get("evaluations", []):
            raise RestockError(
                f"the model {model} has not been evaluated yet. Run `restock evaluate` first."
            )
        # Test results are recorded after the report tables are built, see `steps.with_tables`.
        built = "select max(finished_at) from ml.test_results where starts_with(model_name, 'rpt_')"
        scored = "select max(finished_at) from ml.batches"
        if not connection.scalar(con, f"select coalesce(({built}) >= ({scored}), false)"):
            raise RestockError(
                "the report tables are out of date: scoring was interrupted. "
                "Run `restock score` again."
            )
    progress("drawing pages", 0, len(list(PAGES.glob("*.md"))))
    site = _site(settings.warehouse, opened_at or settings.dashboards, hash_ids)
    try:
        files = site.build(standalone, keep_going)
    except SiteError as error:
        raise RestockError(str(error)) from None
    folder = outputs.new_pages(settings.dashboards)
    write(files, folder)
    outputs.publish_pages(settings.dashboards, folder)
    outputs.remove_old_pages(settings.dashboards)
    pages = sum(name.endswith(".html") for name in files)
    progress("drawn", pages, pages)
    first = "standalone.html" if standalone else "index.html"
    return {
        "rows": pages - len(site.failures),
        "first_page": first,
        "failures": dict(site.failures),
    }


def report_failure(settings: Settings, reason: str) -> None:
    """Write a page that says why there are no others."""
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Restock</title>'
        "<h1>The pages could not be drawn</h1>"
        "<p>The scores beside this page are complete. Run <code>restock report</code> to draw the "
        f"pages of them.</p><pre>{html.escape(reason)}</pre></html>\n"
    )
    write({"index.html": text}, settings.dashboards)


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write files, given as text by name, to a folder, and create the folder if needed."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def changes(*places: Path, stop: Event, interval: float = 0.5) -> Iterator[None]:
    """Yield once, and again whenever a file changes.

    Args:
        places: files to watch, and folders whose files to watch.
        stop: ends the iteration when set.
        interval: seconds between checks.
    """
    seen: dict[Path, int] = {}
    stopped = False
    while not stopped:
        found = [path for place in places for path in (place, *place.rglob("*")) if path.is_file()]
        if (stamps := {path: path.stat().st_mtime_ns for path in found}) != seen:
            seen = stamps
            yield
        stopped = stop.wait(interval)


@cache
def _site(warehouse: Path, pages: Path, hash_ids: bool) -> Site:
    """Return the site of a warehouse; it caches the pages it has drawn."""
    from dashboards.site import Site  # takes half a second to import

    # An installed package has no docs, and a reader outside of the house cannot open them.
    docs = _DASHBOARDS.parent / "docs" / "README.md"
    address = os.path.relpath(docs, pages) if docs.exists() and not hash_ids else ""
    return Site(PAGES, QUERIES, warehouse, version("restock"), address, hash_ids)
