"""Reads a page: front matter, SQL blocks and a tree of tags, each with the line it is on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class SiteError(Exception):
    """Why the site cannot be built; as text ``file:line: what is wrong; what to do``."""

    def __init__(self, place: str | Path, what: str) -> None:
        super().__init__(f"{place}: {what}")


@contextmanager
def located(place: str, about: str = "") -> Iterator[None]:
    """Add a place to a ValueError, which says ``what is wrong; what to do``."""
    try:
        yield
    except ValueError as error:
        raise SiteError(place, f"{about}{error}") from error


def suggest(name: str, known: Iterable[str]) -> str:
    """Return advice for a name that is not known: the nearest one that is, or all of them."""
    near = difflib.get_close_matches(name, names := sorted(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"


class Query(NamedTuple):
    """A SELECT with a name, and the line of the file that it starts on."""

    name: str
    sql: str
    path: Path
    line: int

    def place(self, offset: int = 0) -> str:
        """Say where the character at `offset` of the SQL is."""
        line = self.line + self.sql.count("\n", 0, offset)
        return f"{self.path}:{line}"


@dataclass
class Node:
    """A tag as written, with the tags and the markdown inside it."""

    tag: str
    place: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """Yield this tag and all inside it, in the order of the page."""
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def located(self) -> AbstractContextManager[None]:
        """Add this tag and its place to a ValueError."""
        return located(self.place, f"<{self.tag}>: ")


class Page(NamedTuple):
    """A page as written: its front matter, its body and its queries."""

    name: str
    title: str
    description: str
    order: int
    root: Node
    queries: dict[str, Query]


FRONT = re.compile(
    r"---\ntitle: +(?P<title>\S.*)\n(?:description: +(?P<description>\S.*)\n)?"
    r"(?:order: +(?P<order>\d+)\n)?---\n"
)
ATTRIBUTE = r"""(\w+)(?:=(?:"([^"]*)"|'([^']*)'|\{([^{}]*)\}|([^\s"'{}<>/]+)))?"""
TOKEN = re.compile(
    r"^ *(?P<fence>```+|~~~+) *(?P<info>[^\n`]*)\n(?P<code>.*?)^ *(?P=fence) *$"
    r"|(?P<prose>(?P<tick>`+)(?:(?!\n\n)[^`])+(?P=tick))"
    r"|<!--.*?-->"
    r"|</(?P<closing>\w+)\s*>"
    rf"|<(?P<tag>[A-Za-z]\w*)(?P<attributes>(?:\s+{ATTRIBUTE})*)\s*(?P<void>/?)>"
    r"|(?P<malformed>```[^\n]*|</?[A-Z]\w*)",
    re.MULTILINE | re.DOTALL,
)


def parse_page(path: Path) -> Page:
    """Parse one page.

    Raises:
        SiteError: front matter, a fence or a tag is malformed, unclosed or closed out of order.
    """
    text = path.read_text(encoding="utf-8")
    head = FRONT.match(text)
    if not head:
        what = "no front matter; begin with ---, title: ..., description: ..., order: 1, ---"
        raise SiteError(f"{path}:1", what)
    about = head["title"], head["description"] or "", int(head["order"] or 1000)
    page = Page(path.stem, *about, Node("page", f"{path}:1"), {})
    opened, end = [page.root], head.end()
    for token in TOKEN.finditer(text, end):
        inside, line = opened[-1], text.count("\n", 0, token.start()) + 1
        place = f"{path}:{line}"
        inside.children.append(text[end : token.start()])
        end = token.end()
        if token["malformed"]:
            raise SiteError(place, f"{token[0].strip()} has no end; close it")
        if token["fence"] and token["info"].split()[:1] == ["sql"]:
            name = token["info"].removeprefix("sql").strip()
            if not name.isidentifier() or name in page.queries:
                raise SiteError(place, "an SQL block needs its own name; write ```sql a_name")
            page.queries[name] = Query(name, token["code"], path, line + 1)
        elif token["closing"]:
            if token["closing"] != inside.tag:
                raise SiteError(place, f"{token[0]} closes nothing; <{inside.tag}> is open")
            opened.pop()
        elif token["tag"]:
            found = re.findall(ATTRIBUTE, token["attributes"])
            values = {name: "".join(value) or "true" for name, *value in found}
            inside.children.append(node := Node(token["tag"], place, values))
            opened += [] if token["void"] else [node]
        elif token["fence"] or token["prose"]:
            inside.children.append(token[0])
    if len(opened) > 1:
        last = opened[-1]
        raise SiteError(last.place, f"<{last.tag}> has no end; write <{last.tag} .../>")
    page.root.children.append(text[end:])
    return page
