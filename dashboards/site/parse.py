"""Parses a page into a tree of tags, conditions and markdown."""

import re
from pathlib import Path

from .conditions import parse_condition
from .errors import SiteError, located, suggest
from .tree import Branch, Child, If, Node, Page, Query

__all__ = ["Query", "parse_page", "parse_partial"]

FRONT = re.compile(
    r"---\ntitle: +(?P<title>\S.*)\n(?:description: +(?P<description>\S.*)\n)?"
    r"(?:group: +(?P<group>\S.*)\n)?(?:order: +(?P<order>\d+)\n)?---\n"
)
ATTRIBUTE = r"""(\w+)(?:=(?:"([^"]*)"|'([^']*)'|\{([^{}]*)\}|([^\s"'{}<>/]+)))?"""
TOKEN = re.compile(
    # a fenced block, or code in a line of prose
    r"^ *(?P<fence>```+|~~~+) *(?P<info>[^\n`]*)\n(?P<code>.*?)^ *(?P=fence) *$"
    r"|(?P<inline_code>(?P<tick>`+)(?:(?!\n\n)[^`])+(?P=tick))"
    r"|<!--.*?-->"
    # </Tag>, <Tag name=value> and <Tag/>
    r"|</(?P<closing>\w+)\s*>"
    rf"|<(?P<tag>[A-Za-z]\w*)(?P<attributes>(?:\s+{ATTRIBUTE})*)\s*(?P<void>/?)>"
    # {query.column} or {query.column:format}; {#if ...}, {:else}, {/if} and {@partial ...}
    r"|\{(?P<query>\w+)\.(?P<column>\w+)(?::(?P<format>\w+))?\}"
    r"|\{(?P<control>[#:/@][^{}\n]*)\}"
    r"|(?P<malformed>```[^\n]*|</?[A-Z]\w*|\{[#:/@][^{}\n]*)"
    r"|(?P<brace>\{[^{}\n]*\}?)",
    re.MULTILINE | re.DOTALL,
)
CONTROL = re.compile(r"(#if|:else\s+if|:else|/if|@partial)(?:\s+(\S.*?))?\s*")
CONTROLS = '{#if ...}, {:else if ...}, {:else}, {/if}, {@partial "name.md"}'


def parse_page(path: Path) -> Page:
    """Parse one page and the partials that it names.

    Raises:
        SiteError: front matter, a fence, a tag or a condition is malformed, unclosed or misplaced.
    """
    text = path.read_text(encoding="utf-8")
    head = FRONT.match(text)
    if not head:
        lines = "---, title: ..., description: ..., group: ..., order: 1, ---"
        raise SiteError(f"{path}:1", f"no front matter; begin with {lines}")
    about = (
        head["title"],
        head["description"] or "",
        head["group"] or "",
        int(head["order"] or 1000),
    )
    parser = _Parser(path, text)
    root = parser.parse(head.end())
    if not path.stem.startswith("["):
        return Page(path.stem, *about, root, parser.queries)
    page = Page(f"{path.parent.name}/{path.stem}", *about, root, parser.queries)
    row = f"select * from ${{{page.folder}}} where {page.parameter} = ${{params.{page.parameter}}}"
    page.queries["params"] = Query("params", row, path, 1)
    return page


def parse_partial(path: Path) -> Node:
    """Parse a file that pages insert.

    Raises:
        SiteError: a tag or a condition is malformed, unclosed or misplaced, or there is SQL.
    """
    parser = _Parser(path, path.read_text(encoding="utf-8").rstrip())
    root = parser.parse()
    for query in parser.queries.values():
        raise SiteError(query.place(), "a partial has no SQL; move the query to queries/")
    return root


