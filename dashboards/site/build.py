"""Builds the site from pages and a warehouse, as files that need no network."""

import base64
import itertools
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
from markupsafe import Markup

from .errors import SiteError, located, suggest
from .links import addresses, to_files, to_parts
from .parse import parse_page, parse_partial
from .queries import INPUT, Queries
from .render import JINJA, MACROS, Renderer
from .tree import Page, Query

ASSETS = Path(__file__).parent / "assets"


@dataclass
class Site:
    """The pages, the queries that they share, and the warehouse that they read."""

    pages_dir: Path
    queries_dir: Path
    warehouse: Path
    version: str = ""
    """The version that the footer names."""
    docs: str = ""
    """The address of the documentation, seen from the first page."""
    hash_ids: bool = False
    """Whether pages show a hash in place of each ``user_id``."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why the last build could not draw a page, by the page's name."""
    _drawn: dict[str, tuple[Any, list[tuple[Page, Markup]], dict[str, str]]] = field(
        default_factory=dict
    )
    """Of each page, what it was made from, its pages with their bodies, and its downloads."""
    _salt: str = field(default_factory=secrets.token_hex)

    def build(self, standalone: bool = False, keep_going: bool = False) -> dict[str, str]:
        """Return the site's files by name. A second build renders only the pages that changed.

        Args:
            standalone: whether to add ``standalone.html``, which has all pages of the menu.
            keep_going: whether a page that cannot be drawn says why, instead of ending the build.

        Raises:
            SiteError: a page or a query is wrong.
        """
        self.failures = {}
        found = (*self.pages_dir.glob("*.md"), *self.pages_dir.glob("*/[[]*.md"))
        pages = sorted(map(parse_page, sorted(found)), key=lambda page: page.order)
        plain = [page for page in pages if not page.folder]
        footer = self.pages_dir / "partials" / "footer.md"
        if footer.exists():
            pages.append(Page("footer", "", "", "", 0, parse_partial(footer), {}))
        shared = {
            path.stem: Query(path.stem, path.read_text(encoding="utf-8"), path, 1)
            for path in self.queries_dir.glob("*.sql")
        }
        with duckdb.connect(self.warehouse, read_only=True) as connection:
            if self.hash_ids:
                self._hash(connection)
            self._draw(pages, shared, connection, keep_going)

        made: dict[str, str] = {}
        assets = {path.name: path for path in ASSETS.iterdir()}
        font = base64.b64encode(assets["inter.woff2"].read_bytes()).decode()
        texts = {n: Markup(p.read_text("utf-8")) for n, p in assets.items() if n != "inter.woff2"}
        plotly = files("plotly") / "package_data" / "plotly.min.js"
        parts = {
            "assets/site.css": texts["theme.css"].replace("FONT", font) + texts["site.css"],
            "assets/site.js": texts["site.js"].replace("TEMPLATE_OF_CHARTS", texts["charts.json"]),
            "assets/plotly.min.js": Markup(plotly.read_text("utf-8")),
            "assets/inter-license.txt": texts["inter-license.txt"],
        }
        menu: dict[str, list[Page]] = {}
        for page in plain:
            menu.setdefault(page.group, []).append(page)
        drawn = {page.name: self._drawn[page.name][1] for page in pages}
        render = partial(
            JINJA.get_template("page.html").render,
            menu=menu,
            plain=plain,
            version=self.version,
            docs=self.docs,
            footer=[body for _, body in drawn.pop("footer", [])],
        )
        for page, body in itertools.chain(*drawn.values()):
            up = "../" * page.name.count("/")
            text = render(shown=[(page, body)], up=up, inline={})
            made[f"{page.name}.html"] = to_files(text, up)
        if standalone:
            shown = [*itertools.chain(*(drawn[page.name] for page in plain))]
            made["standalone.html"] = to_parts(render(shown=shown, up="", inline=parts))
        for page in pages:
            made |= self._drawn[page.name][2]
        return {**made, **parts}

    def _draw(
        self,
        pages: list[Page],
        shared: dict[str, Query],
        connection: duckdb.DuckDBPyConnection,
        keep_going: bool,
    ) -> None:
        """Render the pages that changed."""
        queries = {page.name: Queries(connection, shared | page.queries) for page in pages}
        sitemap: dict[str, dict[Any, str]] = {}
        for page in pages:
            for name in page.queries.keys() & shared:
                raise SiteError(
                    page.queries[name].place(), f"{name!r} is a shared query; rename it"
                )
            sitemap[page.name] = {} if page.folder else {None: page.name}
            if page.folder:
                with self._noting_failure(page, keep_going):
                    sitemap[page.name] = _rows(page, queries[page.name])
        stamp = self.warehouse.stat().st_mtime_ns
        for page in pages:
            made_from = (page, shared, sitemap, stamp)
            if self._drawn.get(page.name, (None,))[0] == made_from:
                continue
            each = [(_row(page, *row), row[0]) for row in sitemap[page.name].items()]
            with self._noting_failure(page, keep_going):
                renderer = Renderer(page, queries[page.name], sitemap)
                bodies = [(page, renderer.body(value)) for page, value in each]
                self._drawn[page.name] = made_from, bodies, renderer.downloads
                continue
            failed = MACROS.Failed(self.failures[page.name])
            self._drawn[page.name] = None, [(page, failed) for page, _ in each], {}

    @contextmanager
    def _noting_failure(self, page: Page, keep_going: bool) -> Iterator[None]:
        """Note why a page cannot be drawn, if a fault in one must not cost the others."""
        try:
            yield
        except Exception as error:
            if not keep_going:
                raise
            self.failures[page.name] = str(error) or repr(error)

    def _hash(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Put a view that hashes ``user_id`` in front of each report table that has one."""
        tables = connection.execute(
            "select database_name, table_name from duckdb_columns() where column_name = 'user_id' "
            "and database_name = current_database() and starts_with(table_name, 'rpt_')"
        )
        for database, table in tables.fetchall():
            hashed = f"left(sha256('{self._salt}' || user_id), 12) as user_id"
            connection.execute(
                f'create temp view "{table}" as '
                f'select * replace ({hashed}) from "{database}"."{table}"'
            )


def _rows(page: Page, queries: Queries) -> dict[Any, str]:
    """Return the address of each page of a templated page, by the value of its parameter."""
    with located(page.root.place, "the pages: "):
        fields = queries.run(page.folder, {})
        if page.parameter not in fields:
            raise ValueError(f"no column {page.parameter!r}; {suggest(page.parameter, fields)}")
    return addresses(page.folder, fields[page.parameter].values)


def _row(page: Page, value: Any, address: str) -> Page:
    """Return a page with its address, and the value of its parameter in its title."""
    title, description = (
        INPUT.sub(lambda _: str(value), text) for text in (page.title, page.description)
    )
    return page._replace(name=address, title=title, description=description)
