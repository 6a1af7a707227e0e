"""The components of a page: the attributes and the content of each tag."""

from dataclasses import dataclass
from enum import Enum


class Type(Enum):
    """The type of an attribute; its value is the name in the README."""

    TEXT = "text"
    QUERY = "query"
    COLUMN = "column"
    FORMAT = "format"
    WHOLE = "whole number"
    NUMBER = "number"
    FLAG = "true or false"
    PLACE = "number or column"
    """A number, or the first value of a column."""


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
    """For a column, the attribute with its format."""


@dataclass(frozen=True)
class Definition:
    """One component."""

    tag: str
    about: str
    attributes: tuple[Attribute, ...] = ()
    holds_prose: bool = False
    """Whether it contains markdown and other components."""
    part: str = ""
    """The only tag that it may contain, if it contains no prose."""
    is_inline: bool = False
    """Whether it is part of a sentence, not a block."""
    template: str = ""
    """The macro that renders it, if its name is not the tag."""


DATA = Attribute("data", "The query to show.", Type.QUERY, required=True)
FMT = Attribute("fmt", "The format.", Type.FORMAT)
LINK = Attribute(
    "link", "The page to open: `page.md`, or `folder/[column].md` for the page of the row's value."
)
LIMIT = Attribute(
    "limit",
    "The number of rows to show; the download has all. The default is 50 horizontal bars, else "
    "5,000 rows.",
    Type.WHOLE,
)
EMPTY_MESSAGE = Attribute(
    "emptyMessage", "The text to show if there is nothing to show.", default="Nothing to show."
)

CHART = (
    DATA,
    Attribute("x", "The column on the x axis.", Type.COLUMN, required=True, format="xFmt"),
    Attribute("xFmt", "The format of `x`.", Type.FORMAT),
    Attribute("title", "The heading. The default is the query's name."),
    Attribute("xAxisTitle", "The title of the horizontal axis, also with `swapXY`."),
    Attribute("yAxisTitle", "The title of the vertical axis."),
    Attribute("chartAreaHeight", "The height in pixels.", Type.WHOLE),
    LIMIT,
    EMPTY_MESSAGE,
)
XY = (
    *CHART,
    Attribute("y", "The column on the y axis.", Type.COLUMN, required=True, format="yFmt"),
    Attribute("yFmt", "The format of `y`, `low` and `high`.", Type.FORMAT),
    Attribute("yMin", "The lower end of the axis of `y`.", Type.NUMBER),
    Attribute("yMax", "The upper end of the axis of `y`.", Type.NUMBER),
    Attribute("yLog", "Whether the axis of `y` is logarithmic.", Type.FLAG, default=False),
    Attribute("series", "The column that splits the rows into series. Six are drawn.", Type.COLUMN),
)
INTERVAL = (
    *XY,
    Attribute(
        "low",
        "The lower ends of intervals, drawn as a band around a line and as whiskers elsewhere.",
        Type.COLUMN,
        format="yFmt",
    ),
    Attribute("high", "The upper ends of intervals.", Type.COLUMN, format="yFmt"),
    Attribute(
        "highlight",
        "The column that is true for the marks that stand out. The others are grey.",
        Type.COLUMN,
    ),
)

