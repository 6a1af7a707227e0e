"""Reads examples as arrays: pairs with their features, grouped by shopper."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ml.errors import RestockError
from ml.warehouse.feature_list import Feature

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Examples:
    """Pairs with features and labels, sorted by shopper and product id within each cutoff.

    Attributes:
        user_id: id of each shopper, shape (n_shoppers,). A shopper appears once per cutoff.
        product_id: product of each pair, shape (n_pairs,).
        offsets: shape (n_shoppers + 1,); shopper u owns the rows ``offsets[u]:offsets[u + 1]``.
        X: float32 features, shape (n_pairs, n_features); missing values are NaN.
        label: 1 if bought again, else 0, shape (n_pairs,); always 0 at cutoff 0.
    """

    user_id: pa.Array
    product_id: pa.ChunkedArray
    offsets: npt.NDArray[np.int64]
    X: npt.NDArray[np.float32]
    label: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.label)

    def user_of_pair(self) -> pa.Array:
        """Return the shopper id of every pair, shape (n_pairs,)."""
        return self.user_id.take(
            pa.array(np.repeat(np.arange(len(self.user_id)), np.diff(self.offsets)))
        )

    def of(self, shoppers: npt.NDArray[np.bool_]) -> "Examples":
        """Return the pairs of the shoppers in a mask of shape (n_shoppers,)."""
        count = np.diff(self.offsets)
        rows = np.repeat(shoppers, count)
        return Examples(
            user_id=self.user_id.filter(pa.array(shoppers)),
            product_id=self.product_id.filter(pa.array(rows)),
            offsets=np.concatenate([[0], np.cumsum(count[shoppers])]),
            X=self.X[rows],
            label=self.label[rows],
        )


@dataclass(frozen=True)
class Batch:
    """Shoppers whose examples are read together.

    Attributes:
        which: SQL condition on the cutoff and the splits.
        user_id: ids of the shoppers, sorted.
        counts: number of pairs of each shopper.
    """

    which: str
    user_id: list[Any]
    counts: npt.NDArray[np.int64]


def batches(
    con: duckdb.DuckDBPyConnection,
    *,
    cutoff: int,
    splits: Sequence[str] = SPLITS,
    rows: int = 250_000,
) -> list[Batch]:
    """Divide the shoppers of a cutoff, sorted by id, into batches of about ``rows`` pairs."""
    chosen = "', '".join(splits)
    shoppers = con.execute(
        f"""
        select user_id, user_product_count
        from feat_users inner join targets using (cutoff, user_id)
        where cutoff = {cutoff} and split in ('{chosen}')
        order by user_id
        """
    ).fetchall()
    users = [user for user, _ in shoppers]
    counts = np.array([n for _, n in shoppers], dtype=np.int64)
    batch = np.cumsum(counts) // rows
    edges = [0, *(np.flatnonzero(np.diff(batch)) + 1), len(users)] if users else []
    which = f"cutoff = {cutoff} and split in ('{chosen}')"
    return [Batch(which, users[first:end], counts[first:end]) for first, end in pairwise(edges)]


def load(con: duckdb.DuckDBPyConnection, features: Sequence[Feature], batch: Batch) -> Examples:
    """Read the examples of a batch, sorted by shopper and product id.

    The order is deterministic: two reads return the same rows in the same order.
    """
    names = ", ".join(feature.name for feature in features)
    table = con.sql(
        f"""
        select user_id, product_id, cast(coalesce(label, false) as tinyint) as label, {names}
        from examples
        where {batch.which} and user_id between ? and ?
        """,
        params=[batch.user_id[0], batch.user_id[-1]],
    ).to_arrow_table()
    order = in_order(table)
    return Examples(
        user_id=pa.array(batch.user_id),
        product_id=table.column("product_id").take(order),
        offsets=np.concatenate([[0], np.cumsum(batch.counts)]),
        X=matrix(table, features, order),
        label=table.column("label").to_numpy()[order],
    )


def in_order(table: pa.Table) -> npt.NDArray[np.uint64]:
    """Return the row indices that sort examples by shopper and product id, shape (n_rows,).

    Sorting in DuckDB would move every column. Here, each column is sorted as it is copied.
    """
    keys = [("user_id", "ascending"), ("product_id", "ascending")]
    return pc.sort_indices(table.select(["user_id", "product_id"]), keys).to_numpy()


def matrix(
    table: pa.Table, features: Sequence[Feature], order: npt.NDArray[np.uint64]
) -> npt.NDArray[np.float32]:
    """Return the features as float32 of shape (n_rows, n_features); missing values are NaN."""
    # Column-major, because Arrow stores columns and tree models read them.
    X = np.empty((len(features), len(table)), dtype=np.float32).T
    for j, feature in enumerate(features):
        X[:, j] = table.column(feature.name).to_numpy()[order]
    return X


def nothing_labelled(splits: Sequence[str]) -> RestockError:
    """Return the error for splits whose shoppers have no labelled order."""
    return RestockError(
        f"no labelled orders in split {' and '.join(splits)}. Add more shoppers (10% of them go to "
        "validation, 20% to test) or a longer history: an order is a label only after "
        "min_past_orders earlier orders (set in dbt_project.yml)."
    )


def read(
    con: duckdb.DuckDBPyConnection,
    features: Sequence[Feature],
    *,
    cutoffs: Sequence[int],
    splits: Sequence[str],
) -> Examples:
    """Read all examples of the given cutoffs and splits, in the order of the cutoffs.

    Raises:
        RestockError: there are no such examples.
    """
    parts = [
        load(con, features, batch)
        for cutoff in cutoffs
        for batch in batches(con, cutoff=cutoff, splits=splits)
    ]
    if not parts:
        raise nothing_labelled(splits)
    return Examples(
        user_id=pa.concat_arrays([part.user_id for part in parts]),
        product_id=pa.chunked_array([c for part in parts for c in part.product_id.chunks]),
        offsets=np.concatenate(
            [[0], np.cumsum(np.concatenate([np.diff(part.offsets) for part in parts]))]
        ),
        X=np.concatenate([part.X for part in parts]),
        label=np.concatenate([part.label for part in parts]),
    )
