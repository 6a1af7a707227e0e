"""Samples training examples in SQL: most pairs are not bought again and teach a model little."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from ml.warehouse.connection import scalar
from ml.warehouse.examples import SPLITS, in_order, matrix, nothing_labelled
from ml.warehouse.feature_list import Feature

HELD_CUTOFFS = 5
"""Number of newest cutoffs used for calibration. Validation is small, so one is too few."""
DRAWN_ALIKE = 0.25
"""Part of the sampling probability that is equal for all pairs not bought again."""


@dataclass(frozen=True)
class Sample:
    """Training examples: every pair bought again, and a sample of the others.

    The weights keep probabilities unbiased (Horvitz, Thompson 1952, "A generalization of sampling
    without replacement").

    Attributes:
        X: float32 features, shape (n, n_features); missing values are NaN.
        label: 1 if bought again, else 0, shape (n,).
        weight: 1 if bought again, else the inverse sampling probability, shape (n,).
        user_id: shopper of each example, shape (n,).
    """

    X: npt.NDArray[np.float32]
    label: npt.NDArray[np.int8]
    weight: npt.NDArray[np.float32]
    user_id: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.label)

    def of(self, rows: npt.NDArray[np.bool_]) -> "Sample":
        """Return the selected rows; ``rows`` is a mask of shape (n,)."""
        return Sample(self.X[rows], self.label[rows], self.weight[rows], self.user_id[rows])


def labelled_shoppers(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return the number of shoppers with a labelled order, by split."""
    counts = con.execute(
        "select split, count(*) from targets where cutoff = 1 group by split"
    ).fetchall()
    return dict.fromkeys(SPLITS, 0) | dict(counts)


def label_cutoffs(con: duckdb.DuckDBPyConnection) -> range:
    """Return the cutoffs with labels, the newest (1) first."""
    return range(1, scalar(con, "select max(cutoff) from targets") + 1)


def held_cutoffs(con: duckdb.DuckDBPyConnection) -> range:
    """Return the cutoffs used for calibration, the newest (1) first."""
    return label_cutoffs(con)[:HELD_CUTOFFS]


def sample(
    con: duckdb.DuckDBPyConnection,
    columns: Sequence[Feature],
    *,
    rows: int,
    seed: int,
    splits: Sequence[str],
) -> Sample:
    """Read about ``rows`` examples of all label cutoffs: every pair bought again, others sampled.

    Most of the others were last bought long ago, and any model predicts them well. So the
    probability of sampling a pair grows with ``pair_decay_5_orders_share``, the share of the
    shopper's recent orders that contain the product.

    Raises:
        RestockError: there are no such examples.
    """
    chosen = "', '".join(splits)
    which = f"cutoff > 0 and split in ('{chosen}')"
    pairs, reorders, late = con.execute(
        f"""
        select count(*), count(*) filter (label),
            -- A parallel mean differs in its last digits from run to run.
            round(avg(pair_decay_5_orders_share) filter (not label), 9)
        from examples where {which}
        """
    ).fetchall()[0]
    if pairs == 0:
        raise nothing_labelled(splits)
    # Keep room for some of the others, even if the pairs bought again fill the limit.
    room = max(rows - reorders, rows // 10)
    chance = "1"
    if (share := room / max(pairs - reorders, 1)) < 1:
        by_habit = (1 - DRAWN_ALIKE) / late
        chance = f"{share} * ({DRAWN_ALIKE} + {by_habit} * pair_decay_5_orders_share)"
    names = ", ".join(column.name for column in columns)
    parts = []
    for cutoff in label_cutoffs(con):
        table = con.sql(
            f"""
            select
                user_id,
                product_id,
                cast(label as tinyint) as label,
                cast(case when label then 1 else greatest(1, 1 / ({chance})) end as float)
                    as weight,
                {names}
            from examples
            where {which} and cutoff = {cutoff} and (
                label
                or hash(cutoff, user_id, product_id, {seed}) / power(2, 64) < {chance}
            )
            """
        ).to_arrow_table()
        order = in_order(table)
        drawn = (table.column(name).to_numpy()[order] for name in ("label", "weight", "user_id"))
        parts.append((matrix(table, columns, order), *drawn))
    return Sample(*(np.concatenate(part) for part in zip(*parts, strict=True)))
