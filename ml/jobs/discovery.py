"""Discovery in the jobs: learns it with a version, lists products with the scores, measures it.

It is part of a version of the reorder task, as the population is. It learns from the pasts of
cutoff 1 alone, so it has seen no order that it is measured on. The first purchases in the orders of
shoppers outside the split ``test`` calibrate it; those of test shoppers measure it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import joblib
import numpy as np
import pyarrow as pa

from ml.modelling import discovery
from ml.modelling.basket import Bools, Floats, user_of_pair
from ml.modelling.discovery import RECENT_ORDERS, Discovery, FirstPurchases, Histories, Lists
from ml.modelling.folds import Strings
from ml.warehouse.examples import Examples
from ml.warehouse.feature_list import Feature

FILE = "discovery.joblib"
"""The name of the file in the folder of a version."""
TABLE = "ml.discoveries"


def save(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Learn from the pasts of cutoff 1, and write the result to the folder of a version."""
    past = Past(con)
    learned = past.fit()
    joblib.dump(past.calibrated(learned, past.split != "test"), folder / FILE)


def load(folder: Path) -> Discovery:
    """Return what a version has learned; it lists nothing if an earlier Restock trained it."""
    return joblib.load(folder / FILE) if (folder / FILE).exists() else Discovery()


def lister(folder: Path, columns: Sequence[Feature]) -> Callable[[Examples], pa.Table]:
    """Return a function that makes the rows of ``ml.discoveries`` for the pairs of some shoppers.

    The pairs of a shopper are all products that the shopper has bought.
    """
    model = load(folder)
    orders = [column.name for column in columns].index("user_order_count")

    def listed(pairs: Examples) -> pa.Table:
        histories = Histories(pairs.key, pairs.offsets, pairs.X[pairs.offsets[:-1], orders])
        lists = discovery.top(model.bought(histories), model.score)
        return pa.table(
            {
                "user_id": pairs.user_id.take(pa.array(user_of_pair(lists.offsets))),
                "product_id": model.product_id.take(pa.array(lists.product)),
                "purchase_probability": model.probability(histories, lists).astype(np.float32),
                "rank_in_user": pa.array(lists.rank, pa.int32()),
            }
        )

    return listed


class Past:
    """What the shoppers with a labelled order had bought before it, and what was new in it.

    Attributes:
        user_id: the shoppers, shape (n_users,).
        split: the split of each shopper, shape (n_users,).
        histories: what each of them had bought at cutoff 1.
        first: the first purchases in the order of cutoff 1.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        shoppers = con.sql(
            """
            select user_id, split, order_number - 1 as orders, count(*) as pairs
            from targets inner join pair_totals using (cutoff, user_id)
            where cutoff = 1
            group by all order by user_id
            """
        ).to_arrow_table()
        pairs = con.sql(
            f"""
            select product_id, orders_since_last <= {RECENT_ORDERS} as is_recent
            from pair_totals where cutoff = 1
            order by user_id, product_id
            """
        ).to_arrow_table()
        first = con.sql(
            """
            with shoppers as (
                select user_id, row_number() over (order by user_id) - 1 as user
                from (select distinct user_id from pair_totals where cutoff = 1)
            )
            select user, product_id
            from first_purchases inner join shoppers using (user_id)
            where cutoff = 1
            order by all
            """
        ).to_arrow_table()
        self.user_id = shoppers.column("user_id").combine_chunks()
        self.split: Strings = shoppers.column("split").to_numpy()
        self.histories = Histories(
            pairs.column("product_id"),
            np.concatenate([[0], np.cumsum(shoppers.column("pairs").to_numpy())]),
            shoppers.column("orders").to_numpy(),
        )
        self.first = FirstPurchases(first.column("user").to_numpy(), first.column("product_id"))
        self._is_recent: Bools = pairs.column("is_recent").to_numpy()

    def fit(self) -> Discovery:
        """Learn from what everyone had bought, without calibration."""
        return discovery.fit(self.histories, self._is_recent)

    def calibrated(self, learned: Discovery, shoppers: Bools) -> Discovery:
        """Return the same with probabilities calibrated on the shoppers in a mask, (n_users,)."""
        return learned.calibrated(self.histories.of(shoppers), self.first.of(shoppers))

    def measure(
        self, learned: Discovery, parts: Sequence[tuple[Discovery, Bools]], *, seed: int
    ) -> discovery.Measured | None:
        """Measure what was learned on the shoppers of all parts; None if nothing can be listed.

        Args:
            learned: makes the lists.
            parts: the same with a calibrator each, and a mask of the shoppers that it knows no
                labels of, shape (n_users,). They do not overlap.
            seed: seed of the resamples.
        """
        tested = np.logical_or.reduce([mask for _, mask in parts])
        histories = self.histories.of(tested)
        bought = learned.bought(self.histories)

        def probability(lists: Lists) -> Floats:
            user = user_of_pair(lists.offsets)
            values = np.empty(len(user))
            for calibrated, mask in parts:
                rows = mask[tested][user]
                values[rows] = calibrated.probability(histories, lists)[rows]
            return values

        first = self.first.of(tested)
        if not len(learned.product_id) or not len(first.user):
            return None
        others = discovery.baselines(learned, bought)
        return discovery.measure(learned, histories, first, others, probability, seed=seed)


def holdout(con: duckdb.DuckDBPyConnection, folder: Path, seed: int) -> discovery.Measured | None:
    """Measure a version on test shoppers."""
    past, learned = Past(con), load(folder)
    return past.measure(learned, [(learned, past.split == "test")], seed=seed)


def by_folds(
    con: duckdb.DuckDBPyConnection, test: Examples, parts: Sequence[Strings], seed: int
) -> discovery.Measured | None:
    """Measure lists on all shoppers, with the probabilities calibrated on those of other folds.

    ``parts`` has the part of each shopper of ``test``, the pairs of cutoff 1, in each fold.
    """
    past = Past(con)
    if not past.user_id.equals(test.user_id):
        raise AssertionError("the shoppers of pair_totals differ from those of the examples")
    learned = past.fit()
    tested = [part == "test" for part in parts]
    calibrated = [(past.calibrated(learned, ~mask), mask) for mask in tested]
    return past.measure(learned, calibrated, seed=seed)
