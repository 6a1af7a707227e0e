"""The options of the commands, with their help texts."""

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
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of the raw files, or a MongoDB database: mongodb://reader@host/shop. "
        "Default: data/raw/SOURCE.",
        show_default=False,
    ),
]
AcceptDrop = Annotated[
    bool,
    typer.Option(
        "--accept-drop",
        help="Accept raw files with over 5% fewer lines, shoppers or events than in the last run, "
        "or with an older newest order or event.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the summary as one JSON object, and no progress."),
]
LogFile = Annotated[
    Path | None,
    typer.Option(
        "--log-file",
        metavar="FILE",
        help="File to append the log to, with a time stamp on each line. --quiet does not "
        "shorten it.",
        show_default=False,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="MINUTES",
        min=0,
        help="End the run after this time with exit code 124, and publish nothing.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Model: gradient_boosting (the default), histogram_boosting, logistic_regression, "
        "random_forest, sequence; auto: gradient boosting unless a simple rule is better; hybrid: "
        "gradient boosting unless a network beside it helps.",
        show_default=False,
    ),
]
Candidate = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="VERSION",
        help="Evaluate this candidate, and write no tables. Default: the production model.",
        show_default=False,
    ),
]
Version = Annotated[
    str,
    typer.Argument(help="Model version, see `restock models`.", show_default=False),
]
Release = Annotated[
    str,
    typer.Argument(
        help="Release, see `restock releases`. Default: the one that the published one replaced.",
        show_default=False,
    ),
]
Task = Annotated[
    Literal["reorder", "purchase", "purchase_week"],
    typer.Option(
        help="reorder: which products each shopper buys again. purchase: who buys in the next 24 "
        "hours. purchase_week: who buys in the next 7 days.",
    ),
]
Full = Annotated[
    bool,
    typer.Option("--full", help="Rebuild everything and train a challenger."),
]
Folds = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="Cross-validate every model with this many folds, so that each shopper is a "
        "test shopper once. Default: evaluate the production model on the test shoppers.",
        show_default=False,
    ),
]
Peers = Annotated[
    bool,
    typer.Option(
        "--peers",
        help="Also train and measure the other models: logistic regression, random forest and "
        "histogram boosting.",
    ),
]
Card = Annotated[
    Path | None,
    typer.Option(
        help="Write a model card to this file. The task reorder requires --folds.",
        show_default=False,
    ),
]
AsOf = Annotated[
    str | None,
    typer.Option(
        metavar="DATE",
        help="Score as if every shopper ordered on this date, such as 2018-01-10. It cannot be "
        "earlier than the newest order or event.",
        show_default=False,
    ),
]
AsOfDays = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="Score as if each shopper ordered N days after their last order. Use it where "
        "orders have no dates.",
        show_default=False,
    ),
]
Recall = Annotated[
    float | None,
    typer.Option(
        help="The shortest list that is expected to hold this share of the buyers, such as "
        "0.95, which is the default.",
        show_default=False,
    ),
]
Size = Annotated[
    int | None, typer.Option(help="Number of shoppers on the list.", show_default=False)
]
Cost = Annotated[
    float | None,
    typer.Option(
        help="Cost of contacting a shopper, with --gain. The list has the shoppers whose "
        "probability is above COST / GAIN.",
        show_default=False,
    ),
]
Gain = Annotated[
    float | None,
    typer.Option(help="Gain from a purchase, with --cost.", show_default=False),
]
Standalone = Annotated[
    bool,
    typer.Option("--standalone", help="Also write standalone.html, a single file with every page."),
]
HashIds = Annotated[
    bool,
    typer.Option(
        "--hash-ids",
        help="Show a hash in place of each shopper's id, for pages that leave the house.",
    ),
]
Watch = Annotated[
    bool,
    typer.Option(
        "--watch",
        help="Redraw whenever a page, a query or the warehouse changes, until Ctrl-C.",
    ),
]
Table = Annotated[
    Literal["recommendations", "discoveries", "predictions", "baskets", "list", "demand"] | None,
    typer.Argument(
        metavar="[TABLE]",
        help="Table to write to a file, with product names; list is the list of `restock list`. "
        "Without a table: the whole release.",
        show_default=False,
    ),
]
ExportOut = Annotated[
    Path | None,
    typer.Option(
        help="File of the table; an older export of the table may be there. Default: TABLE.csv or "
        "TABLE.parquet. Without a table: a folder to copy the release to, which must be empty or "
        "not exist yet.",
        show_default=False,
    ),
]
ExportFormat = Annotated[
    Literal["csv", "parquet"] | None,
    typer.Option(help="Format of the file of a table. Default: csv.", show_default=False),
]
ExportTo = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="MongoDB database to write to: mongodb://writer@host/shop. Its collection "
        "purchase_propensity is replaced by the newest probabilities of a purchase.",
        show_default=False,
    ),
]
PublishTo = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Database to write to: redis://HOST:PORT/0 or postgresql://HOST:PORT/DATABASE. "
        "Default: RESTOCK_PUBLISH_TO, where other users of the machine cannot see a password.",
        show_default=False,
    ),
]
Shopper = Annotated[str, typer.Argument(help="ID of the shopper.", show_default=False)]
Product = Annotated[str, typer.Argument(help="ID of the product.", show_default=False)]
Host = Annotated[
    str,
    typer.Option(
        help="Address to listen on. Any but this machine's own needs a key in RESTOCK_API_KEY."
    ),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")]
Products = Annotated[
    int | None,
    typer.Option(help="Number of products. Default: 1,000 plus 10 per shopper, up to 49,688."),
]
Events = Annotated[
    bool,
    typer.Option("--events", help="Write an order log with events instead: a web shop."),
]
Days = Annotated[
    int | None,
    typer.Option(help="Length of the log with --events. Default: 150.", show_default=False),
]
Weeks = Annotated[
    int | None,
    typer.Option(
        help="Write an order log of this length instead. A longer log is the same shop later.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed. The same seed gives the same orders.")]
