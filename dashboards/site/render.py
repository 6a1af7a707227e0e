"""Renders a parsed page as HTML."""

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from .bind import Component, bind, check, columns
from .charts import MAX_BARS, drawn, measured
from .components import COMPONENTS
from .errors import SiteError, located, suggest
from .formats import DASH, TONES, Field, Fields
from .queries import MAX_OPTIONS, MAX_ROWS, Choice, Queries
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
    "max_options": MAX_OPTIONS,
}
JINJA.policies["json.dumps_kwargs"] = {"default": str, "separators": (",", ":")}
MACROS: Any = JINJA.get_template("components.html").module
LINK = re.compile(r'href="([\w-]+)\.md"')


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

    def __init__(self, page: Page, queries: Queries, pages: Collection[str]) -> None:
        self.page, self._queries, self._pages = page, queries, pages
        self._ids = (f"{page.name}-{number}" for number in itertools.count(1))

    def body(self) -> Markup:
        """Run all queries of the page and return its body.

        Raises:
            SiteError: the page is wrong.
        """
        check(self.page.root.children)
        for node in self.page.root.walk():
            if isinstance(node, Node) and node.tag == "Dropdown":
                dropdown = self._bind(node, {})
                with node.located():
                    if dropdown.name in self._queries.options:
                        raise ValueError(f"two dropdowns are named {dropdown.name!r}; rename one")
                    self._queries.options[dropdown.name] = dropdown.value.values[:MAX_OPTIONS]
        for query in self.page.queries.values():
            with located(query.place()):
                for choice in self._queries.choices(self._queries.inputs(query.name)):
                    self._queries.table(query.name, choice)
        for part in self.page.root.walk():
            self._inputs([part], {})  # finds unknown queries in branches that are not shown
        return self._prose(self.page.root.children, self.page.root, {})

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
            if name not in self._pages:
                what = f"no page {name}.md to link to"
                raise SiteError(around.place, f"{what}; {suggest(name, self._pages)}")

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
            notes = []
            if node.query:
                is_list = node.attributes.get("swapXY", "false") != "false"
                limit = MAX_BARS if is_list else MAX_ROWS
                fields = self._queries.run(node.query, choice, limit)
                shown = max(len(field.values) for field in fields.values())
                if shown == limit and (count := self._queries.count(node.query, choice)) > shown:
                    notes.append(f"The first {shown:,} of {count:,} rows.")
            component = bind(node, fields or {})
            if (column := _nothing_in(component)) and not column.present:
                message = component.emptyMessage or "Nothing to show."
                return Component(template="Empty", message=message)
            component.uid, component.notes = next(self._ids), notes
            component.query = self._queries.known.get(node.query or "")
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
        return component
