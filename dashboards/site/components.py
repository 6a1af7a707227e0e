"""The components that a page can use: for each tag its attributes and what may be inside it."""

from dataclasses import dataclass
from enum import Enum


class Type(Enum):
    """What an attribute's text stands for; the value is the name in the README."""

    TEXT = "text"
    QUERY = "query"
    COLUMN = "column"
    FORMAT = "format"
    WHOLE = "whole number"
    NUMBER = "number"
    FLAG = "true or false"
    PLACE = "number or column"
    """A number, or a column whose first value it is."""


@dataclass(frozen=True)
class Attribute:
    """One attribute of a tag."""

    name: str
    about: str
    type: Type = Type.TEXT
    required: bool = False
    allowed: tuple[str, ...] = ()
    default: str | int | bool | None = None
    format: str = ""
    """For a column: the attribute that gives its format."""


@dataclass(frozen=True)
class Definition:
    """One component."""

    tag: str
    about: str
    attributes: tuple[Attribute, ...] = ()
    holds_prose: bool = False
    """Markdown, values, conditions and other components."""
    part: str = ""
    """The one tag that may be inside, if it holds no prose."""
    is_inline: bool = False
    """Whether it stands in a line of prose, not in a paragraph of its own."""
    template: str = ""
    """The macro that draws it, if that has another name than the tag."""


DATA = Attribute("data", "The query to show.", Type.QUERY, required=True)
FMT = Attribute("fmt", "The format.", Type.FORMAT)
EMPTY_MESSAGE = Attribute(
    "emptyMessage", "What to show if the query returns no row, which is otherwise an error."
)

CHART = (
    DATA,
    Attribute("x", "The column along x.", Type.COLUMN, required=True, format="xFmt"),
    Attribute("xFmt", "The format of `x`.", Type.FORMAT),
    Attribute("title", "The heading; without it, the query's name."),
    Attribute("xAxisTitle", "The title of the horizontal axis, also with `swapXY`."),
    Attribute("yAxisTitle", "The title of the vertical axis."),
    Attribute("chartAreaHeight", "The height in pixels.", Type.WHOLE),
    EMPTY_MESSAGE,
)
XY = (
    *CHART,
    Attribute("y", "The column along y.", Type.COLUMN, required=True, format="yFmt"),
    Attribute("yFmt", "The format of `y`, `low` and `high`.", Type.FORMAT),
    Attribute("yMin", "Where the axis of `y` begins.", Type.NUMBER),
    Attribute("yMax", "Where the axis of `y` ends.", Type.NUMBER),
    Attribute("yLog", "Whether the axis of `y` is logarithmic.", Type.FLAG, default=False),
    Attribute("series", "The column that splits the rows into at most six series.", Type.COLUMN),
)
INTERVAL = (
    *XY,
    Attribute(
        "low",
        "The lower ends of intervals: a band around a line, whiskers elsewhere.",
        Type.COLUMN,
        format="yFmt",
    ),
    Attribute("high", "The upper ends of intervals.", Type.COLUMN, format="yFmt"),
)

