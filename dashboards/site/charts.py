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
from .queries import Result

Json = dict[str, Any]
MAX_SERIES = 6  # that can be told apart by shape as well as by colour
MAX_NAME = 24
_escape = partial(html.escape, quote=False)  # Plotly reads <, > and & as markup
# Of each chart of x and y: what is in its traces and in its layout.
KINDS: dict[str, tuple[Json, Json]] = {
    "AreaChart": ({"type": "scatter", "mode": "lines", "stackgroup": "all"}, {}),
    "BarChart": ({"type": "bar"}, {}),
    "Histogram": ({"type": "bar"}, {"bargap": 0.02}),
    "LineChart": ({"type": "scatter", "mode": "lines"}, {}),
    "ScatterPlot": ({"type": "scatter", "mode": "markers"}, {"hovermode": "closest"}),
}


def drawn(c: Component) -> Component:
    """Return a chart with its figure, what it shows in words, and as columns of a table.

    Raises:
        ValueError: there is nothing to draw, or more than can be told apart.
    """
    c = _binned(c) if c.tag == "Histogram" else c
    shown = [c.value] if c.value else c.y
    _need_numbers(*shown, *(c.interval or ()))
    c.figure = _heatmap(c) if c.value else _xy(c)
    layout = c.figure["layout"]
    layout["height"] = c.chartAreaHeight or layout.get("height", 280)
    layout["shapes"] = [_line(part) for part in c.parts]
    places = [c.x, c.y] if c.value else [c.x, c.series] if c.series else [c.x]
    c.words = " ".join(_ends(field, places) for field in shown)
    used = {field.name: field for field in (c.x, *shown, *(c.interval or ()))}
    c.columns = columns(c.data._replace(fields=c.data.fields | used))
    return c


def _xy(c: Component) -> Json:
    x, y, rows = c.x, c.y[0], range(len(c.x.values))
    if len(c.interval or "12") != 2 or (len(c.y) > 1 and (c.interval or c.series)):
        raise ValueError("a series=, or an interval= of two columns, goes with a single y")
    series: list[tuple[str, Field, Sequence[int]]] = [(each.title, each, rows) for each in c.y]
    tones: dict[str, str] = {}
    if c.series:
        names = list(dict.fromkeys(c.series.texts))
        tones = TONES if TONES.keys() >= set(names) else {}
        names = [name for name in tones if name in names] or names
        series = [(name, y, [n for n in rows if c.series.texts[n] == name]) for name in names]
    if len(series) > MAX_SERIES:
        raise ValueError(f"{len(series)} series look alike; keep {MAX_SERIES} and group the rest")
    across, up = ("y", "x") if c.swapXY else ("x", "y")
    traces: list[Json] = []
    bands: list[Json] = []
    for name, each, some in series:
        trace = KINDS[c.tag][0] | {"name": _escape(name), "orientation": "h" if c.swapXY else "v"}
        trace |= {across: _marks(x, some), up: _marks(each, some)}
        if name in tones:
            trace["marker"] = {"color": f"var(--{tones[name]})"}
        if c.markers:
            trace["mode"] = "lines+markers"
        if c.tag == "ScatterPlot":
            trace["text"] = _marks(c.tooltipTitle or x, some)
            point = f"{x.title} %{{x}}<br>{each.title} %{{y}}"
            trace["hovertemplate"] = f"<b>%{{text}}</b><br>{point}<extra></extra>"
        ends = [_marks(end, some) for end in c.interval or ()]
        if not any(end is not None for some_ends in ends for end in some_ends):
            pass  # this series has no interval
        elif c.tag == "LineChart":
            bands += _band(trace, *ends)
        else:
            trace[f"error_{up}"] = _whiskers(trace[up], *ends)
        traces.append(trace)
    ranges = [math.log10(end) if c.yLog and end else end for end in (c.yMin, c.yMax)]
    names_axis, values_axis = _axis(x, c.xLog), _axis(y, c.yLog) | {"range": ranges}
    layout: Json = {
        "barmode": (c.type or "group").removesuffix("ed"),
        "showlegend": len(series) > 1,
    }
    if c.swapXY:  # the first on top; a long name is whole on hover
        short = [t if len(t) <= MAX_NAME else f"{t[: MAX_NAME - 1].strip()}…" for t in x.texts]
        names_axis |= {"autorange": "reversed", "showgrid": False}
        names_axis |= {"tickvals": _marks(x, rows), "ticktext": [_escape(text) for text in short]}
        values_axis["showgrid"] = True
        layout |= {"hovermode": "y unified", "height": 28 * len(rows) + 50}
    layout |= {f"{across}axis": names_axis, f"{up}axis": values_axis} | KINDS[c.tag][1]
    return {"data": traces + bands, "layout": layout}


