"""The charts, as Plotly figures. How they look is in assets/charts.json, a Plotly template."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from .components import TONES, Component, columns
from .formats import Field

Json = dict[str, Any]
MAX_SERIES = 6  # that can be told apart by shape as well as by colour
MAX_NAME = 24
_escape = partial(html.escape, quote=False)  # Plotly reads <, > and & as markup
TRACES: dict[str, Json] = {
    "AreaChart": {"type": "scatter", "stackgroup": "all"},
    "BarChart": {"type": "bar"},
    "Heatmap": {"type": "heatmap"},
    "Histogram": {"type": "histogram"},
    "LineChart": {"type": "scatter"},
    "ScatterPlot": {"type": "scatter", "mode": "markers"},
}


def drawn(c: Component) -> Component:
    """Return a chart with its figure, what it shows in words, and the columns of its table.

    Raises:
        ValueError: there is nothing to draw, or more than can be told apart.
    """
    measure = c.value or c.y or c.x
    for field in filter(None, (measure, c.low, c.high)):
        if field.kind != "number":
            raise ValueError(f"{field.name!r} holds no number; the chart would be empty")
    traces, layout = _heatmap(c) if c.value else _traces(c)
    layout["shapes"] = [_line(part) for part in c.parts]
    layout["height"] = c.chartAreaHeight or layout.get("height", 280)
    c.figure = {"data": traces, "layout": layout}
    places = (c.tooltipTitle or c.x, c.series, c.value and c.y)
    c.words = _ends(measure, [place for place in places if place and place is not measure])
    used = (c.tooltipTitle, c.x, c.series, c.y, c.value, c.low, c.high)
    c.columns = columns(field for field in used if field)
    return c


def _traces(c: Component) -> tuple[list[Json], Json]:
    across, up = ("y", "x") if c.swapXY else ("x", "y")
    kinds = c.series.texts if c.series else [(c.y or c.x).title] * len(c.x.values)
    names = list(dict.fromkeys(kinds))
    if is_toned := TONES.keys() >= set(names):
        names.sort(key=list(TONES).index)
    if len(names) > MAX_SERIES:
        raise ValueError(f"{len(names)} series look alike; keep {MAX_SERIES} and group the rest")
    traces: list[Json] = []
    bands: list[Json] = []
    for name in names:
        rows = [n for n, kind in enumerate(kinds) if kind == name]
        trace = TRACES[c.tag] | {"name": _escape(name), "orientation": "h" if c.swapXY else "v"}
        trace[across] = _marks(c.x, rows)
        if c.y:
            trace[up] = _marks(c.y, rows)
        if is_toned:
            trace["marker"] = {"color": f"var(--{TONES[name]})"}
        if c.tag == "ScatterPlot":
            trace["text"] = _marks(c.tooltipTitle or c.x, rows)
            point = f"{c.x.title} %{{x}}<br>{c.y.title} %{{y}}"
            trace["hovertemplate"] = f"<b>%{{text}}</b><br>{point}<extra></extra>"
        if c.low and c.high:
            ends = _marks(c.low, rows), _marks(c.high, rows)
            if c.tag == "LineChart":
                bands += _band(trace, *ends)
            else:
                trace[f"error_{up}"] = _whiskers(trace[up], *ends)
        traces.append(trace)
    limits = [math.log10(end) if c.yLog and end else end for end in (c.yMin, c.yMax)]
    layout: Json = {
        f"{across}axis": _axis(c.x, c.xLog),
        f"{up}axis": {**(_axis(c.y, c.yLog) if c.y else {}), "range": limits},
        "hovermode": "closest" if c.tag == "ScatterPlot" else f"{across} unified",
        "showlegend": len(names) > 1,
    }
    if c.swapXY:  # the first on top; a long name is whole on hover
        short = [t if len(t) <= MAX_NAME else f"{t[: MAX_NAME - 1].strip()}…" for t in c.x.texts]
        layout["height"] = 28 * len(short) + 50
        layout["xaxis"]["showgrid"] = True
        layout["yaxis"] |= {"autorange": "reversed", "showgrid": False}
        layout["yaxis"] |= {"tickvals": _marks(c.x), "ticktext": [_escape(text) for text in short]}
    return traces + bands, layout


def _band(line: Json, low: list[Any], high: list[Any]) -> list[Json]:
    edge = {"type": "scatter", "x": line["x"], "mode": "lines", "line": {"width": 0}}
    edge |= {"showlegend": False, "hoverinfo": "skip", "zorder": -1}
    return [edge | {"y": low}, edge | {"y": high, "fill": "tonexty", "fillcolor": "var(--band)"}]


def _whiskers(middle: list[Any], low: list[Any], high: list[Any]) -> Json:
    spans = zip(low, middle, high, strict=True)
    known = [span if None not in span else (0, 0, 0) for span in spans]
    ends = {"array": [b - m for _, m, b in known], "arrayminus": [m - a for a, m, _ in known]}
    return ends | {"color": "var(--text)", "thickness": 1.5}


def _heatmap(c: Component) -> tuple[list[Json], Json]:
    x, y = ([_escape(text) for text in field.texts] for field in (c.x, c.y))
    if len(set(zip(x, y, strict=True))) < len(x):
        raise ValueError(f"several rows for one {c.x.name} and {c.y.name}; aggregate them")
    trace = TRACES[c.tag] | {"x": x, "y": y, "z": c.value.values}
    trace["colorbar"] = {"tickformat": _axis(c.value)["tickformat"]}
    point = f"{c.x.title} %{{x}}, {c.y.title} %{{y}}<br>{c.value.title} %{{z:{c.value.spec}}}"
    trace["hovertemplate"] = f"{point}<extra></extra>"
    names = {"type": "category", "showgrid": False}
    return [trace], {"xaxis": names, "yaxis": names | {"autorange": "reversed"}}


def _line(c: Component) -> Json:
    """Return a reference line: across at a y, up at an x, or from (x, y) to (x2, y2)."""
    if c.x is None and c.y is None:
        raise ValueError("a ReferenceLine has no place; give x= or y=")
    line: Json = {"type": "line", "label": {"text": _escape(c.label or "")}}
    for axis, start, end in (("x", c.x, c.x2), ("y", c.y, c.y2)):
        if start is None:
            line |= {f"{axis}0": 0, f"{axis}1": 1, f"{axis}ref": "paper"}
        else:
            line |= {f"{axis}0": start, f"{axis}1": start if end is None else end}
    return line


def _axis(field: Field, log: bool | None = None) -> Json:
    kind = {"number": "linear", "time": "date", "text": "category"}[field.kind]
    axis: Json = {"type": "log" if log else kind, "hoverformat": field.spec}
    if field.kind == "number":  # ticks drop the decimals that they do not need: .1% becomes ~%
        axis |= {"tickformat": re.sub(r"\.\d", "~", field.spec), "nticks": 4 if log else 6}
    return axis


def _marks(field: Field, rows: Sequence[int] | None = None) -> list[Any]:
    """Return a column as Plotly takes it, or some rows of it."""
    marks = [_escape(text) for text in field.texts] if field.kind == "text" else field.values
    return [marks[row] for row in (range(len(marks)) if rows is None else rows)]


def _ends(field: Field, places: Sequence[Field]) -> str:
    """Say where a column is lowest and where it is highest."""
    known = [(value, n) for n, value in enumerate(field.values) if value is not None]
    low, high = (
        " at ".join(filter(None, (field.texts[n], ", ".join(each.texts[n] for each in places))))
        for _, n in (min(known), max(known))
    )
    return f"{field.title}: lowest {low}, highest {high}."
