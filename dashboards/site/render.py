"""Turns a parsed page into HTML: its markdown, with the components in their places."""

import itertools
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from .charts import drawn
from .components import PARTS, PROSE, TAGS, TONES, Component, bind, columns
from .formats import Fields
from .parse import Node, Page, SiteError, located, suggest
from .queries import Choice, Queries

MARKDOWN = MarkdownIt("commonmark", {"html": False, "typographer": True})
# Indented text is the inside of a tag, not code; and no page loads an image from elsewhere.
MARKDOWN.enable(["table", "replacements", "smartquotes"]).disable(["code", "image"])
JINJA = Environment(
    autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
JINJA.loader = FileSystemLoader(Path(__file__).parent / "templates")
JINJA.globals |= {"columns": columns, "drawn": drawn, "tones": TONES}
JINJA.policies["json.dumps_kwargs"] = {"default": str, "separators": (",", ":")}
LINK = re.compile(r'href="([\w-]+)\.md"')


class Renderer:
    """Renders one page, which may link to the others by their names."""

    def __init__(self, page: Page, queries: Queries, pages: Collection[str]) -> None:
        self.page, self._queries, self._pages = page, queries, pages
        self._macros: Any = JINJA.get_template("components.html").module
        self._ids = (f"{page.name}-{number}" for number in itertools.count(1))

    def body(self) -> Markup:
        """Return the page's body, after all its queries have run.

        Raises:
            SiteError: something on the page is wrong.
        """
        for node in self.page.root.walk():
            if node.tag == "Dropdown":
                dropdown = self._bind(node, {})
                with node.located():
                    if dropdown.name in self._queries.options:
                        raise ValueError(f"a second {dropdown.name!r}; rename one")
                    self._queries.options[dropdown.name] = dropdown.value.values
        for query in self.page.queries.values():
            with located(query.place()):
                for choice in self._queries.choices(self._queries.inputs(query.name)):
                    self._queries.table(query.name, choice)
        return self._prose(self.page.root, {})

    def _prose(self, node: Node, choice: Choice) -> Markup:
        # Markdown sees a mark where a component stands: a block in a paragraph of its own.
        text, made = "", list[Markup]()
        for child in node.children:
            if isinstance(child, Node):
                mark = "\ue001{}\ue001" if child.tag == "Value" else "\n\n\ue000{}\ue000\n\n"
                text += mark.format(len(made))
                made.append(self._component(child, choice))
            else:
                text += child
        rendered = MARKDOWN.render(text)
        for name in LINK.findall(rendered):
            if name not in self._pages:
                what = f"a link to {name}.md, which is no page"
                raise SiteError(node.place, f"{what}; {suggest(name, self._pages)}")
        marks = r"<p>\ue000(\d+)\ue000</p>|[\ue000\ue001](\d+)[\ue000\ue001]"
        return Markup(re.sub(marks, lambda mark: made[int(mark[1] or mark[2])], rendered))

    def _component(self, node: Node, choice: Choice) -> Markup:
        """Render a component once for each choice that its data and its insides depend on."""
        inputs: set[str] = set()
        for each in node.walk() if "data" in node.attributes else ():
            if name := each.attributes.get("data"):
                with each.located():
                    inputs |= self._queries.inputs(name) - choice.keys()
        made = []
        with node.located():
            for picks in self._queries.choices(inputs):
                component = self._bind(node, {**choice, **picks})
                template = getattr(self._macros, component.tag, self._macros.Chart)
                made.append((picks, template(component)))
        if not inputs:
            return made[0][1]
        return self._macros.variants(made, "span" if node.tag == "Value" else "div")

    def _bind(
        self, node: Node, choice: Choice, inside: str = PROSE, fields: Fields | None = None
    ) -> Component:
        with node.located():
            if node.tag not in (may := {inside} - {PROSE} or TAGS.keys() - PARTS):
                raise ValueError(f"unknown tag here; {suggest(node.tag, may)}")
            if name := node.attributes.get("data"):
                fields = self._queries.run(name, choice)
                if not any(field.values for field in fields.values()):
                    if message := node.attributes.get("emptyMessage"):
                        return Component(tag="Empty", message=message)
                    what = f"would be empty: {name!r} returns no row"
                    raise ValueError(f"{what}; correct the query, or give emptyMessage=")
            component = bind(node, fields or {})
            component.uid, component.query = next(self._ids), self._queries.known.get(name or "")
            if (holds := TAGS[node.tag][1]) == PROSE:
                component.body = self._prose(node, choice)
                return component
            for child in node.children:
                if isinstance(child, Node):
                    component.parts.append(self._bind(child, choice, holds, fields))
                elif child.strip():
                    raise ValueError(f"holds no text; take {child.strip()!r} out")
        return component
