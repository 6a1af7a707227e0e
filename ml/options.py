"""The options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Source = Annotated[
    str | None,
    typer.Option(
        help="Data source: complete_journey, instacart or order_log. Default: the source of the "
        "files in --raw-dir; without it, complete_journey.",
        show_default=False,
    ),
]
RawDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the raw files. Default: data/raw/SOURCE.", show_default=False),
]
AcceptDrop = Annotated[
    bool,
    typer.Option(
        "--accept-drop",
        help="Accept raw files with over 5% fewer lines or shoppers than in the last run, or with "
        "an older newest order.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the summary as one JSON object, and no progress."),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Model: gradient_boosting (the default), histogram_boosting, logistic_regression or "
        "random_forest.",
        show_default=False,
    ),
]
Task = Annotated[
    Literal["reorder", "purchase"],
    typer.Option(
        help="reorder: which products each shopper buys again. purchase: who buys in the next 24 "
        "hours.",
    ),
]
