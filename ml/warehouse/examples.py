"""Reads examples as arrays: rows with their features, grouped by shopper."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ml.errors import RestockError
from ml.warehouse.feature_list import SEQUENCES, Feature, sequences

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Table:
    """A dbt model with examples, and how to read it.

    Attributes:
        name: name of the model, which has the columns ``cutoff``, ``user_id`` and ``label``.
        rows: what a row is, in the plural.
        key: column that tells the rows of a shopper apart, within a block.
        block: SQL expression; the rows with one value are read together and sorted by shopper.
        shoppers: SQL query with ``user_id``, the columns that a condition may name, and
            ``row_count``, the number of examples.
        habit: SQL expression from 0 to 1; the chance to be sampled grows with it.
        cutoffs: name of the model that moves with the scoring date.
        outcome: what a label says, in a name such as ``reorder_probability``.
        sampled: name of the model with the features of a sample of cutoff 0, a row for each value.
    """

    name: str
    rows: str
    key: str
    block: str
    shoppers: str
    habit: str
    cutoffs: str
    outcome: str
    sampled: str

    def with_columns(self, features: Sequence[Feature]) -> str:
        """Return the SQL of the examples with the columns of these features, after ``from``."""
        if not sequences(features):
            return self.name
        return f"{self.name} inner join {SEQUENCES} using (cutoff, user_id, {self.key})"


PAIRS = Table(
    name="examples",
    rows="pairs",
    key="product_id",
    block="cutoff",
    shoppers="""
        select cutoff, split, user_id, user_product_count as row_count
        from feat_users inner join targets using (cutoff, user_id)
    """,
    # Most pairs were last bought long ago, and any model predicts them well.
    habit="pair_decay_5_orders_share",
    cutoffs="targets",
    outcome="reorder",
    sampled="drift_pairs",
)
MOMENTS = Table(
    name="purchase_examples",
    rows="moments",
    key="cutoff_at",
    block="0",
    shoppers="""
        select horizon_days, cutoff, period, split, is_robot, user_id, 1 as row_count
        from moments inner join purchase_windows using (cutoff)
    """,
    habit="1",
    cutoffs="purchase_windows",
    outcome="purchase",
    sampled="drift_moments",
)


@dataclass(frozen=True)
class Examples:
    """Rows with features and labels, sorted by shopper and key within each block.

    Attributes:
        user_id: id of each shopper, shape (n_shoppers,). A shopper appears once per block.
        key: key of each row, shape (n_rows,): the product of a pair, the midnight of a moment.
        offsets: shape (n_shoppers + 1,); shopper u owns the rows ``offsets[u]:offsets[u + 1]``.
        X: float32 features, shape (n_rows, n_features); missing values are NaN.
        label: 1 if it came true, else 0, shape (n_rows,); always 0 at cutoff 0.
    """

    user_id: pa.Array
    key: pa.ChunkedArray
    offsets: npt.NDArray[np.int64]
    X: npt.NDArray[np.float32]
    label: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.label)

    def user_of_pair(self) -> pa.Array:
        """Return the shopper id of every row, shape (n_rows,)."""
        return self.user_id.take(
            pa.array(np.repeat(np.arange(len(self.user_id)), np.diff(self.offsets)))
        )

    def of(self, shoppers: npt.NDArray[np.bool_]) -> "Examples":
        """Return the rows of the shoppers in a mask of shape (n_shoppers,)."""
        count = np.diff(self.offsets)
        rows = np.repeat(shoppers, count)
        return Examples(
            user_id=self.user_id.filter(pa.array(shoppers)),
            key=self.key.filter(pa.array(rows)),
            offsets=np.concatenate([[0], np.cumsum(count[shoppers])]),
            X=self.X[rows],
            label=self.label[rows],
        )


@dataclass(frozen=True)
class Batch:
    """Shoppers whose examples are read together.

    Attributes:
        table: where the examples are.
        which: SQL condition on the examples.
        user_id: ids of the shoppers, sorted.
        counts: number of rows of each shopper.
    """

    table: Table
    which: str
    user_id: list[Any]
    counts: npt.NDArray[np.int64]


def batches(
    con: duckdb.DuckDBPyConnection, part: str, table: Table = PAIRS, *, rows: int = 250_000
) -> list[Batch]:
    """Divide the shoppers of a part into batches of about ``rows`` rows.

    They are sorted by id within each block. ``part`` is a SQL condition.
    """
    counted = con.execute(
        f"""
        select {table.block} as block, user_id, cast(sum(row_count) as bigint) as n
        from ({table.shoppers})
        where {part}
        group by block, user_id
        order by block, user_id
        """
    ).fetchall()
    found = []
    for block, shoppers in groupby(counted, key=itemgetter(0)):
        _, users, of_users = zip(*shoppers, strict=True)
        counts = np.array(of_users, dtype=np.int64)
        batch = np.cumsum(counts) // rows
        edges = [0, *(np.flatnonzero(np.diff(batch)) + 1), len(users)]
        which = f"({part}) and {table.block} = {block}"
        found += [
            Batch(table, which, list(users[first:end]), counts[first:end])
            for first, end in pairwise(edges)
        ]
    return found


def load(con: duckdb.DuckDBPyConnection, features: Sequence[Feature], batch: Batch) -> Examples:
    """Read the examples of a batch, sorted by shopper and key.

    The order is deterministic: two reads return the same rows in the same order.
    """
    table = batch.table
    names = ", ".join(feature.name for feature in features)
    rows = con.sql(
        f"""
        select
            user_id, {table.key} as key, cast(coalesce(label, false) as tinyint) as label, {names}
        from {table.with_columns(features)}
        where {batch.which} and user_id between ? and ?
        """,
        params=[batch.user_id[0], batch.user_id[-1]],
    ).to_arrow_table()
    order = in_order(rows)
    return Examples(
        user_id=pa.array(batch.user_id),
        key=rows.column("key").take(order),
        offsets=np.concatenate([[0], np.cumsum(batch.counts)]),
        X=matrix(rows, features, order),
        label=rows.column("label").to_numpy()[order],
    )


def in_order(rows: pa.Table) -> npt.NDArray[np.uint64]:
    """Return the row indices that sort examples by shopper and key, shape (n_rows,).

    Sorting in DuckDB would move every column. Here, each column is sorted as it is copied.
    """
    keys = [("user_id", "ascending"), ("key", "ascending")]
    return pc.sort_indices(rows.select(["user_id", "key"]), keys).to_numpy()


def matrix(
    table: pa.Table, features: Sequence[Feature], order: npt.NDArray[np.uint64]
) -> npt.NDArray[np.float32]:
    """Return the features as float32 of shape (n_rows, n_features); missing values are NaN."""
    # Column-major, because Arrow stores columns and tree models read them.
    X = np.empty((len(features), len(table)), dtype=np.float32).T
    for j, feature in enumerate(features):
        X[:, j] = table.column(feature.name).to_numpy()[order]
    return X


def of_splits(cutoffs: Sequence[int], splits: Sequence[str]) -> str:
    """Return the SQL condition for the given cutoffs and splits."""
    chosen = "', '".join(splits)
    return f"cutoff in ({', '.join(map(str, cutoffs))}) and split in ('{chosen}')"


def read(
    con: duckdb.DuckDBPyConnection,
    features: Sequence[Feature],
    *,
    cutoffs: Sequence[int],
    splits: Sequence[str],
) -> Examples:
    """Read all pairs of the given cutoffs and splits, in the order of the cutoffs.

    Raises:
        RestockError: there are no such pairs.
    """
    return read_part(con, features, of_splits(cutoffs, splits))


def read_part(
    con: duckdb.DuckDBPyConnection,
    features: Sequence[Feature],
    part: str,
    table: Table = PAIRS,
) -> Examples:
    """Read all examples of a part, block by block; ``part`` is a SQL condition.

    Raises:
        RestockError: there are no such examples.
    """
    parts = [load(con, features, batch) for batch in batches(con, part, table)]
    if not parts:
        raise nothing_labelled(part)
    return Examples(
        user_id=pa.concat_arrays([part.user_id for part in parts]),
        key=pa.chunked_array([c for part in parts for c in part.key.chunks]),
        offsets=np.concatenate(
            [[0], np.cumsum(np.concatenate([np.diff(part.offsets) for part in parts]))]
        ),
        X=np.concatenate([part.X for part in parts]),
        label=np.concatenate([part.label for part in parts]),
    )


def nothing_labelled(part: str) -> RestockError:
    """Return the error for a part without labelled examples."""
    return RestockError(
        f"no labelled orders where {part}. Add more shoppers (10% of them go to validation, 20% to "
        "test) or a longer history: an order is a label only after min_past_orders earlier orders "
        "(set in dbt_project.yml)."
    )
