"""Renders a parsed page as HTML."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from .bind import Component, bind, check, columns
from .charts import MAX_BARS, drawn, measured, sparkline
from .components import COMPONENTS
from .errors import SiteError, located, suggest
from .formats import DASH, MINUS, TONES, Field, Fields
from .links import LINK, MAX_PAGES, Sitemap
from .queries import MAX_DOWNLOAD, MAX_OPTIONS, MAX_ROWS, Choice, Queries, as_csv
from .tree import Branch, Child, If, Node, Page

MARKDOWN = MarkdownIt("commonmark", {"html": False, "typographer": True})
# Text inside a tag may be indented, so indentation is not code. Pages load no images.
MARKDOWN.enable(["table", "replacements", "smartquotes"]).disable(["code", "image"])
# Markdown is rendered with a mark, a number between \ue000, in place of each component.
MARK = re.compile(r"(?P<alone><p>)?\ue000(?P<number>\d+)\ue000(?(alone)</p>)")
JINJA = Environment(
    autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
JINJA.loader = FileSystemLoader(Path(__file__).parent / "templates")
JINJA.globals |= {
    "columns": columns,
    "drawn": drawn,
    "tones": TONES,
    "dash": DASH,
    "minus": MINUS,
    "sparkline": sparkline,
    "max_options": MAX_OPTIONS,
}
JINJA.policies["json.dumps_kwargs"] = {"default": str, "separators": (",", ":")}
MACROS: Any = JINJA.get_template("components.html").module


def _nothing_in(c: Component) -> Field | None:
    """Return the column without which a chart or a table shows nothing."""
    if c.template == "Chart":
        return measured(c)
    if c.tag == "DataTable":  # any column has a value for each row, but it may be NULL
        return Field("rows", [0] * len(next(iter(c.fields.values())).values))
    return None


def _top(field: Field, rest: Field | None) -> float:
    """Return the largest value of a column but for the row of all others; its bar is full."""
    is_rest = rest.values if rest else [False] * len(field.values)
    values = zip(field.values, is_rest, strict=True)
    return max((value for value, last in values if value and not last), default=0) or 1


class Renderer:
    """Renders one page, which may link to the others by their names."""

    def __init__(self, page: Page, queries: Queries, sitemap: Sitemap) -> None:
        self.page, self._queries, self._sitemap = page, queries, sitemap
        self._up = "../" * page.name.count("/")
        self.downloads: dict[str, str] = {}
        """The files that readers can download, by name."""

    def body(self, value: Any = None) -> Markup:
        """Run all queries of the page and return its body.

        Args:
            value: the value of a templated page's parameter.

        Raises:
            SiteError: the page is wrong.
        """
        options: dict[str, list[Any]] = {self.page.parameter: [value]} if self.page.folder else {}
        choice = dict.fromkeys(options, 0)
        self._queries.options = options
        self._name = self._sitemap[self.page.name][value].replace("/", "-")
        self._ids = (f"{self._name}-{number}" for number in itertools.count(1))
        check(self.page.root.children)
        for node in self.page.root.walk():
            if isinstance(node, Node) and node.tag == "Dropdown":
                dropdown = self._bind(node, choice)
                with node.located():
                    if dropdown.name in options:
                        raise ValueError(f"two dropdowns are named {dropdown.name!r}; rename one")
                    options[dropdown.name] = dropdown.value.values[:MAX_OPTIONS]
        for query in self.page.queries.values():
            with located(query.place()):
                for more in self._queries.choices(self._queries.inputs(query.name) - choice.keys()):
                    self._queries.table(query.name, choice | more)
        for part in self.page.root.walk():
            self._inputs([part], choice)  # finds unknown queries in branches that are not shown
        return self._prose(self.page.root.children, self.page.root, choice)

    def _prose(self, children: list[Child], around: Node, choice: Choice) -> Markup:
        """Render markdown with components as blocks."""
        text, parts = self._marked(children, choice)
        return self._filled(MARKDOWN.render(text), parts, around, choice)

    def _line(self, children: list[Child], around: Node, choice: Choice) -> Markup:
        """Render markdown as part of a line."""
        text, parts = self._marked(children, choice)
        if re.search(r"\n\s*\n", text.strip()):
            what = "holds a paragraph or a component, and depends on a dropdown"
            raise ValueError(f"{what}; put empty lines around {{#if}} and {{/if}}")
        return self._filled(MARKDOWN.renderInline(text), parts, around, choice)

    def _marked(self, children: list[Child], choice: Choice) -> tuple[str, list[Node | If]]:
        """Return markdown with a mark for each component, and the components."""
        text = ""
        parts: list[Node | If] = []
        for child in self._shown(children, choice):
            if isinstance(child, str):
                text += child
                continue
            mark = f"\ue000{len(parts)}\ue000"
            parts.append(child)
            if isinstance(child, If):
                text += mark + "\n" * child.has_own_line
            else:
                text += mark if COMPONENTS[child.tag].is_inline else f"\n\n{mark}\n\n"
        return text, parts

    def _filled(self, html: str, parts: list[Node | If], around: Node, choice: Choice) -> Markup:
        for name in LINK.findall(html):
            if None not in self._sitemap.get(name, ()):
                what = f"no page {name}.md to link to"
                raise SiteError(around.place, f"{what}; {suggest(name, self._sitemap)}")

        def fill(mark: re.Match[str]) -> str:
            part, is_alone = parts[int(mark["number"])], bool(mark["alone"])
            if isinstance(part, If):
                return self._if(part, is_alone, around, choice)
            component = self._component(part, choice)
            is_paragraph = is_alone and COMPONENTS[part.tag].is_inline
            return f"<p>{component}</p>" if is_paragraph else component

        return Markup(MARK.sub(fill, html))

    def _shown(self, children: Iterable[Child], choice: Choice) -> Iterator[Child]:
        """Replace each {#if} by its branch, unless it depends on a dropdown without a choice."""
        for child in children:
            if isinstance(child, If) and not self._inputs(child.branches, choice):
                yield from self._shown(self._branch(child, choice), choice)
            else:
                yield child

    def _branch(self, part: If, choice: Choice) -> list[Child]:
        """Return the content of the first branch whose condition holds."""
        for branch in part.branches:
            with branch.located():
                condition = branch.condition
                if not condition or condition.holds(self._queries.run(condition.query, choice)):
                    return branch.children
        return []

    def _if(self, part: If, is_alone: bool, around: Node, choice: Choice) -> Markup:
        """Render an {#if} once for each choice that its conditions depend on."""

        def render(choice: Choice) -> Markup:
            children = self._branch(part, choice)
            return (self._prose if is_alone else self._line)(children, around, choice)

        with part.branches[0].located():
            inputs = self._inputs(part.branches, choice)
            return self._variants(inputs, choice, render, "div" if is_alone else "span")

    def _component(self, node: Node, choice: Choice) -> Markup:
        """Render a component once for each choice that it and its content depend on."""

        def render(choice: Choice) -> Markup:
            component = self._bind(node, choice)
            return getattr(MACROS, component.template)(component)

        inputs = self._inputs(node.walk(), choice) if node.query else set()
        with node.located():
            tag = "span" if COMPONENTS[node.tag].is_inline else "div"
            return self._variants(inputs, choice, render, tag)

    def _inputs(self, parts: Iterable[Node | Branch], choice: Choice) -> set[str]:
        """Return the dropdowns without a choice that these tags and conditions depend on."""
        inputs: set[str] = set()
        for part in parts:
            if part.query:
                with part.located():
                    inputs |= self._queries.inputs(part.query) - choice.keys()
        return inputs

    def _variants(
        self, inputs: set[str], choice: Choice, render: Callable[[Choice], Markup], tag: str
    ) -> Markup:
        """Render once for each combination of the inputs; the browser shows the chosen one."""
        if not inputs:
            return render(choice)
        made = [(picks, render({**choice, **picks})) for picks in self._queries.choices(inputs)]
        return MACROS.variants(made, tag)

    def _bind(self, node: Node, choice: Choice, fields: Fields | None = None) -> Component:
        """Make a component of a tag. `fields` is the result of the query of the tag around it."""
        with node.located():
            notes: list[str] = []
            if node.query:
                fields = self._shown_rows(node, choice, notes)
            component = bind(node, fields or {})
            if (column := _nothing_in(component)) and not column.present:
                message = component.emptyMessage or "Nothing to show."
                return Component(template="Empty", message=message)
            component.uid, component.notes = next(self._ids), notes
            component.hrefs = self._hrefs(component) if component.link else None
            if node.query and _nothing_in(component):
                component.sql = self._queries.sql(node.query, choice)
                component.download = self._download(node, choice)
            component.query = node.query
            if COMPONENTS[node.tag].holds_prose:
                component.body = self._prose(node.children, node, choice)
                return component
            for child in self._shown(node.children, choice):
                if isinstance(child, Node):
                    component.parts.append(self._bind(child, choice, fields))
                elif isinstance(child, If):
                    what = f"{child.written} here cannot depend on a dropdown"
                    raise ValueError(f"{what}; put it around {node.written}")
                elif child.strip():
                    raise ValueError(f"cannot hold text; remove {child.strip()!r}")
            for part in component.parts:
                if part.contentType == "bar":
                    part.top = _top(part.id, component.rest)
                if part.hrefs and len(self._sitemap[part.link.removesuffix(".md")]) == MAX_PAGES:
                    notes.append(f"The first {MAX_PAGES:,} have a page of their own.")
        return component

    def _shown_rows(self, node: Node, choice: Choice, notes: list[str]) -> Fields:
        """Return the rows that a component shows; add a note if there are more."""
        fields = self._queries.run(node.query or "", choice)
        count = max(len(field.values) for field in fields.values())
        is_list = node.attributes.get("swapXY", "false") != "false"
        limit = int(node.attributes.get("limit", MAX_BARS if is_list else MAX_ROWS))
        if count <= limit:
            return fields
        rest = fields.get(node.attributes.get("rest", ""))
        kept = [n for n in range(count) if n < limit or (rest and rest.values[n])]
        if not rest:
            if count == MAX_DOWNLOAD:
                count = self._queries.count(node.query or "", choice)
            notes.append(f"The first {limit:,} of {count:,} rows.")
        if count > MAX_DOWNLOAD:
            notes.append(f"The download has the first {MAX_DOWNLOAD:,}.")
        return {name: field.rows(kept) for name, field in fields.items()}

    def _download(self, node: Node, choice: Choice) -> str:
        """Add the file with all rows of a component's query, and return its address."""
        query = node.query or ""
        options = sorted(self._queries.inputs(query) - {self.page.parameter})
        parts = [self._name, query, *(str(choice[name] + 1) for name in options)]
        name = f"downloads/{'-'.join(parts)}.csv"
        if name not in self.downloads:
            fields = self._queries.run(query, choice)
            if rest := fields.get(node.attributes.get("rest", "")):
                kept = [n for n, is_rest in enumerate(rest.values) if not is_rest]
                fields = {name: field.rows(kept) for name, field in fields.items()}
            self.downloads[name] = as_csv(fields.values())
        return self._up + name

    def _hrefs(self, c: Component) -> list[str | None]:
        """Return the page that each row links to."""
        name = c.link.removesuffix(".md")
        if name not in self._sitemap:
            raise ValueError(f"no page {c.link} to link to; {suggest(name, self._sitemap)}")
        addresses = self._sitemap[name]
        count = len(next(iter(c.fields.values())).values)
        if None in addresses:
            return [addresses[None]] * count
        column = name.rpartition("/")[2].strip("[]")
        if column not in c.fields:
            raise ValueError(f"{c.link} needs the column {column!r}; select it in the query")
        return [addresses.get(value) for value in c.fields[column].values]
