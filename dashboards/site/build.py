"""Builds the site: pages and a warehouse in; files that need no network out."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
from markupsafe import Markup

from .parse import Query, SiteError, parse_page
from .queries import Queries
from .render import JINJA, Renderer

ASSETS = Path(__file__).parent / "assets"


@dataclass
class Site:
    """Pages, the queries they share, and the warehouse they read."""

    pages_dir: Path
    queries_dir: Path
    warehouse: Path
    _bodies: dict[Path, tuple[Any, Markup]] = field(default_factory=dict)

    def build(self, standalone: bool = False) -> dict[str, str]:
        """Return the site's files by name; built again, render only the pages that changed.

        Args:
            standalone: whether to add ``standalone.html``: all pages, and all that they need.

        Raises:
            SiteError: a page or a query is wrong, or the warehouse cannot be opened.
        """
        pages = [parse_page(path) for path in sorted(self.pages_dir.glob("*.md"))]
        pages.sort(key=lambda page: int(page.meta["order"]))
        names = [page.path.stem for page in pages]
        if "index" not in names:
            raise SiteError(self.pages_dir, "no index.md; write the first page")
        shared = {
            path.stem: Query(path.stem, path.read_text(encoding="utf-8"), path, 1)
            for path in self.queries_dir.glob("*.sql")
        }
        shown = []
        with closing(self._connect()) as connection:
            stamp = self.warehouse.stat().st_mtime_ns
            for page in pages:
                if twice := page.queries.keys() & shared:
                    query = page.queries[min(twice)]
                    raise SiteError(query.place(), f"{query.name!r} is a shared query; rename it")
                made_from = (page, shared, names, stamp)
                if self._bodies.get(page.path, (None,))[0] != made_from:
                    queries = Queries(connection, shared | page.queries)
                    self._bodies[page.path] = made_from, Renderer(page, queries, names).body()
                shown.append((page, self._bodies[page.path][1]))

        assets = {path.name: Markup(path.read_text("utf-8")) for path in ASSETS.iterdir()}
        plotly = files("plotly") / "package_data" / "plotly.min.js"
        parts = {
            "assets/site.css": assets["theme.css"] + assets["site.css"],
            "assets/site.js": assets["site.js"],
            "assets/plotly.min.js": Markup(plotly.read_text("utf-8")),
        }
        render = partial(
            JINJA.get_template("page.html").render, pages=pages, charts=assets["charts.json"]
        )
        made = {f"{each[0].path.stem}.html": render(shown=[each], inline={}) for each in shown}
        if standalone:
            whole, pages_of_it = render(shown=shown, inline=parts), "|".join(names)
            made["standalone.html"] = re.sub(rf'href="({pages_of_it})\.html"', r'href="#\1"', whole)
        return {**made, **parts}

    def _connect(self) -> duckdb.DuckDBPyConnection:
        try:
            return duckdb.connect(self.warehouse, read_only=True)
        except duckdb.Error as error:
            what = str(error).splitlines()[0]
            raise SiteError(self.warehouse, f"{what}; is it built, and free?") from error
