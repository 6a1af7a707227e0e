"""What each tag takes and holds, and how its attributes become values."""

import re
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from .formats import Field, Fields
from .parse import Node, suggest

PROSE = "prose"
CHART = "data! title xAxisTitle yAxisTitle chartAreaHeight:int emptyMessage"
CHART += " x:column/xFmt! xFmt"
XY = f"{CHART} y:column/yFmt! yFmt yMin:float yMax:float yLog:flag series:column"
INTERVAL = f"{XY} low:column/yFmt high:column/yFmt"
# For each tag its attributes, as name:kind (text if none is given), with ! for those it needs, and
# for a column the attribute that gives its format; and what the tag holds: nothing, tags of its
# own, or prose (markdown and other components).
TAGS = {
    "Value": ("data! column:column/fmt! fmt", ""),
    "BigValue": ("data! value:column/fmt! title fmt", PROSE),
    "BarChart": (f"{INTERVAL} swapXY:flag", "ReferenceLine"),
    "LineChart": (INTERVAL, "ReferenceLine"),
    "AreaChart": (XY, "ReferenceLine"),
    "ScatterPlot": (f"{INTERVAL} tooltipTitle:column xLog:flag", "ReferenceLine"),
    "Histogram": (CHART, "ReferenceLine"),
    "Heatmap": (f"{CHART} y:column! value:column/valueFmt! valueFmt", ""),
    "ReferenceLine": ("data x:place y:place x2:place y2:place label", ""),
    "DataTable": ("data! title rows:int search:flag emptyMessage", "Column"),
    "Column": ("id:column/fmt! title fmt align:left|right contentType:text|bar|badge", ""),
    "Dropdown": ("name! title data! value:column! label:column", ""),
    "Grid": ("cols:int", PROSE),
    "Tabs": ("", "Tab"),
    "Tab": ("label!", PROSE),
    "Details": ("title! open:flag", PROSE),
    "Alert": ("status:info|positive|warning|negative", PROSE),
}
PARTS = {holds for _, holds in TAGS.values()}
TONES = {"low": "negative", "medium": "caution", "high": "positive"}
TONES |= {"fail": "negative", "warn": "caution", "pass": "positive"}


class Component(SimpleNamespace):
    """A tag with its attributes as values, and what is inside it; what is not given is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


def bind(node: Node, fields: Fields) -> Component:
    """Make a component of a tag; `fields` is what its query found, or that of the tag around it.

    Raises:
        ValueError: an attribute is unknown or missing, or has a value that it cannot have.
    """
    takes = re.findall(r"(\w+):?([\w|]*)/?(\w*)(!?)", TAGS[node.tag][0])
    for name in node.attributes.keys() - (known := [take[0] for take in takes]):
        raise ValueError(f"no attribute {name!r}; {suggest(name, known)}")
    c = Component(tag=node.tag, fields=fields, parts=[])
    for name, kind, fmt, needed in takes:
        if name in node.attributes:
            value = _value(kind, node.attributes[name], fields)
            asked = node.attributes.get(fmt)
            setattr(c, name, value.formatted(asked) if asked else value)
        elif needed:
            raise ValueError(f"no {name}=; add it")
    if c.contentType == "bar" and c.id.kind != "number":
        raise ValueError(f"no bar for {c.id.name!r}, which holds {c.id.kind}")
    return c


def columns(fields: Iterable[Field]) -> list[Component]:
    """Return a table's columns where it names none."""
    return [Component(id=field) for field in fields]


def _value(kind: str, text: str, fields: Fields) -> Any:
    if kind == "column":
        if text not in fields:
            raise ValueError(f"no column {text!r}; {suggest(text, fields)}")
        return fields[text]
    if kind == "place" and text in fields:
        return fields[text].values[0]
    if kind in ("int", "float", "place"):
        return int(text) if kind == "int" else float(text)
    allowed = ("true", "false") if kind == "flag" else kind.split("|")
    if kind and text not in allowed:
        raise ValueError(f"{text!r} is not possible; {suggest(text, allowed)}")
    return text == "true" if kind == "flag" else text
