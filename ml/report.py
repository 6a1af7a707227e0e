"""The reporting job: pages drawn from ``rpt_`` models, in a folder that appears at one stroke."""

import secrets
import shutil
from typing import Any

from ml import warehouse
from ml.errors import RestockError
from ml.links import replace_link
from ml.settings import ROOT, Settings
from ml.transform import Progress


def report(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Write the pages of ``dashboards/pages`` to ``settings.dashboards``.

    Raises:
        RestockError: if nothing was scored yet, or a page is wrong: with its file and line.
    """
    # Plotly takes a second to import, and only this job draws.
    from dashboards.site import Site, SiteError

    with warehouse.connect(settings, read_only=True) as con:
        if warehouse.scalar(con, "select count(*) from rpt_score_summary") == 0:
            raise RestockError("nothing was scored yet. Run `restock score` first.")
    pages, queries = ROOT / "dashboards" / "pages", ROOT / "dashboards" / "queries"
    progress("drawing pages", 0, len(list(pages.glob("*.md"))))
    folder = settings.dashboards.with_name(f".{settings.dashboards.name}-{secrets.token_hex(4)}")
    folder.mkdir(parents=True)
    try:
        written = Site(pages, queries, settings.warehouse, folder, standalone=True).build()
    except SiteError as error:
        raise RestockError(str(error)) from None
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()
    replace_link(settings.dashboards, folder)
    for sibling in folder.parent.glob(f".{settings.dashboards.name}-*"):
        if sibling != folder:
            shutil.rmtree(sibling, ignore_errors=True)
    progress("drawn", len(written), len(written))
    return {"rows": len(written), "path": str(settings.dashboards / "index.html")}
