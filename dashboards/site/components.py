"""What each tag takes and holds, and how its attributes become values."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from .formats import FORMATS
from .parse import Node, suggest
from .queries import Result

PROSE = "prose"
CHART = "data:query! title xAxisTitle yAxisTitle chartAreaHeight:int emptyMessage"
CHART += " x:column! xFmt:format"
XY = f"{CHART} y:column! yFmt:format yMin:float yMax:float yLog:flag series:column"
INTERVAL = f"{XY} low:column high:column"
# For each tag its attributes, as name:kind (text if none is given), with ! for those it needs;
# and what it holds: nothing, tags of its own, or prose (markdown and other components).
TAGS = {
    "Value": ("data:query! column:column! fmt:format", ""),
    "BigValue": ("data:query! value:column! title fmt:format", PROSE),
    "BarChart": (f"{INTERVAL} swapXY:flag", "ReferenceLine"),
    "LineChart": (INTERVAL, "ReferenceLine"),
    "AreaChart": (XY, "ReferenceLine"),
    "ScatterPlot": (f"{INTERVAL} tooltipTitle:column xLog:flag", "ReferenceLine"),
    "Histogram": (CHART, "ReferenceLine"),
    "Heatmap": (f"{CHART} y:column! value:column! valueFmt:format", ""),
    "ReferenceLine": ("data:query x:place y:place x2:place y2:place label", ""),
    "DataTable": ("data:query! title rows:int search:flag emptyMessage", "Column"),
    "Column": ("id:column! title fmt:format align:left|right contentType:text|bar|badge", ""),
    "Dropdown": ("name! title data:query value:column label:column", "DropdownOption"),
    "DropdownOption": ("value! valueLabel", ""),
    "Grid": ("cols:int", PROSE),
    "Tabs": ("", "Tab"),
    "Tab": ("label!", PROSE),
    "Details": ("title! open:flag", PROSE),
    "Alert": ("status:info|positive|warning|negative", PROSE),
}
# The columns that each attribute of a format is for.
FORMATTED = {"fmt": ("column", "id", "value"), "xFmt": ("x",), "yFmt": ("y", "low", "high")}
FORMATTED["valueFmt"] = ("value",)
TONES = {"low": "negative", "medium": "caution", "high": "positive"}
TONES |= {"fail": "negative", "warn": "caution", "pass": "positive"}


class Component(SimpleNamespace):
    """A tag with its attributes as values, and what is inside it; what is not given is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


def bind(node: Node, data: Result | None) -> Component:
    """Make a component of a tag; `data` is its query's result, or that of the tag around it.

    Raises:
        ValueError: an attribute is unknown or missing, or has a value that it cannot have.
    """
    takes = re.findall(r"(\w+):?([\w|]*)(!?)", TAGS[node.tag][0])
    kinds = {name: kind for name, kind, _ in takes}
    for name in node.attributes.keys() - kinds:
        raise ValueError(f"no attribute {name!r}; {suggest(name, kinds)}")
    for name, _, needed in takes:
        if needed and name not in node.attributes:
            raise ValueError(f"no {name}=; add it")
    c = Component(tag=node.tag, parts=[])
    vars(c).update({n: _value(kinds[n], text, data) for n, text in node.attributes.items()})
    for fmt, names in FORMATTED.items():
        for name in names if getattr(c, fmt) else ():
            if field := getattr(c, name):
                setattr(c, name, field.formatted(getattr(c, fmt)))
    if c.contentType == "bar" and c.id.kind != "number":
        raise ValueError(f"no bar for {c.id.name!r}, which holds {c.id.kind}")
    return c


def columns(data: Result) -> list[Component]:
    """Return a table's columns where it names none: all that its query has."""
    return [Component(id=field) for field in data.fields.values()]


def options(c: Component) -> list[tuple[Any, str]]:
    """Return the value and the text of each option of a Dropdown; the first is shown.

    Raises:
        ValueError: there is none.
    """
    found = [(part.value, part.valueLabel or part.value) for part in c.parts]
    if c.value:
        found += zip(c.value.values, (c.label or c.value).texts, strict=True)
    if not found:
        raise ValueError("no option; give data= and value=, or a DropdownOption")
    return found


def _value(kind: str, text: str, data: Result | None) -> Any:
    fields = data.fields if data else {}
    if kind == "query":
        return data
    if kind == "place":
        number = re.fullmatch(r"-?\d*\.?\d+", text)
        return fields[text].values[0] if text in fields else float(text) if number else text
    if kind == "column":
        if text not in fields:
            raise ValueError(f"no column {text!r}; {suggest(text, fields)}")
        return fields[text]
    if kind in ("int", "float"):
        return float(text) if kind == "float" else int(text)
    allowed = {"format": FORMATS, "flag": ("true", "false")}.get(kind, kind.split("|"))
    if kind and text not in allowed:
        raise ValueError(f"{text!r} is not possible; {suggest(text, allowed)}")
    return text == "true" if kind == "flag" else text
