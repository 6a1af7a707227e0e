"""Samples training examples in SQL: most labels are false and teach a model little."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from ml.warehouse.connection import scalar
from ml.warehouse.examples import PAIRS, SPLITS, Table, in_order, matrix, nothing_labelled
from ml.warehouse.feature_list import Feature

HELD_CUTOFFS = 5
"""Number of newest cutoffs used for calibration. Validation is small, so one is too few."""
DRAWN_ALIKE = 0.25
"""Part of the sampling probability that is equal for all pairs not bought again."""


@dataclass(frozen=True)
class Sample:
    """Training examples: every one that came true, and a sample of the others.

    The weights keep probabilities unbiased (Horvitz, Thompson 1952, "A generalization of sampling
    without replacement").

    Attributes:
        X: float32 features, shape (n, n_features); missing values are NaN.
        label: 1 if it came true, else 0, shape (n,).
        weight: 1 if it came true, else the inverse sampling probability, shape (n,).
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
    part: str,
    table: Table = PAIRS,
    *,
    rows: int,
    seed: int,
) -> Sample:
    """Read about ``rows`` examples of a part: every one that came true, and a sample of the others.

    ``part`` is a SQL condition. The probability of sampling another grows with the habit that the
    table names, because any model predicts the rows without one well. The habit of a pair is
    ``pair_decay_5_orders_share``, the share of the shopper's recent orders with the product.

    Raises:
        RestockError: there are no such examples.
    """
    count, true, late = con.execute(
        f"""
        select count(*), count(*) filter (label),
            -- A parallel mean differs in its last digits from run to run.
            round(avg({table.habit}) filter (not label), 9)
        from {table.name} where {part}
        """
    ).fetchall()[0]
    if count == 0:
        raise nothing_labelled(part)
    # Keep room for some of the others, even if those that came true fill the limit.
    room = max(rows - true, rows // 10)
    chance = "1"
    if (share := room / max(count - true, 1)) < 1:
        by_habit = (1 - DRAWN_ALIKE) / late
        chance = f"{share} * ({DRAWN_ALIKE} + {by_habit} * {table.habit})"
    names = ", ".join(column.name for column in columns)
    blocks = f"select distinct {table.block} from ({table.shoppers}) where {part} order by all"
    parts = []
    for (block,) in con.execute(blocks).fetchall():
        drawn = con.sql(
            f"""
            select
                user_id,
                {table.key} as key,
                cast(label as tinyint) as label,
                cast(case when label then 1 else greatest(1, 1 / ({chance})) end as float)
                    as weight,
                {names}
            from {table.with_columns(columns)}
            where ({part}) and {table.block} = {block} and (
                label
                or hash(cutoff, user_id, {table.key}, {seed}) / power(2, 64) < {chance}
            )
            """
        ).to_arrow_table()
        order = in_order(drawn)
        arrays = (drawn.column(name).to_numpy()[order] for name in ("label", "weight", "user_id"))
        parts.append((matrix(drawn, columns, order), *arrays))
    return Sample(*(np.concatenate(part) for part in zip(*parts, strict=True)))
