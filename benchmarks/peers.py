"""Does one piece of the work, ours or a peer's way, in a process of its own; prints JSON.

Run by `bench.py`: `peers.py <raw files> <engine> <result>` computes pair features from raw csv, and
`peers.py <task>` fits or predicts. Each engine gets what its own manual recommends.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from job import forget_peak, peak_mib

# A part of feat_user_products at cutoff 0, under its names, and product_reordered_share.
DUCKDB = """
with orders as (
    select
        order_id, user_id, order_number,
        max(order_number) over (partition by user_id) as last_order,
        cast(sum(coalesce(days_since_prior_order, 0)) over (
            partition by user_id order by order_number
        ) as integer) as order_day,
        last_order + 1 - order_number as orders_ago,
        power(0.5, (orders_ago - 1) / 5.0) as decay
    from read_csv('{raw}/orders.csv', types = {{
        order_id: 'integer', user_id: 'integer', order_number: 'smallint'
    }})
    where eval_set <> 'test'
),

items as materialized (
    select * from read_csv('{raw}/order_products__*.csv', types = {{
        order_id: 'integer', product_id: 'integer',
        add_to_cart_order: 'smallint', reordered: 'tinyint'
    }})
),

sizes as (select order_id, count(*) as size from items group by order_id),

lines as (
    select * from items inner join orders using (order_id) inner join sizes using (order_id)
),

users as (
    select user_id, count(*) as orders, sum(decay) as all_orders from orders group by user_id
),

pairs as (
    select
        user_id, product_id, count(*) as pair_purchase_count,
        min(orders_ago) as pair_orders_since_last, max(orders_ago) as pair_orders_since_first,
        count(case when orders_ago <= 5 then 1 end) as pair_last_5_count,
        sum(decay) as decay,
        (max(order_day) - min(order_day)) / nullif(count(*) - 1, 0) as pair_gap_mean_days,
        avg(add_to_cart_order / size) as pair_cart_position_share
    from lines group by user_id, product_id
),

products as (
    select product_id, avg(reordered) as product_reordered_share from items group by product_id
)

select
    user_id, product_id, pair_purchase_count, pair_orders_since_last, pair_orders_since_first,
    pair_last_5_count, pair_purchase_count / orders as pair_order_share,
    pair_purchase_count / pair_orders_since_first as pair_share_since_first,
    decay / all_orders as pair_decay_5_orders_share, pair_gap_mean_days, pair_cart_position_share,
    product_reordered_share
