"""The reporting job: pages drawn from ``rpt_`` models, in a folder that appears at one stroke."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import dashboards
from ml.errors import RestockError
from ml.progress import Progress
from ml.registry.links import replace_link
from ml.settings import Settings
from ml.warehouse import connection

if TYPE_CHECKING:
    from dashboards.site import Site

_DASHBOARDS = Path(dashboards.__file__).parent
PAGES, QUERIES = _DASHBOARDS / "pages", _DASHBOARDS / "queries"


def report(settings: Settings, progress: Progress, standalone: bool = False) -> dict[str, Any]:
    """Write the pages of ``dashboards/pages`` to ``settings.dashboards``.

    With ``standalone``, also ``standalone.html``: every page in one file, to mail.

    Raises:
        RestockError: if nothing was scored yet, the model was not evaluated, or a page is wrong:
            with its file and line.
    """
    from dashboards.site import SiteError

    with connection.connect(settings, read_only=True) as con:
        if connection.scalar(con, "select count(*) from rpt_score_summary") == 0:
            raise RestockError("nothing was scored yet. Run `restock score` first.")
        if connection.scalar(con, "select count(*) from rpt_reliability") == 0:
            raise RestockError("the model was not evaluated yet. Run `restock evaluate` first.")
        # Tests are noted when all that is made of the scores was built, see `run.with_tables`.
        built = "select max(finished_at) from ml.test_results where starts_with(model_name, 'rpt_')"
        scored = "select max(finished_at) from ml.batches"
        if not connection.scalar(con, f"select coalesce(({built}) >= ({scored}), false)"):
            raise RestockError(
                "what the pages show is older than the scores. Run `restock score` again."
            )
    progress("drawing pages", 0, len(list(PAGES.glob("*.md"))))
    try:
        files = _site(settings.warehouse).build(standalone)
    except SiteError as error:
        raise RestockError(str(error)) from None
    folder = settings.dashboards.with_name(f".{settings.dashboards.name}-{secrets.token_hex(4)}")
    write(files, folder)
    replace_link(settings.dashboards, folder)
    for sibling in folder.parent.glob(f".{settings.dashboards.name}-*"):
        if sibling != folder:
            shutil.rmtree(sibling, ignore_errors=True)
    pages = sum(name.endswith(".html") for name in files)
    progress("drawn", pages, pages)
    first = "standalone.html" if standalone else "index.html"
    return {"rows": pages, "first_page": first}


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write files by their names into a folder, which is made if need be."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def changes(*places: Path, stop: Event, interval: float = 0.5) -> Iterator[None]:
    """Yield at once, and again whenever one of these files or folders has changed.

    Args:
        places: files, and folders whose files count.
        stop: ends it, when set.
        interval: seconds between two looks.
    """
    seen: dict[Path, int] = {}
    stopped = False
    while not stopped:
        found = [path for place in places for path in (place, *place.glob("*")) if path.is_file()]
        if (stamps := {path: path.stat().st_mtime_ns for path in found}) != seen:
            seen = stamps
            yield
        stopped = stop.wait(interval)


@cache
def _site(path: Path) -> Site:
    """Return the site of a warehouse, which remembers the pages that it drew."""
    from dashboards.site import Site  # what draws takes half a second to import

    return Site(PAGES, QUERIES, path)