DEFINITIONS = (
    Definition(
        "Value",
        "Shows the first row's value in a line of prose; `{query.column}` is short for it.",
        (
            DATA,
            Attribute("column", "The column.", Type.COLUMN, required=True, format="fmt"),
            FMT,
        ),
        is_inline=True,
    ),
    Definition(
        "BigValue",
        "Shows the first row's value as a figure, with a note on its unit and date inside.",
        (
            DATA,
            Attribute("value", "The column.", Type.COLUMN, required=True, format="fmt"),
            Attribute("title", "The label; without it, the column's name."),
            FMT,
        ),
        holds_prose=True,
    ),
    Definition(
        "BarChart",
        "Draws a bar for each row.",
        (
            *INTERVAL,
            Attribute("swapXY", "Whether the bars are horizontal.", Type.FLAG, default=False),
        ),
        part="ReferenceLine",
        template="Chart",
    ),
    Definition(
        "LineChart",
        "Draws a line through the rows.",
        INTERVAL,
        part="ReferenceLine",
        template="Chart",
    ),
    Definition(
        "AreaChart",
        "Draws stacked areas.",
        XY,
        part="ReferenceLine",
        template="Chart",
    ),
    Definition(
        "ScatterPlot",
        "Draws a point for each row.",
        (
            *INTERVAL,
            Attribute("tooltipTitle", "The column that names the points.", Type.COLUMN),
            Attribute("xLog", "Whether the axis of `x` is logarithmic.", Type.FLAG, default=False),
        ),
        part="ReferenceLine",
        template="Chart",
    ),
    Definition(
        "Histogram",
        "Draws the distribution of `x`.",
        CHART,
        part="ReferenceLine",
        template="Chart",
    ),
    Definition(
        "Heatmap",
        "Draws a cell for each pair of `x` and `y`, coloured by a value.",
        (
            *CHART,
            Attribute("y", "The column along y.", Type.COLUMN, required=True),
            Attribute(
                "value",
                "The column that colours the cells.",
                Type.COLUMN,
                required=True,
                format="valueFmt",
            ),
            Attribute("valueFmt", "The format of `value`.", Type.FORMAT),
        ),
        template="Chart",
    ),
    Definition(
        "ReferenceLine",
        "Draws a line across the chart at `y`, up at `x`, or from `x`, `y` to `x2`, `y2`.",
        (
            Attribute("data", "The query of the columns; without it, the chart's.", Type.QUERY),
            Attribute("x", "Where the line is, or starts.", Type.PLACE),
            Attribute("y", "Where the line is, or starts.", Type.PLACE),
            Attribute("x2", "Where the line ends.", Type.PLACE),
            Attribute("y2", "Where the line ends.", Type.PLACE),
            Attribute("label", "The text beside the line."),
        ),
    ),
    Definition(
        "DataTable",
        "Shows all columns of a query, or the columns named inside, as a table that sorts.",
        (
            DATA,
            Attribute("title", "The caption; without it, the query's name."),
            Attribute("rows", "The number of rows shown at a time.", Type.WHOLE, default=10),
            Attribute("search", "Whether the table has a search box.", Type.FLAG, default=False),
            EMPTY_MESSAGE,
        ),
        part="Column",
    ),
    Definition(
        "Column",
        "Names a column of a table.",
        (
            Attribute("id", "The column.", Type.COLUMN, required=True, format="fmt"),
            Attribute(
                "to",
                "The column of the upper ends, where `id` is the lower.",
                Type.COLUMN,
                format="fmt",
            ),
            Attribute("title", "The heading; without it, the column's name."),
            FMT,
            Attribute(
                "align", "The alignment; without it, numbers right.", allowed=("left", "right")
            ),
            Attribute(
                "contentType",
                "How a value looks: as text, as text on a bar, or as a badge.",
                allowed=("text", "bar", "badge"),
                default="text",
            ),
        ),
    ),
    Definition(
        "Dropdown",
        "Lets the reader choose a row of a query; the first is chosen at the start.",
        (
            Attribute("name", "The name in `${inputs.name}`.", required=True),
            Attribute("title", "The label; without it, the name."),
            DATA,
            Attribute("value", "The column of the options' values.", Type.COLUMN, required=True),
            Attribute(
                "label", "The column of the options' texts; without it, `value`.", Type.COLUMN
            ),
        ),
    ),
    Definition(
        "Grid",
        "Puts what is inside side by side where there is room.",
        (Attribute("cols", "The number of columns.", Type.WHOLE, default=2),),
        holds_prose=True,
    ),
    Definition("Tabs", "Shows one of several tabs.", part="Tab"),
    Definition(
        "Tab",
        "Is one tab.",
        (Attribute("label", "The text to click.", required=True),),
        holds_prose=True,
    ),
    Definition(
        "Details",
        "Folds away what is inside.",
        (
            Attribute("title", "The text to click.", required=True),
            Attribute("open", "Whether it is unfolded at the start.", Type.FLAG, default=False),
        ),
        holds_prose=True,
    ),
    Definition(
        "Alert",
        "Sets a note off from the text.",
        (
            Attribute(
                "status",
                "The kind of note.",
                allowed=("info", "positive", "warning", "negative"),
                default="info",
            ),
        ),
        holds_prose=True,
    ),
)
COMPONENTS = {definition.tag: definition for definition in DEFINITIONS}
PARTS = {definition.part for definition in DEFINITIONS if definition.part}
"""The tags that are only possible inside another tag."""


def possible_tags(inside: Definition | None) -> set[str]:
    """Return the tags that may stand inside a component; None is the page itself."""
    if inside is None or inside.holds_prose:
        return COMPONENTS.keys() - PARTS
    return {inside.part} - {""}
