"""Draws the charts as Plotly figures. Their look is in assets/charts.json, a Plotly template."""

import html
import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from .bind import Component, columns
from .formats import TONES, Field

Json = dict[str, Any]
MAX_SERIES = 6  # as many as there are shapes, for readers who cannot tell the colours apart
MAX_MARKERS = 40  # a longer line has none
MAX_BARS = 50  # horizontal, one below the other
_escape = partial(html.escape, quote=False)  # Plotly reads <, > and & as markup
TRACES: dict[str, Json] = {
    "AreaChart": {"type": "scatter", "stackgroup": "all"},
    "BarChart": {"type": "bar"},
    "Heatmap": {"type": "heatmap"},
    "Histogram": {"type": "histogram"},
    "LineChart": {"type": "scatter", "mode": "lines+markers"},
    "ScatterPlot": {"type": "scatter", "mode": "markers"},
}


def drawn(c: Component) -> Component:
    """Add to a chart its figure, its description in words, and the columns of its data table.

    Raises:
        ValueError: a column does not suit the chart.
    """
    measure = measured(c)
    for field in filter(None, (measure, c.low, c.high)):
        if field.kind != "number" and (field is measure or field.kind != "nothing"):
            raise ValueError(f"{field.name!r} holds no numbers; the chart would be empty")
    if c.value and len({*zip(c.x.texts, c.y.texts, strict=True)}) < len(c.x.texts):
        c.notes.append(f"Of several rows for one {c.x.title} and {c.y.title}, the last is drawn.")
    across, up = ("y", "x") if c.swapXY else ("x", "y")
    layout: Json = {
        f"{across}axis": _axis(c.x, c.xLog),
        f"{up}axis": _axis(c.y, c.yLog) if c.y else {},
        "shapes": [_line(part) for part in c.parts if part.is_placed],
        "showlegend": c.series is not None,
    }
    if not c.value:
        limits = [math.log10(end) if c.yLog and end else end for end in (c.yMin, c.yMax)]
        layout[f"{up}axis"] |= {"range": limits, "showgrid": True}
    if c.swapXY or c.value:  # the first row at the top
        layout["yaxis"]["autorange"] = "reversed"
    if c.swapXY:  # the browser cuts names to fit, and escapes them
        layout["yaxis"] |= {"tickvals": _marks(c.x), "ticktext": c.x.texts}
        if not c.series and not c.yLog:
            layout |= _labelled(c)
    named = [part for part in c.parts if part.is_placed and part.label and part.y is None]
    if tops := [_top_label(part) for part in named]:
        layout["annotations"] = layout.get("annotations", []) + tops
        layout["margin"] = layout.get("margin", {}) | {"t": 22}
    layout["height"] = c.chartAreaHeight or (28 * len(c.x.values) + 40 if c.swapXY else 280)
    shown = {"text": c.tooltipTitle, across: c.x, up: c.y, "z": c.value}
    shown = {key: field for key, field in shown.items() if field}
    c.figure = {"data": _traces(c, shown, f"error_{up}"), "layout": layout}
    others = [field for field in (*shown.values(), c.series) if field and field is not measure]
    c.words = _ends(measure, others)
    c.columns = columns(filter(None, (*others, measure, c.low, c.high)))
    return c


def measured(c: Component) -> Field:
    """Return the column that a chart draws."""
    return c.value or c.y or c.x


def _traces(c: Component, shown: dict[str, Field], error: str) -> list[Json]:
    kinds = c.series.texts if c.series else [""] * len(c.x.values)
    names = list(dict.fromkeys(kinds))
    if is_toned := TONES.keys() >= set(names):
        names.sort(key=list(TONES).index)
    if len(names) > MAX_SERIES:
        largest = [name for name, _ in Counter(kinds).most_common(MAX_SERIES)]
        c.notes.append(f"The {MAX_SERIES} largest of {len(names):,} series.")
        names = [name for name in names if name in largest]
    traces: list[Json] = []
    bands: list[Json] = []
    for name in names:
        rows = [n for n, kind in enumerate(kinds) if kind == name]
        trace = TRACES[c.tag] | {"name": _escape(name)}
        trace |= {key: _marks(field, rows) for key, field in shown.items()}
        if c.y:  # a histogram's own hover text shows counts
            lines = [f"<b>{_escape(name)}</b>"] * bool(name)
            lines += [f"{each.title} %{{{key}{_d3(each)}}}" for key, each in shown.items()]
            trace["hovertemplate"] = "<br>".join(lines) + "<extra></extra>"
        if c.swapXY:
            trace["orientation"] = "h"
        if is_toned:
            trace["marker"] = {"color": f"var(--{TONES[name]})"}
        if c.highlight:
            ours = c.highlight.values
            colours = ["var(--accent)" if ours[row] else "var(--quiet)" for row in rows]
            trace["marker"] = {"color": colours}
            if c.tag == "LineChart":
                trace["line"] = {"color": colours[0]}
        if c.tag == "LineChart" and len(rows) > MAX_MARKERS:
            trace["mode"] = "lines"
        if c.value:
            trace["colorbar"] = {"tickformat": _axis(c.value)["tickformat"]}
        if c.low and c.high and any(c.low.values[row] is not None for row in rows):
            ends = _marks(c.low, rows), _marks(c.high, rows)
            if c.tag == "LineChart":
                bands += _band(trace, *ends)
            else:
                trace[error] = _whiskers(_marks(c.y, rows), *ends)
        traces.append(trace)
    return traces + bands


