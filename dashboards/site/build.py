"""Builds the site: pages and a warehouse in; files that need no network out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from .charts import chart
from .components import TONES, columns, options
from .parse import Node, Page, Query, SiteError, parse_page, suggest
from .queries import Queries
from .render import Renderer

HERE = Path(__file__).parent
LOADER = FileSystemLoader(HERE / "templates")
JINJA = Environment(loader=LOADER, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
JINJA.lstrip_blocks = True
JINJA.globals |= {"chart": chart, "columns": columns, "options": options, "tones": TONES}
JINJA.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}


@dataclass
class Site:
    """Pages, the queries they share, the warehouse they read, and the folder they go to.

    A warehouse given by its path is opened read-only, for the time of a build. A connection is for
    a process that has the file open already; what a build makes there is temporary.
    """

    pages_dir: Path
    queries_dir: Path
    warehouse: Path | duckdb.DuckDBPyConnection
    out_dir: Path
    standalone: bool = False
    _bodies: dict[Path, tuple[Any, Markup]] = field(default_factory=dict)

    def build(self, on_page: Callable[[str, float], None] | None = None) -> list[Path]:
        """Write the site; built again, render only the pages that changed.

        Nothing is written before every page is rendered: an error leaves all as it was.

        Args:
            on_page: told the title of each page that was rendered, and the seconds it took.

        Returns:
            The files that are new or differ from what was there.

        Raises:
            SiteError: a page or a query is wrong, or the warehouse cannot be opened.
        """
        stamps = self._stamps()
        pages = [parse_page(path) for path in stamps if path.suffix == ".md"]
        pages.sort(key=lambda page: int(page.meta["order"]))
        names = [page.path.stem for page in pages]
        if "index" not in names:
            raise SiteError(self.pages_dir, "no index.md", "write the first page")
        files = [path for path in stamps if path.suffix == ".sql"]
        shared = {p.stem: Query(p.stem, p.read_text(encoding="utf-8"), p, 1) for p in files}
        others = {path: stamp for path, stamp in stamps.items() if path.suffix != ".md"}

        def link(target: str, node: Node) -> str:
            name = target.removesuffix(".md")
            if name == target or "/" in name:
                return target
            if name not in names:
                what = f"a link to {target}, which is no page"
                raise SiteError(node.place, what, suggest(name, names))
            return self._href(name)

        macros = JINJA.get_template("components.html").module
        with closing(self._connect()) as connection:
            for page in pages:
                started, stamp = time.perf_counter(), (stamps[page.path], others, names)
                if self._bodies.get(page.path, (None,))[0] == stamp:
                    continue
                if twice := page.queries.keys() & shared:
                    query = page.queries[min(twice)]
                    raise SiteError(query.place(), f"{query.name!r} is a shared query", "rename it")
                queries = Queries(connection, shared | page.queries, str(page.path))
                self._bodies[page.path] = stamp, Renderer(page, queries, macros, link).body()
                if on_page:
                    on_page(page.meta["title"], time.perf_counter() - started)
        return [path for path, text in self._files(pages).items() if _write(path, text)]

    def watch(self, interval: float = 0.5) -> Iterator[list[Path] | SiteError]:
        """Build, and build again whenever a page, a query or the warehouse changes.

        Args:
            interval: seconds between two looks at the files.

        Yields:
            What each build wrote, or the error that it ended with. It never ends by itself.
        """
        seen: dict[Path, int] = {}
        while True:
            if (stamps := self._stamps()) != seen:
                seen = stamps
                try:
                    yield self.build()
                except SiteError as error:
                    yield error
            time.sleep(interval)

    def _stamps(self) -> dict[Path, int]:
        """Say when each file that the site is made from last changed."""
        paths = [*sorted(self.pages_dir.glob("*.md")), *sorted(self.queries_dir.glob("*.sql"))]
        if isinstance(self.warehouse, Path) and self.warehouse.exists():
            paths.append(self.warehouse)
        return {path: path.stat().st_mtime_ns for path in paths}

    def _connect(self) -> duckdb.DuckDBPyConnection:
        if not isinstance(self.warehouse, Path):
            return self.warehouse.cursor()
        try:
            return duckdb.connect(self.warehouse, read_only=True)
        except duckdb.Error as error:
            what = str(error).splitlines()[0]
            raise SiteError(self.warehouse, what, "is it built, and free?") from error

    def _href(self, name: str) -> str:
        return f"#{name}" if self.standalone else f"{name}.html"

    def _files(self, pages: list[Page]) -> dict[Path, str]:
        """Return what goes into each file of the site."""
        assets = {
            p.name: Markup(p.read_text(encoding="utf-8")) for p in (HERE / "assets").iterdir()
        }
        css, plotly = assets["theme.css"] + assets["site.css"], Markup(get_plotlyjs())
        common = {"pages": pages, "href": self._href, "charts": assets["charts.json"]}
        shown = [(page, self._bodies[page.path][1]) for page in pages]
        render = JINJA.get_template("page.html").render
        if self.standalone:
            inline = {"css": css, "js": assets["site.js"], "plotly": plotly}
            return {self.out_dir / "index.html": render(shown=shown, inline=inline, **common)}
        files = {"site.css": css, "site.js": assets["site.js"], "plotly.min.js": plotly}
        made = {self.out_dir / "assets" / name: str(text) for name, text in files.items()}
        for each in shown:
            path = self.out_dir / f"{each[0].path.stem}.html"
            made[path] = render(shown=[each], inline=None, **common)
        return made


def _write(path: Path, text: str) -> bool:
    """Replace a file in one step, unless it is the same already."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return True
