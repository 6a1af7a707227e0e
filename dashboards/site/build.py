"""Builds the site from pages and a warehouse, as files that need no network."""

from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
from markupsafe import Markup

from .errors import SiteError
from .parse import parse_page
from .queries import Queries
from .render import JINJA, LINK, MACROS, Renderer
from .tree import Query

ASSETS = Path(__file__).parent / "assets"


@dataclass
class Site:
    """The pages, the queries that they share, and the warehouse that they read."""

    pages_dir: Path
    queries_dir: Path
    warehouse: Path
    failures: dict[str, str] = field(default_factory=dict)
    """Why the last build could not draw a page, by the page's name."""
    _bodies: dict[str, tuple[Any, Markup]] = field(default_factory=dict)

    def build(self, standalone: bool = False, keep_going: bool = False) -> dict[str, str]:
        """Return the site's files by name. A second build renders only the pages that changed.

        Args:
            standalone: whether to add ``standalone.html``, which has all pages and assets.
            keep_going: whether a page that cannot be drawn says why, instead of ending the build.

        Raises:
            SiteError: a page or a query is wrong.
        """
        self.failures = {}
        pages = [parse_page(path) for path in sorted(self.pages_dir.glob("*.md"))]
        pages.sort(key=lambda page: page.order)
        names = [page.name for page in pages]
        shared = {
            path.stem: Query(path.stem, path.read_text(encoding="utf-8"), path, 1)
            for path in self.queries_dir.glob("*.sql")
        }
        stamp = self.warehouse.stat().st_mtime_ns
        with duckdb.connect(self.warehouse, read_only=True) as connection:
            for page in pages:
                for name in page.queries.keys() & shared:
                    place = page.queries[name].place()
                    raise SiteError(place, f"{name!r} is a shared query; rename it")
                made_from = (page, shared, names, stamp)
                if self._bodies.get(page.name, (None,))[0] != made_from:
                    queries = Queries(connection, shared | page.queries)
                    try:
                        self._bodies[page.name] = made_from, Renderer(page, queries, names).body()
                    except Exception as error:  # a fault in one page must not cost the others
                        if not keep_going:
                            raise
                        self.failures[page.name] = str(error) or repr(error)
                        failed = MACROS.Failed(self.failures[page.name])
                        self._bodies[page.name] = None, failed

        assets = {path.name: Markup(path.read_text("utf-8")) for path in ASSETS.iterdir()}
        plotly = files("plotly") / "package_data" / "plotly.min.js"
        parts = {
            "assets/site.css": assets["theme.css"] + assets["site.css"],
            "assets/site.js": assets["site.js"],
            "assets/plotly.min.js": Markup(plotly.read_text("utf-8")),
        }
        shown = [(page, self._bodies[page.name][1]) for page in pages]
        template = JINJA.get_template("page.html")
        render = partial(template.render, pages=pages, charts=assets["charts.json"])
        # Links name a page's source until here, where the page's address is known.
        made = {
            f"{each[0].name}.html": LINK.sub(r'href="\1.html"', render(shown=[each], inline={}))
            for each in shown
        }
        if standalone:
            whole = render(shown=shown, inline=parts)
            made["standalone.html"] = LINK.sub(r'href="#\1"', whole)
        return {**made, **parts}