from pairs inner join users using (user_id) inner join products using (product_id)
"""
ITEMS = ("order_products__prior.csv", "order_products__train.csv")


def duckdb_features(raw: Path, result: Path) -> None:
    """Run one query; rows come in any order, which takes less memory."""
    import duckdb

    duckdb.sql("set preserve_insertion_order = false")
    duckdb.sql(f"copy ({DUCKDB.format(raw=raw)}) to '{result}' (format parquet)")


def pandas_features(raw: Path, result: Path) -> None:
    """Merge, and group without a Python function for each group; types are narrow."""
    import pandas as pd

    items = pd.concat(
        [
            pd.read_csv(
                raw / name,
                dtype=dict.fromkeys(("order_id", "product_id"), "int32")
                | {"add_to_cart_order": "int16", "reordered": "int8"},
            )
            for name in ITEMS
        ],
        ignore_index=True,
    )
    orders = pd.read_csv(
        raw / "orders.csv",
        usecols=["order_id", "user_id", "eval_set", "order_number", "days_since_prior_order"],
        dtype={"order_id": "int32", "user_id": "int32", "order_number": "int16"},
    )
    orders = orders[orders["eval_set"] != "test"].drop(columns="eval_set")
    orders = orders.sort_values(["user_id", "order_number"])
    by_user = orders.groupby("user_id", sort=False)
    orders["last_order"] = by_user["order_number"].transform("max")
    days = orders["days_since_prior_order"].fillna(0)
    orders["order_day"] = days.groupby(orders["user_id"], sort=False).cumsum()
    orders["decay"] = 0.5 ** ((orders["last_order"] - orders["order_number"]) / 5)
    orders["orders_ago"] = orders["last_order"] + 1 - orders["order_number"]
    all_orders = orders.groupby("user_id", sort=False)["decay"].sum().rename("all_orders")
    lines = items.merge(orders, on="order_id")
    size = lines.groupby("order_id", sort=False)["product_id"].transform("size")
    lines["cart_share"] = lines["add_to_cart_order"] / size
    lines["in_last_5"] = lines["orders_ago"] <= 5
    shares = lines.groupby("product_id")["reordered"].mean().rename("product_reordered_share")
    pairs = lines.groupby(["user_id", "product_id"], sort=False).agg(
        orders=("last_order", "max"),
        pair_purchase_count=("order_number", "size"),
        pair_orders_since_last=("orders_ago", "min"),
        pair_orders_since_first=("orders_ago", "max"),
        pair_last_5_count=("in_last_5", "sum"),
        decay=("decay", "sum"),
        first_day=("order_day", "min"),
        last_day=("order_day", "max"),
        pair_cart_position_share=("cart_share", "mean"),
    )
    pairs = pairs.join(all_orders, on="user_id").join(shares, on="product_id")
    bought = pairs["pair_purchase_count"]
    pairs["pair_order_share"] = bought / pairs["orders"]
    pairs["pair_share_since_first"] = bought / pairs["pair_orders_since_first"]
    pairs["pair_decay_5_orders_share"] = pairs["decay"] / pairs["all_orders"]
    gaps = (bought - 1).where(bought > 1)
    pairs["pair_gap_mean_days"] = (pairs["last_day"] - pairs["first_day"]) / gaps
    dropped = ["orders", "decay", "first_day", "last_day", "all_orders"]
    pairs.drop(columns=dropped).reset_index().to_parquet(result)


def polars_features(raw: Path, result: Path) -> None:
    """Run one lazy query on the streaming engine."""
    import polars as pl

    orders = (
        pl.scan_csv(
            raw / "orders.csv",
            schema_overrides={
                "order_id": pl.Int32,
                "user_id": pl.Int32,
                "order_number": pl.Int16,
            },
        )
        .filter(pl.col("eval_set") != "test")
        .select(
            "order_id",
            "user_id",
            "order_number",
            last_order=pl.col("order_number").max().over("user_id"),
            order_day=pl.col("days_since_prior_order")
            .fill_null(0)
            .cum_sum()
            .over("user_id", order_by="order_number"),
        )
        .with_columns(
            orders_ago=pl.col("last_order") + 1 - pl.col("order_number"),
            decay=0.5 ** ((pl.col("last_order") - pl.col("order_number")) / 5),
        )
    )
    items = pl.scan_csv(
        [raw / name for name in ITEMS],
        schema_overrides={
            "order_id": pl.Int32,
            "product_id": pl.Int32,
            "add_to_cart_order": pl.Int16,
            "reordered": pl.Int8,
        },
    )
    sizes = items.group_by("order_id").agg(size=pl.len())
    lines = items.join(orders, on="order_id").join(sizes, on="order_id")
    bought, since_first = pl.col("pair_purchase_count"), pl.col("pair_orders_since_first")
    pairs = (
        lines.group_by("user_id", "product_id")
        .agg(
            orders=pl.col("last_order").max(),
            pair_purchase_count=pl.len().cast(pl.Int64),
            pair_orders_since_last=pl.col("orders_ago").min(),
            pair_orders_since_first=pl.col("orders_ago").max(),
            pair_last_5_count=(pl.col("orders_ago") <= 5).sum(),
            decay=pl.col("decay").sum(),
            days=pl.col("order_day").max() - pl.col("order_day").min(),
            pair_cart_position_share=(pl.col("add_to_cart_order") / pl.col("size")).mean(),
        )
        .join(orders.group_by("user_id").agg(all_orders=pl.col("decay").sum()), on="user_id")
        .join(
            items.group_by("product_id").agg(product_reordered_share=pl.col("reordered").mean()),
            on="product_id",
        )
        .with_columns(
            pair_order_share=bought / pl.col("orders"),
            pair_share_since_first=bought / since_first,
            pair_decay_5_orders_share=pl.col("decay") / pl.col("all_orders"),
            pair_gap_mean_days=pl.when(bought > 1).then(pl.col("days") / (bought - 1)),
        )
        .drop("orders", "decay", "days", "all_orders")
    )
    pairs.sink_parquet(result, engine="streaming")


ENGINES: dict[str, Callable[[Path, Path], None]] = {
    "DuckDB": duckdb_features,
    "pandas": pandas_features,
    "Polars": polars_features,
}


def made_up(rows: int, columns: int = 70) -> tuple[Any, Any]:
    """Return float32 columns, a tenth of them missing, and labels that they explain in part."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, columns), dtype=np.float32)
    label = rng.random(rows) < 1 / (1 + np.exp(2 - X[:, :10].sum(axis=1) / 3))
    X[rng.random(X.shape, dtype=np.float32) < 0.1] = np.nan
    return X, label


def boosters() -> dict[str, Any]:
    """Return both gradient boostings at one size."""
    from lightgbm import LGBMClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier

    return {
        "LightGBM": LGBMClassifier(
            n_estimators=100, num_leaves=15, min_child_samples=100, verbose=-1
        ),
        "scikit-learn": HistGradientBoostingClassifier(
            max_iter=100, max_leaf_nodes=15, min_samples_leaf=100, early_stopping=False
        ),
    }


def timed(function: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def boosting() -> dict[str, float]:
    """Return the seconds of each fit on 300,000 rows."""
    X, label = made_up(300_000)
    return {name: timed(partial(model.fit, X, label)) for name, model in boosters().items()}


def prediction() -> dict[str, float]:
    """Return the seconds per million rows of each way to predict with 350 trees of 15 leaves."""
    from ml.modelling.trees import MaskedTrees

    X, label = made_up(100_000)
    models = boosters()
    lightgbm = models["LightGBM"].set_params(n_estimators=350).fit(X, label).booster_
    hist = models["scikit-learn"].set_params(max_iter=350).fit(X, label)
    trees: Any = MaskedTrees.of(lightgbm)
    trees.predict(X[:1])  # compiled
    some = [X[i : i + 1] for i in range(300)]
    return {
        "batched": timed(lambda: trees.predict(X)) * 1e6 / len(X),
        "LightGBM, batched": timed(lambda: lightgbm.predict(X)) * 1e6 / len(X),
        "scikit-learn, batched": timed(lambda: hist.predict_proba(X)) * 1e6 / len(X),
        "LightGBM, a row at a time": timed(lambda: [lightgbm.predict(row) for row in some])
        * 1e6
        / len(some),
    }


def main() -> None:
    """Do what the arguments say."""
    if len(sys.argv) == 2:
        print(json.dumps({"boosting": boosting, "prediction": prediction}[sys.argv[1]]()))
        return
    raw, engine, result = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    forget_peak()
    seconds = timed(lambda: ENGINES[engine](raw, result))
    print(json.dumps({"seconds": seconds, "peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()
