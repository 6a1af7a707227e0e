"""Why a product has its probability for a shopper: the history, and what the model makes of it."""

from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
from scipy.special import expit

from ml.errors import RestockError
from ml.modelling.model import Model
from ml.serving.index import LINK, Index
from ml.serving.live import Id, Live, Request, RequestError, Scored
from ml.settings import Settings
from ml.warehouse import connection
from ml.warehouse.feature_list import Feature

Row = dict[str, Any]
_HISTORY = """
select
    cast(lines.order_number as integer) as order_number,
    strftime(fct_orders.ordered_at, '%Y-%m-%d %H:%M') as ordered_at,
    cast(targets.order_number - lines.order_number as integer) as orders_ago,
    cast(targets.order_day - lines.order_day as integer) as days_ago
from fct_order_items as lines
inner join fct_orders on lines.order_id = fct_orders.order_id
inner join targets on lines.user_id = targets.user_id and targets.cutoff = 0
where lines.user_id = ? and lines.product_id = ?
order by lines.order_number
"""


def why(settings: Settings, user_id: str, product_id: str) -> Row:
    """Return what a pair's probability is made of, as JSON values.

    Returns:
        The pair's scores; ``history``, a row for each purchase; and ``contributions``, a row for
        each feature with its value and its part of the log-odds, also in words, the largest first.
        The parts and that of ``base_probability`` add up to the log-odds of
        ``uncalibrated_probability``. Models other than gradient boosting have neither, and parts
        that are null.

    Raises:
        RestockError: nothing is published, or the shopper never bought the product.
        BusyError: a step is writing the warehouse.
    """
    release = settings.warehouse.resolve().parent
    index = Index((release / LINK).resolve())
    shopper, product = index.shopper(user_id), index.product(product_id)
    if shopper is None:
        raise RestockError(f"the release has no scores of shopper {user_id}. Check the ID.")
    if product is None:
        raise RestockError(f"the catalogue has no product {product_id}. Check the ID.")
    pair = (index.user_id(shopper), index.product_id(product))
    of_release = replace(settings, warehouse=release / settings.warehouse.name)
    batch = index.batches["reorder"]
    assert batch  # every release has reorder scores
    live = Live(of_release, batch.model_version)
    (scored,) = live.score([Request(pair[0])])
    live.close()
    if isinstance(scored, RequestError):
        raise scored
    if pair[1] not in scored.product_id:
        raise RestockError(
            f"shopper {user_id} never bought product {product_id}, and Restock predicts only what "
            "they buy again."
        )
    with connection.connect(of_release, read_only=True) as con:
        bought = history(con, *pair)
    at = scored.product_id.index(pair[1])
    return {
        **vars(batch),
        "user_id": pair[0],
        "product_id": pair[1],
        "product_name": index.product_name(product),
        "as_of": scored.day[0] and scored.day[0].isoformat(),
        "reorder_probability": float(scored.probability[at]),
        "rank_in_user": int(scored.rank[at]),
        "product_count": len(scored.product_id),
        "in_basket": bool(scored.in_basket[at]),
        "reason": scored.reason[at],
        "history": bought,
        **made_of(live, scored, pair[1]),
    }


def history(con: duckdb.DuckDBPyConnection, user_id: Id, product_id: Id) -> list[Row]:
    """Return a row for each purchase of a pair, the oldest first."""
    found = con.execute(_HISTORY, [user_id, product_id])
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def made_of(live: Live, scored: Scored, product_id: Id) -> Row:
    """Return what the probability of a product is made of.

    Returns:
        ``contributions``, ``base_probability`` and ``uncalibrated_probability``, as `why` does.
    """
    at = scored.product_id.index(product_id)
    base, parts = contributions(live.model, scored.X[at : at + 1])
    rows = [
        {
            "feature": feature.name,
            "description": feature.description,
            "value": None if np.isnan(value) else float(value),
            "log_odds": part,
            "in_words": None if part is None else _in_words(feature, value, part),
        }
        for feature, value, part in zip(live.features, scored.X[at], parts, strict=True)
    ]
    return {
        "base_probability": None if base is None else float(expit(base)),
        "uncalibrated_probability": None
        if base is None
        else float(expit(base + sum(part or 0 for part in parts))),
        "contributions": sorted(rows, key=lambda row: -abs(row["log_odds"] or 0)),
    }


def _in_words(feature: Feature, value: np.float32, part: float) -> str:
    shown = "unknown" if np.isnan(value) else f"{value:.4g}"
    said = feature.description.removesuffix(".")
    return f"odds x {np.exp(part):.2f}: {said} ({feature.name} = {shown})"


def contributions(model: Model, X: np.ndarray[Any, Any]) -> tuple[float | None, list[float | None]]:
    """Return the log-odds of a model without features, and what each feature of one row adds.

    They are LightGBM's SHAP values: the log-odds are shared among the features by what each changes
    on average over all orders in which they become known (Lundberg et al. 2020, "From local
    explanations to global understanding with explainable AI for trees"). Other models have none.
    """
    booster = getattr(model.pipeline[-1], "booster_", None)
    if booster is None or len(model.pipeline) > 1:
        return None, [None] * X.shape[1]
    *parts, base = booster.predict(X, pred_contrib=True)[0].tolist()
    return base, parts
