"""Examples as arrays: user-product pairs with their features, read shopper by shopper."""

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
from ml.warehouse.features import Feature

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Examples:
    """User-product pairs, each shopper's in one run of rows, sorted by their ids.

    ``X`` is float32 of shape (n_pairs, n_features), missing values NaN; ``label`` is 0 or 1, 0
    throughout at cutoff 0; shopper u owns the rows ``offsets[u]:offsets[u + 1]``. With several
    cutoffs, a shopper is there once for each.
    """

    user_id: pa.Array
    product_id: pa.ChunkedArray
    offsets: npt.NDArray[np.int64]
    X: npt.NDArray[np.float32]
    label: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.label)

    def user_of_pair(self) -> pa.Array:
        """Return the shopper's id of every pair."""
        return self.user_id.take(
            pa.array(np.repeat(np.arange(len(self.user_id)), np.diff(self.offsets)))
        )

    def of(self, shoppers: npt.NDArray[np.bool_]) -> "Examples":
        """Return the pairs of some shoppers, shape (n_users,)."""
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
    """Shoppers whose examples are read at once: ``counts`` has how many pairs each of them has."""

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
    """Divide the shoppers of a cutoff, in the order of their ids, at about ``rows`` pairs each."""
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
    """Read the examples of a batch, the products of each shopper in the order of their ids.

    Two reads give the same rows in the same order.
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
    """Return where the rows of a table of examples are, in the order of shoppers and products.

    DuckDB would sort all columns; here each is put in order as it is copied.
    """
    keys = [("user_id", "ascending"), ("product_id", "ascending")]
    return pc.sort_indices(table.select(["user_id", "product_id"]), keys).to_numpy()


def matrix(
    table: pa.Table, features: Sequence[Feature], order: npt.NDArray[np.uint64]
) -> npt.NDArray[np.float32]:
    """Return the features of a table as float32 of shape (n_rows, n_features), missing ones NaN."""
    # Column after column, as they come and as trees read them.
    X = np.empty((len(features), len(table)), dtype=np.float32).T
    for j, feature in enumerate(features):
        X[:, j] = table.column(feature.name).to_numpy()[order]
    return X


def nothing_labelled(splits: Sequence[str]) -> RestockError:
    """No shopper of these splits has an order to learn from or to be measured on."""
    return RestockError(
        f"no labelled order is left for the shoppers of the split {' and '.join(splits)}. "
        "Bring more shoppers (a tenth of them are for validation, a fifth for the test) or more "
        "history: a label needs min_past_orders (dbt_project.yml) orders before it."
    )


def read(
    con: duckdb.DuckDBPyConnection,
    features: Sequence[Feature],
    *,
    cutoffs: Sequence[int],
    splits: Sequence[str],
) -> Examples:
    """Read the examples of some cutoffs and splits at once, cutoff after cutoff.

    Raises:
        RestockError: if there are none.
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