def _band(line: Json, low: list[Any], high: list[Any]) -> list[Json]:
    edge = {"type": "scatter", "x": line["x"], "mode": "lines", "line": {"width": 0}}
    edge |= {"showlegend": False, "hoverinfo": "skip", "zorder": -1}
    return [edge | {"y": low}, edge | {"y": high, "fill": "tonexty", "fillcolor": "var(--band)"}]


def _whiskers(middle: list[Any], low: list[Any], high: list[Any]) -> Json:
    spans = zip(low, middle, high, strict=True)
    known = [span if None not in span else (0, 0, 0) for span in spans]
    ends = {"array": [b - m for _, m, b in known], "arrayminus": [m - a for a, m, _ in known]}
    return ends | {"color": "var(--muted)", "thickness": 1, "width": 3}


def _labelled(c: Component) -> Json:
    """Return the layout of horizontal bars with each value at the end of its bar or whisker."""
    ends = zip(c.y.values, (c.high or c.y).values, _marks(c.x), c.y.texts, strict=True)
    labels = [
        {"x": max(value, end or value, 0), "y": mark, "text": text}
        for value, end, mark, text in ends
        if value is not None
    ]
    room = 7 * max((len(label["text"]) for label in labels), default=0)
    return {"annotations": labels, "margin": {"r": 16 + room}, "bargap": 0.4}


def sparkline(c: Component) -> list[tuple[float, float]]:
    """Return the points of a value over time in a box of 100 by 24, or none for a single value."""
    rows = zip(c.sparkline.values, c.value.values, strict=True)
    known = [value for _, value in sorted(row for row in rows if None not in row)]
    if len(known) < 2:
        return []
    low, span = min(known), max(known) - min(known) or 1
    step = 96 / (len(known) - 1)
    return [(2 + n * step, 22 - 20 * (value - low) / span) for n, value in enumerate(known)]


def _line(c: Component) -> Json:
    """Return a reference line: at a y, at an x, or from (x, y) to (x2, y2)."""
    if c.x is None and c.y is None:
        raise ValueError("a ReferenceLine needs a position; add x= or y=")
    line: Json = {"type": "line"}
    if c.y is not None:
        line["label"] = {"text": _escape(c.label or "")}
    for axis, start, end in (("x", c.x, c.x2), ("y", c.y, c.y2)):
        if start is None:
            line |= {f"{axis}0": 0, f"{axis}1": 1, f"{axis}ref": "paper"}
        else:
            line |= {f"{axis}0": start, f"{axis}1": start if end is None else end}
    return line


def _top_label(c: Component) -> Json:
    """Return the label of a line at an x; inside the plot it would be cut off at the edge."""
    place = {"x": c.x, "y": 1, "yref": "paper", "xanchor": "center", "yanchor": "bottom"}
    return place | {"xshift": 0, "text": _escape(c.label)}


def _axis(field: Field, log: bool | None = None) -> Json:
    kind = {"number": "linear", "time": "date"}.get(field.kind, "category")
    axis: Json = {"type": "log" if log else kind, "hoverformat": field.spec}
    if field.kind == "number":  # ticks drop trailing zeros: .1% becomes ~%
        axis |= {"tickformat": re.sub(r"\.\d", "~", field.spec), "nticks": 6}
    if log:  # powers of ten, and 2 and 5 times these if the range is small
        least = min((value for value in field.present if value > 0), default=1)
        axis["dtick"] = 1 if max(field.present) > 100 * least else "D2"
    return axis


def _d3(field: Field) -> str:
    return {"number": ":", "time": "|"}.get(field.kind, "") + field.spec


def _marks(field: Field, rows: Sequence[int] | None = None) -> list[Any]:
    """Return the values of a column for Plotly, or those of some rows."""
    marks = [_escape(text) for text in field.texts] if field.kind == "text" else field.values
    return [marks[row] for row in (range(len(marks)) if rows is None else rows)]


def _ends(field: Field, places: Sequence[Field]) -> str:
    """Describe where a column is lowest and where it is highest."""
    known = [(value, n) for n, value in enumerate(field.values) if value is not None]
    low, high = (
        " at ".join(filter(None, (field.texts[n], ", ".join(each.texts[n] for each in places))))
        for _, n in (min(known), max(known))
    )
    return f"{field.title}: lowest {low}, highest {high}."
