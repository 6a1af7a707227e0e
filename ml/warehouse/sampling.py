"""The examples that a model learns from: drawn in SQL, because most pairs teach little."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from ml.warehouse.connection import scalar
from ml.warehouse.examples import in_order, matrix, nothing_labelled
from ml.warehouse.features import Feature

HELD_CUTOFFS = 5
"""Orders of a validation shopper that are calibrated on, as such shoppers are few."""
DRAWN_ALIKE = 0.25
"""Share of the sample of examples without a reorder that is drawn whatever they look like."""


@dataclass(frozen=True)
class Sample:
    """Labelled examples to train on: every reorder, and as many of the others as there is room for.

    ``X`` is float32 of shape (n, n_features), ``label`` 0 or 1, ``weight`` 1 for a reorder and the
    inverse of the chance to be drawn for the others, so that probabilities stay what they are
    (Horvitz, Thompson 1952, "A generalization of sampling without replacement").
    """

    X: npt.NDArray[np.float32]
    label: npt.NDArray[np.int8]
    weight: npt.NDArray[np.float32]
    user_id: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.label)

    def of(self, rows: npt.NDArray[np.bool_]) -> "Sample":
        """Return some of the rows."""
        return Sample(self.X[rows], self.label[rows], self.weight[rows], self.user_id[rows])


def label_cutoffs(con: duckdb.DuckDBPyConnection) -> range:
    """Return the cutoffs that have labels, 1 the newest."""
    return range(1, scalar(con, "select max(cutoff) from targets") + 1)


def held_cutoffs(con: duckdb.DuckDBPyConnection) -> range:
    """Return the cutoffs at which a model is calibrated, 1 the newest."""
    return label_cutoffs(con)[:HELD_CUTOFFS]


def sample(
    con: duckdb.DuckDBPyConnection,
    columns: Sequence[Feature],
    *,
    rows: int,
    seed: int,
    splits: Sequence[str],
) -> Sample:
    """Read the examples of all label cutoffs, sampling those without a reorder.

    Most were bought long ago, and any model knows that they will not be bought. So the chance to
    be drawn grows with the share of the shopper's late orders that have the product.

    Raises:
        RestockError: if there are none.
    """
    chosen = "', '".join(splits)
    which = f"cutoff > 0 and split in ('{chosen}')"
    pairs, reorders, late = con.execute(
        f"""
        select count(*), count(*) filter (label),
            -- A parallel mean differs in its last digits.
            round(avg(pair_decay_5_orders_share) filter (not label), 9)
        from examples where {which}
        """
    ).fetchall()[0]
    if pairs == 0:
        raise nothing_labelled(splits)
    # However many reorders there are, some of the others must be seen beside them.
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
