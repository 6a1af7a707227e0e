"""The charts, as Plotly figures. How they look is in assets/charts.json, a Plotly template."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from .components import TONES, Component, columns
from .formats import Field

Json = dict[str, Any]
MAX_SERIES = 6  # that can be told apart by shape as well as by colour
MAX_NAME = 24
_escape = partial(html.escape, quote=False)  # Plotly reads <, > and & as markup
KINDS: dict[str, Json] = {
    "BarChart": {"type": "bar"},
    "LineChart": {"type": "scatter", "mode": "lines"},
    "AreaChart": {"type": "scatter", "mode": "lines", "stackgroup": "all"},
    "ScatterPlot": {"type": "scatter", "mode": "markers"},
}


@dataclass
class Chart:
    """What a reader gets: a figure, its title, those of its axes, it in words and as a table."""

    figure: Json
    title: str
    across: str
    up: str
    words: str
    columns: list[Component]


def chart(c: Component) -> Chart:
    """Draw a component.

    Raises:
        ValueError: there is nothing to draw, or more than can be told apart.
    """
    drawn = {"Histogram": _histogram, "Heatmap": _heatmap}.get(c.tag, _xy)(c)
    kind = re.sub("(?<=[a-z])(?=[A-Z])", " ", c.tag).capitalize()
    drawn.title, drawn.words = c.title or drawn.title, f"{kind}. {drawn.words}"
    drawn.across, drawn.up = c.xAxisTitle or drawn.across, c.yAxisTitle or drawn.up
    layout = drawn.figure["layout"]
    layout["height"] = c.chartAreaHeight or layout.get("height", 280)
    layout["shapes"] = [_line(part) for part in c.parts or ()]
    return drawn


def _xy(c: Component) -> Chart:
    x, ys = c.x.formatted(c.xFmt), [y.formatted(c.yFmt) for y in c.y]
    interval = [end.formatted(c.yFmt) for end in c.interval or ()]
    _need_numbers(*ys, *interval)
    if len(interval) not in (0, 2) or (len(ys) > 1 and (interval or c.series)):
        raise ValueError("a series=, or an interval= of two columns, goes with a single y")
    series = {y.title: (y, list(range(len(x.values)))) for y in ys}
    if c.series:
        series = {name: (ys[0], []) for name in c.series.texts}
        for row, name in enumerate(c.series.texts):
            series[name][1].append(row)
    if len(series) > MAX_SERIES:
        raise ValueError(f"{len(series)} series look alike; keep {MAX_SERIES} and group the rest")
    toned = series.keys() <= TONES.keys()
    names = [name for name in TONES if name in series] if toned else list(series)
    traces: list[Json] = []
    bands: list[Json] = []
    for name in names:
        y, rows = series[name]
        trace: Json = {"name": _escape(name), "x": _marks(x, rows), "y": _marks(y, rows)}
        trace |= KINDS[c.tag] | ({"marker": {"color": f"var(--{TONES[name]})"}} if toned else {})
        if c.markers:
            trace["mode"] = "lines+markers"
        if c.tag == "ScatterPlot":
            trace["text"] = _marks(c.tooltipTitle or x, rows)
            shown = f"{x.title} %{{x}}<br>{y.title} %{{y}}<extra></extra>"
            trace["hovertemplate"] = f"<b>%{{text}}</b><br>{shown}"
        ends = [_marks(end, rows) for end in interval]
        if c.tag == "LineChart":
            bands += _band(trace, *ends) if ends else []
        elif ends:
            trace["error_x" if c.swapXY else "error_y"] = _whiskers(trace["y"], *ends)
        traces.append(trace)
    across, up = _axis(x, c.xLog), _axis(ys[0], c.yLog)
    if c.yMin is not None or c.yMax is not None:
        up["range"] = [math.log10(end) if c.yLog and end else end for end in (c.yMin, c.yMax)]
    layout = {"xaxis": across, "yaxis": up, "showlegend": len(series) > 1}
    layout |= {"barmode": "stack"} if c.type == "stacked" else {}
    layout |= {"hovermode": "closest"} if c.tag == "ScatterPlot" else {}
    said = " ".join(
        f"{name}: {_ends(series[name][0], x.texts, series[name][1])}." for name in names
    )
    drawn = Chart(
        figure={"data": traces + bands, "layout": layout},
        title=f"{' and '.join(y.title for y in ys)} by {x.title.lower()}",
        across=x.title,
        up=ys[0].title if len(ys) == 1 else "",
        words=f"{x.title}, {len(x.values)} points. {said}",
        columns=_columns(c, x, *ys, *interval),
    )
    return _laid_down(drawn, x) if c.swapXY else drawn


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


def _laid_down(drawn: Chart, x: Field) -> Chart:
    """Turn bars to run from left to right, the first on top; a long name is whole on hover."""
    layout = drawn.figure["layout"]
    names = layout["xaxis"] | {"autorange": "reversed", "showgrid": False}
    if x.kind == "text":
        cut = [t if len(t) <= MAX_NAME else f"{t[: MAX_NAME - 1].strip()}…" for t in x.texts]
        names |= {"tickvals": _marks(x), "ticktext": [_escape(text) for text in cut]}
    layout |= {"xaxis": layout["yaxis"] | {"showgrid": True}, "yaxis": names}
    layout |= {"hovermode": "y unified", "height": 28 * len(x.values) + 50}
    for trace in drawn.figure["data"]:
        trace |= {"orientation": "h", "x": trace["y"], "y": trace["x"]}
    drawn.across, drawn.up = drawn.up, drawn.across
    return drawn


def _histogram(c: Component) -> Chart:
    _need_numbers(c.x)
    low, high, bins = min(c.x.present), max(c.x.present), c.bins or 20
    width, counts = (high - low) / bins or 1, [0] * bins
    for value in c.x.present:
        counts[min(int((value - low) / width), bins - 1)] += 1
    middles = [low + width * (number + 0.5) for number in range(bins)]
    x, y = Field(c.x.name, middles, c.x.spec), Field("rows", counts)
    data = Component(fields={x.name: x, y.name: y})
    drawn = _xy(Component(tag="BarChart", data=data, x=x, xFmt=c.xFmt, y=[y]))
    drawn.figure["layout"]["bargap"] = 0.02
    drawn.title = f"Distribution of {x.title.lower()}"
    return drawn


def _heatmap(c: Component) -> Chart:
    value = c.value.formatted(c.valueFmt)
    _need_numbers(value)
    places = [(_escape(x), _escape(y)) for x, y in zip(c.x.texts, c.y.texts, strict=True)]
    cells = dict(zip(places, value.values, strict=True))
    if len(cells) < len(places):
        raise ValueError(f"several rows for one {c.x.name} and {c.y.name}; aggregate them")
    xs, ys = (list(dict.fromkeys(ends)) for ends in zip(*cells, strict=True))
    shown = f"{value.title} %{{z:{value.spec}}}<extra></extra>"
    trace = {
        "type": "heatmap",
        "x": xs,
        "y": ys,
        "z": [[cells.get((x, y)) for x in xs] for y in ys],
        "hovertemplate": f"{c.x.title} %{{x}}, {c.y.title} %{{y}}<br>{shown}",
        "colorbar": {"tickformat": _axis(value)["tickformat"]},
    }
    names = {"type": "category", "showgrid": False}
    layout = {"xaxis": names, "yaxis": names | {"autorange": "reversed"}}
    said = _ends(value, [f"{x} and {y}" for x, y in places], range(len(places)))
    return Chart(
        figure={"data": [trace], "layout": layout},
        title=f"{value.title} by {c.x.title.lower()} and {c.y.title.lower()}",
        across=c.x.title,
        up=c.y.title,
        words=f"{value.title}: {said}.",
        columns=_columns(c, value),
    )


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


def _marks(field: Field, rows: Sequence[int] | None = None) -> list[Any]:
    """Return a column's values for Plotly, of some rows or of all."""
    marks = field.values
    if field.kind == "text":
        marks = [_escape(text) for text in field.texts]
    elif field.kind == "time":
        marks = [value and value.isoformat() for value in field.values]
    return marks if rows is None else [marks[row] for row in rows]


def _ends(field: Field, places: Sequence[str], rows: Sequence[int]) -> str:
    known = [row for row in rows if field.values[row] is not None]
    ends = sorted(known, key=field.values.__getitem__)[:: max(len(known) - 1, 1)]
    words = zip(("lowest", "highest"), ends, strict=False)
    return ", ".join(f"{end} {field.texts[row]} at {places[row]}" for end, row in words)


def _columns(c: Component, *shown: Field) -> list[Component]:
    """Return all columns of a chart's query; those in the chart are formatted as there."""
    fields = c.data.fields | {field.name: field for field in shown}
    return columns(Component(data=Component(fields=fields)))


def _need_numbers(*found: Field) -> None:
    for field in found:
        if field.kind != "number":
            raise ValueError(f"{field.name!r} holds no number; the chart would be empty")