DEFINITIONS = (
    Definition(
        "Value",
        "Shows a value of the query's first row in a sentence. `{query.column}` is short for it.",
        (
            DATA,
            Attribute("column", "The column.", Type.COLUMN, required=True, format="fmt"),
            FMT,
            LINK,
        ),
        is_inline=True,
    ),
    Definition(
        "BigValue",
        "Shows a value of the query's first row as a large figure. Its content is a note below.",
        (
            DATA,
            Attribute("value", "The column.", Type.COLUMN, required=True, format="fmt"),
            Attribute("title", "The label. The default is the column's name."),
            FMT,
            Attribute(
                "comparison",
                "The column of the change since another time. Nothing is shown if it is missing.",
                Type.COLUMN,
                format="comparisonFmt",
            ),
            Attribute("comparisonFmt", "The format of `comparison`.", Type.FORMAT),
            Attribute("comparisonTitle", "The text beside it, such as `since last week`."),
            Attribute("downIsGood", "Whether a fall is good.", Type.FLAG, default=False),
            Attribute(
                "neutral", "Whether a change is neither good nor bad.", Type.FLAG, default=False
            ),
            Attribute(
                "sparkline",
                "The column of times. A small line shows `value` over all rows in their order.",
                Type.COLUMN,
            ),
            LINK,
        ),
        holds_prose=True,
    ),
    Definition(
        "BarChart",
        "Draws a bar for each row. Horizontal bars have their values at their ends.",
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
            Attribute("y", "The column on the y axis.", Type.COLUMN, required=True),
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
        "Draws a line at `y`, at `x`, or from `x`, `y` to `x2`, `y2`.",
        (
            Attribute(
                "data", "The query of the columns. The default is the chart's query.", Type.QUERY
            ),
            Attribute("x", "The position of the line, or its start.", Type.PLACE),
            Attribute("y", "The position of the line, or its start.", Type.PLACE),
            Attribute("x2", "The end of the line.", Type.PLACE),
            Attribute("y2", "The end of the line.", Type.PLACE),
            Attribute("label", "The text beside the line."),
        ),
    ),
    Definition(
        "DataTable",
        "Shows a query as a sortable table: all its columns, or those named inside.",
        (
            DATA,
            Attribute("title", "The caption. The default is the query's name."),
            Attribute("rows", "The number of rows on a page of the table.", Type.WHOLE, default=10),
            LIMIT,
            Attribute("search", "Whether the table has a search box.", Type.FLAG, default=False),
            Attribute(
                "rest",
                "The column that is true in the row for all that `limit` leaves out. That row "
                "stays last, and the download does not have it.",
                Type.COLUMN,
            ),
            EMPTY_MESSAGE,
        ),
        part="Column",
    ),
    Definition(
        "Column",
        "Selects a column of the table and sets its look.",
        (
            Attribute("id", "The column.", Type.COLUMN, required=True, format="fmt"),
            Attribute(
                "to",
                "The column of the upper ends, to show an interval from `id` to it.",
                Type.COLUMN,
                format="fmt",
            ),
            Attribute("title", "The heading. The default is the column's name."),
            FMT,
            Attribute(
                "align",
                "The alignment. By default, numbers are on the right and the rest on the left.",
                allowed=("left", "right"),
            ),
            Attribute(
                "contentType",
                "The look of a value: text, text on a bar, or a badge.",
                allowed=("text", "bar", "badge"),
                default="text",
            ),
            LINK,
        ),
    ),
    Definition(
        "Dropdown",
        "Lets the reader choose a row of the query. The page opens with the first row.",
        (
            Attribute("name", "The name that queries use in `${inputs.name}`.", required=True),
            Attribute("title", "The label. The default is the name."),
            DATA,
            Attribute("value", "The column of the options' values.", Type.COLUMN, required=True),
            Attribute(
                "label", "The column of the options' texts. The default is `value`.", Type.COLUMN
            ),
        ),
    ),
    Definition(
        "Grid",
        "Arranges its content in columns if the window is wide enough.",
        (Attribute("cols", "The number of columns.", Type.WHOLE, default=2),),
        holds_prose=True,
    ),
    Definition("Tabs", "Shows one of several tabs at a time.", part="Tab"),
    Definition(
        "Tab",
        "Holds the content of one tab.",
        (Attribute("label", "The text to click.", required=True),),
        holds_prose=True,
    ),
    Definition(
        "Details",
        "Hides its content until the reader opens it.",
        (
            Attribute("title", "The text to click.", required=True),
            Attribute(
                "open", "Whether the content is visible from the start.", Type.FLAG, default=False
            ),
        ),
        holds_prose=True,
    ),
    Definition(
        "Alert",
        "Highlights a note.",
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
"""The tags that are only allowed inside another tag."""


def possible_tags(inside: Definition | None) -> set[str]:
    """Return the tags allowed inside a component; None is the page itself."""
    if inside is None or inside.holds_prose:
        return COMPONENTS.keys() - PARTS
    return {inside.part} - {""}
