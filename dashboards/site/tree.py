"""The parts of a page: queries, and a tree of tags, conditions and markdown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .conditions import Condition
from .errors import located


class Query(NamedTuple):
    """A SELECT with a name, and the line of the file that it starts on."""

    name: str
    sql: str
    path: Path
    line: int

    def place(self, offset: int = 0) -> str:
        """Return the file and line of the character at `offset` of the SQL."""
        line = self.line + self.sql.count("\n", 0, offset)
        return f"{self.path}:{line}"


@dataclass
class Node:
    """A tag with the markdown, tags and conditions inside it."""

    tag: str
    place: str
    written: str  # its name in error messages
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Child] = field(default_factory=list)

    @property
    def query(self) -> str | None:
        """The query that the tag itself reads."""
        return self.attributes.get("data")

    def walk(self) -> Iterator[Node | Branch]:
        """Yield this tag and every tag and branch inside it, in the order of the page."""
        yield self
        yield from _walk(self.children)

    def located(self) -> AbstractContextManager[None]:
        """Add this tag and its place to a ValueError."""
        return located(self.place, f"{self.written}: ")


@dataclass
class Branch:
    """The content of an {#if} for one condition; {:else} has no condition."""

    place: str
    written: str
    condition: Condition | None
    children: list[Child] = field(default_factory=list)

    @property
    def query(self) -> str | None:
        """The query that the condition reads."""
        return self.condition.query if self.condition else None

    def located(self) -> AbstractContextManager[None]:
        """Add this branch and its place to a ValueError."""
        return located(self.place, f"{self.written}: ")


@dataclass
class If:
    """An {#if} with its branches; the page shows the first whose condition holds."""

    branches: list[Branch]
    has_own_line: bool = False  # nothing else is on the line of its {/if}

    @property
    def children(self) -> list[Child]:
        """The content of the last branch."""
        return self.branches[-1].children

    @property
    def place(self) -> str:
        """The file and line of its first tag."""
        return self.branches[0].place

    @property
    def written(self) -> str:
        """Its name in error messages."""
        return self.branches[0].written

    def walk(self) -> Iterator[Node | Branch]:
        """Yield every branch with the tags and branches inside it."""
        for branch in self.branches:
            yield branch
            yield from _walk(branch.children)


Child = Node | If | str


def _walk(children: list[Child]) -> Iterator[Node | Branch]:
    for child in children:
        if not isinstance(child, str):
            yield from child.walk()


class Page(NamedTuple):
    """A page: its front matter, its content and its queries."""

    name: str
    title: str
    description: str
    group: str
    order: int
    root: Node
    queries: dict[str, Query]

    @property
    def folder(self) -> str:
        """The folder of a templated page, which names the query with a row for each page."""
        return self.name.rpartition("/")[0]

    @property
    def parameter(self) -> str:
        """The column of that query whose values tell the pages apart."""
        return self.name.rpartition("/")[2].strip("[]") if self.folder else ""
