"""What there is to say about a shopper or a product, as JSON values.

The REST API answers with it, and `restock publish` writes it, so both say the same.
"""

import json
from collections.abc import Sequence
from typing import Any

from ml.serving.index import WINDOWS, Index

Json = dict[str, Any]
MOST_ROWS = 1000
"""The most products in an answer."""


def batches(index: Index) -> str:
    """Return a name for the batches of all tasks together."""
    return ".".join(batch.batch_id for batch in index.batches.values() if batch)


def batch(index: Index, task: str = "reorder") -> Json:
    """Return the ID, the model version and the time of a task's batch."""
    return vars(index.batches[task])


def of_shopper(index: Index, shopper: int, rows: Sequence[Json]) -> Json:
    """Return some rows of `Index.predictions`, with their shopper and batch."""
    return {
        **batch(index),
        "user_id": index.user_id(shopper),
        "is_live": False,
        "predictions": rows,
    }


def propensity(index: Index, shopper: int) -> Json:
    """Return the chance that a shopper buys in the window of each task."""
    return {
        "user_id": index.user_id(shopper),
        **{task: _of_window(index, task, index.window(task, shopper)) for task in WINDOWS},
    }


def discoveries(index: Index, shopper: int) -> Json:
    """Return the likeliest products that a shopper has never bought, by rank."""
    return {
        **batch(index),
        "user_id": index.user_id(shopper),
        "discoveries": index.discoveries(shopper),
    }


def demand(index: Index, product: int) -> Json:
    """Return the expected demand for a product."""
    found = index.demand(product)
    week = _of_window(index, "purchase_week", found["week"])
    return {**batch(index), **found, "week": week}


def document(index: Index, row: int) -> tuple[str, str, str]:
    """Return the kind, the ID and the JSON text of the document in a row.

    Rows count the shoppers, then the products. The document of a shopper has the `MOST_ROWS`
    likeliest products, the new products and the propensity, and that of a product its demand.
    """
    if row < index.shopper_count:
        rows = index.predictions(row, MOST_ROWS)
        found = of_shopper(index, row, rows) | discoveries(index, row) | propensity(index, row)
        kind, id = "shopper", found["user_id"]
    else:
        found = demand(index, row - index.shopper_count)
        kind, id = "product", found["product_id"]
    text = json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return kind, str(id), text


def _of_window(index: Index, task: str, window: Json | None) -> Json | None:
    """Return a window with its batch, and its times as text."""
    if window is None:
        return None
    text = {name: value.isoformat() for name, value in window.items() if name.endswith("_at")}
    return {**batch(index, task), **window, **text}