class _Parser:
    """Reads one file; `opened` holds the tags and conditions that are not closed yet."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.queries: dict[str, Query] = {}
        self.root = Node("page", f"{path}:1", "the page")
        self.opened: list[Node | If] = [self.root]

    def parse(self, start: int = 0) -> Node:
        """Return the tree of the text from `start`."""
        for token in TOKEN.finditer(self.text, start):
            before, after = self._whole_line(token) if token["control"] else token.span()
            self.opened[-1].children.append(self.text[start:before])
            start = after
            place = f"{self.path}:{self._line(token)}"
            if token["malformed"]:
                raise SiteError(place, f"{token[0].strip()} is not closed; close it")
            if token["brace"]:
                what = f"{token[0]} is not a value; write {{query.column}}"
                raise SiteError(place, f"{what}, or put it between backticks")
            if token["fence"] and token["info"].split()[:1] == ["sql"]:
                self._query(token, place)
            elif token["fence"] or token["inline_code"]:
                self.opened[-1].children.append(token[0])
            elif token["closing"]:
                self._close(token, place)
            elif token["tag"]:
                self._open(token, place)
            elif token["query"]:
                names = ("query", "data"), ("column", "column"), ("format", "fmt")
                values = {name: token[group] for group, name in names if token[group]}
                self.opened[-1].children.append(Node("Value", place, token[0], values))
            elif token["control"]:
                self._control(token, place)
        if len(self.opened) > 1:
            last = self.opened[-1]
            end = "{/if}" if isinstance(last, If) else f"<{last.tag} .../>"
            raise SiteError(last.place, f"{last.written} is not closed; write {end}")
        self.root.children.append(self.text[start:])
        return self.root

    def _line(self, token: re.Match[str]) -> int:
        return self.text.count("\n", 0, token.start()) + 1

    def _whole_line(self, token: re.Match[str]) -> tuple[int, int]:
        """Return the span of a control tag: the whole line if nothing else is on it."""
        start = self.text.rfind("\n", 0, token.start()) + 1
        end = self.text.find("\n", token.end()) + 1 or len(self.text)
        is_alone = self.text[start:end].strip() == token[0]
        return (start, end) if is_alone and token[0][1] != "@" else token.span()

    def _query(self, token: re.Match[str], place: str) -> None:
        name = token["info"].removeprefix("sql").strip()
        if not name.isidentifier() or name in self.queries:
            raise SiteError(place, "an SQL block needs its own name; write ```sql a_name")
        self.queries[name] = Query(name, token["code"], self.path, self._line(token) + 1)

    def _open(self, token: re.Match[str], place: str) -> None:
        found = re.findall(ATTRIBUTE, token["attributes"])
        values = {name: "".join(value) or "true" for name, *value in found}
        node = Node(token["tag"], place, f"<{token['tag']}>", values)
        self.opened[-1].children.append(node)
        if not token["void"]:
            self.opened.append(node)

    def _close(self, token: re.Match[str], place: str) -> None:
        last = self.opened[-1]
        if not isinstance(last, Node) or token["closing"] != last.tag:
            raise self._misplaced(token, place)
        self.opened.pop()

    def _control(self, token: re.Match[str], place: str) -> None:
        found = CONTROL.fullmatch(token["control"])
        kind, rest = ("".join(found[1].split()), found[2] or "") if found else ("", "")
        if kind == "#if":
            opened = If([self._branch(token, place, rest)])
            self.opened[-1].children.append(opened)
            self.opened.append(opened)
        elif kind == ":elseif":
            self._open_if(token, place).branches.append(self._branch(token, place, rest))
        elif kind == ":else" and not rest:
            self._open_if(token, place).branches.append(Branch(place, token[0], None))
        elif kind == "/if" and not rest:
            self._open_if(token, place).has_own_line = self._whole_line(token) != token.span()
            self.opened.pop()
        elif kind == "@partial":
            self.opened[-1].children.extend(self._partial(rest, place))
        else:
            raise SiteError(place, f"unknown {token[0]}; known: {CONTROLS}")

    def _branch(self, token: re.Match[str], place: str, condition: str) -> Branch:
        with located(place, f"{token[0]}: "):
            return Branch(place, token[0], parse_condition(condition))

    def _open_if(self, token: re.Match[str], place: str) -> If:
        """Return the open {#if} that a tag belongs to."""
        last = self.opened[-1]
        if not isinstance(last, If):
            raise self._misplaced(token, place)
        if last.branches[-1].condition is None and token["control"].startswith(":"):
            raise SiteError(place, f"{token[0]} comes after {{:else}}; put {{:else}} last")
        return last

    def _misplaced(self, token: re.Match[str], place: str) -> SiteError:
        """Return the error of a tag that matches no open tag."""
        last = self.opened[-1]
        what = f"{token[0]} {'belongs to' if token['control'] else 'closes'} nothing"
        if last is self.root:
            return SiteError(place, f"{what}; no {'{#if}' if token['control'] else 'tag'} is open")
        where = f" of line {last.place.rpartition(':')[2]}" if isinstance(last, If) else ""
        return SiteError(place, f"{what}; {last.written}{where} is open")

    def _partial(self, name: str, place: str) -> list[Child]:
        """Return the content of a file in the folder partials/."""
        is_templated = self.path.stem.startswith("[")
        folder = self.path.parents[1 if is_templated else 0] / "partials"
        path = folder / name.strip("\"'")
        if self.path.parent.name == "partials":
            raise SiteError(place, "a partial cannot insert another; remove it")
        if not path.is_file():
            known = (each.name for each in folder.glob("*.md"))
            raise SiteError(place, f"no partial {path.name!r}; {suggest(path.name, known)}")
        return parse_partial(path).children