def _band(line: Json, low: list[Any], high: list[Any]) -> list[Json]:
    edge = {"type": "scatter", "x": line["x"], "mode": "lines", "line": {"width": 0}}
    edge |= {"showlegend": False, "hoverinfo": "skip", "zorder": -1}
    fill = {"fill": "tonexty", "fillcolor": "var(--band)"}
    return [edge | {"y": low}, edge | {"y": high} | fill]


def _whiskers(middle: list[Any], low: list[Any], high: list[Any]) -> Json:
    spans = zip(low, middle, high, strict=True)
    known = [span if None not in span else (0, 0, 0) for span in spans]
    ends = {"array": [b - m for _, m, b in known], "arrayminus": [m - a for a, m, _ in known]}
    return ends | {"type": "data", "symmetric": False, "color": "var(--text)", "thickness": 1.5}


def _binned(c: Component) -> Component:
    """Return a histogram as counts of its column in bins of one width."""
    _need_numbers(c.x)
    low, high, bins = min(c.x.present), max(c.x.present), c.bins or 20
    width, counts = (high - low) / bins or 1, [0] * bins
    for value in c.x.present:
        counts[min(int((value - low) / width), bins - 1)] += 1
    x = Field(c.x.name, [low + width * (n + 0.5) for n in range(bins)], c.x.spec)
    y = Field("rows", counts)
    data = Result(c.data.query, {x.name: x, y.name: y})
    return Component(**vars(c) | {"data": data, "x": x, "y": [y]})


def _heatmap(c: Component) -> Json:
    places = list(zip(*([_escape(text) for text in f.texts] for f in (c.x, c.y)), strict=True))
    cells = dict(zip(places, c.value.values, strict=True))
    if len(cells) < len(places):
        raise ValueError(f"several rows for one {c.x.name} and {c.y.name}; aggregate them")
    xs, ys = (list(dict.fromkeys(ends)) for ends in zip(*cells, strict=True))
    trace: Json = {"type": "heatmap", "x": xs, "y": ys}
    trace["z"] = [[cells.get((x, y)) for x in xs] for y in ys]
    trace["colorbar"] = {"tickformat": _axis(c.value)["tickformat"]}
    point = f"{c.x.title} %{{x}}, {c.y.title} %{{y}}<br>{c.value.title} %{{z:{c.value.spec}}}"
    trace["hovertemplate"] = f"{point}<extra></extra>"
    names = {"type": "category", "showgrid": False}
    layout = {"xaxis": names, "yaxis": names | {"autorange": "reversed"}}
    return {"data": [trace], "layout": layout}


def _line(c: Component) -> Json:
    """Return a reference line: across at a y, up at an x, or from (x, y) to (x2, y2)."""
    if c.x is None and c.y is None:
        raise ValueError("a ReferenceLine has no place; give x= or y=")
    line: Json = {"type": "line", "label": {"text": _escape(c.label or "")}}
    for axis, start, end in (("x", c.x, c.x2), ("y", c.y, c.y2)):
        line |= {f"{axis}0": start, f"{axis}1": start if end is None else end}
        if start is None:
            line |= {f"{axis}0": 0, f"{axis}1": 1, f"{axis}ref": "paper"}
    return line


def _axis(field: Field, log: bool | None = None) -> Json:
    kind = {"number": "linear", "time": "date", "text": "category"}[field.kind]
    axis: Json = {"type": "log" if log else kind, "hoverformat": field.spec}
    if field.kind == "number":  # ticks drop the decimals that they do not need: .1% becomes ~%
        axis |= {"tickformat": re.sub(r"\.\d", "~", field.spec), "nticks": 6}
    if log and max(field.present) > 100 * min((v for v in field.present if v > 0), default=1):
        axis["dtick"] = 1  # powers of ten
    return axis


def _marks(field: Field, rows: Sequence[int]) -> list[Any]:
    """Return some rows of a column as Plotly takes them."""
    marks = field.values
    if field.kind == "text":
        marks = [_escape(text) for text in field.texts]
    elif field.kind == "time":
        marks = [value and value.isoformat() for value in field.values]
    return [marks[row] for row in rows]


def _ends(field: Field, places: Sequence[Field]) -> str:
    """Say where a column is lowest and where it is highest."""
    known = [n for n, value in enumerate(field.values) if value is not None]
    ends = [pick(known, key=field.values.__getitem__) for pick in (min, max)]
    low, high = (
        f"{field.texts[n]} at {' and '.join(place.texts[n] for place in places)}" for n in ends
    )
    return f"{field.title}: lowest {low}, highest {high}."


def _need_numbers(*fields: Field) -> None:
    for field in fields:
        if field.kind != "number":
            raise ValueError(f"{field.name!r} holds no number; the chart would be empty")
