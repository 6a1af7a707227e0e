"""The notebook way, as its users write it, on raw files: read, merge, group, fit. Prints JSON.

Run by `bench.py`. Three features and a logistic regression on 500,000 sampled pairs, split at
random. The label is part of the history that the features are made of, as in many notebooks, so
the AUC that it prints says nothing about the next order.
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
from job import forget_peak, peak_mib
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

FEATURES = ["user_orders", "product_reordered_share", "pair_cart_position"]


def main() -> None:
    """Read every file, make the features of every pair, and fit a model on a sample."""
    raw = Path(sys.argv[1])
    forget_peak()
    started = time.perf_counter()
    orders = pd.read_csv(raw / "orders.csv")
    products = pd.read_csv(raw / "products.csv")
    parts = [pd.read_csv(raw / f"order_products__{part}.csv") for part in ("prior", "train")]
    lines = pd.concat(parts).merge(orders, on="order_id").merge(products, on="product_id")
    pairs = (
        lines.groupby(["user_id", "product_id"])
        .agg(pair_cart_position=("add_to_cart_order", "mean"), reordered=("reordered", "max"))
        .reset_index()
    )
    user_orders = lines.groupby("user_id")["order_number"].max().rename("user_orders")
    shares = lines.groupby("product_id")["reordered"].mean().rename("product_reordered_share")
    pairs = pairs.merge(user_orders, on="user_id").merge(shares, on="product_id")
    sample = pairs.sample(min(len(pairs), 500_000), random_state=0)
    X, X_test, label, label_test = train_test_split(
        sample[FEATURES], sample["reordered"], random_state=0
    )
    model = LogisticRegression(max_iter=1000).fit(X, label)
    auc = roc_auc_score(label_test, model.predict_proba(X_test)[:, 1])
    print(
        json.dumps(
            {
                "lines": len(lines),
                "pairs": len(pairs),
                "auc": auc,
                "seconds": time.perf_counter() - started,
                "cpu_seconds": time.process_time(),
                "peak_mib": peak_mib(),
            }
        )
    )


if __name__ == "__main__":
    main()
