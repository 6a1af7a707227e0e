"""What is particular to the reorder task: its folds, baselines, segments and audit counts."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml.errors import RestockError
from ml.jobs import discovery, typical_context
from ml.modelling import baselines
from ml.modelling.basket import Floats
from ml.modelling.folds import Strings
from ml.modelling.metrics import FEW_SHOPPERS
from ml.modelling.rules import Score
from ml.settings import Settings
from ml.warehouse import connection, examples, feature_sql, outcomes, population, sampling
from ml.warehouse.examples import Examples
from ml.warehouse.feature_list import Feature

TESTED_CUTOFFS = 3
"""Newest cutoffs at which test shoppers are measured. The first is the main one."""
MOST_DEPARTMENTS = 100
"""Departments measured on their own."""
HISTORY = {
    3: "3 to 4 orders",
    5: "5 to 9 orders",
    10: "10 to 19 orders",
    20: "20 or more orders",
}
"""Segments by number of past orders: the smallest number and the name of each."""

CEILING = "ceiling"
"""The name of a perfect ranking, measured beside the models."""
SIZE_KNOWN = "size=known"
"""The segment of all pairs, if the model were told how many products each shopper buys again."""
TESTED = "test"
"""The split whose newest orders measure the model."""

# The outcome of a prediction is the shopper's first order after those that it knew.
GRADE = (outcomes.added("outcomes", "graded_orders"),)
SETTLE = (
    "delete from ml.awaited_orders",
    "insert into ml.awaited_orders by name select * from predicted_orders",
)

COUNTS = {
    "past lines at or after their target": """
        select count(*) from past_items
        inner join targets using (cutoff, user_id)
        where past_items.order_number >= targets.order_number
    """,
    "shoppers in two splits": """
        select count(*) from (
            select user_id from targets group by user_id having count(distinct split) > 1
        )
    """,
    "pairs without a prediction": """
        select count(*) from (select user_id, product_id from pair_totals where cutoff = 0) as pairs
        anti join fct_predictions using (user_id, product_id)
    """,
    "predictions without a pair": """
        select count(*) from fct_predictions
        anti join (select user_id, product_id from pair_totals where cutoff = 0) as pairs
            using (user_id, product_id)
    """,
    "new products that the shopper bought before": """
        select count(*) from fct_discoveries
        semi join (select user_id, product_id from pair_totals where cutoff = 0) as pairs
            using (user_id, product_id)
    """,
}


def measured_by_folds(con: duckdb.DuckDBPyConnection) -> bool:
    """Return whether there are too few test or validation shoppers, so that folds are needed.

    Raises:
        RestockError: there are too few shoppers for folds too.
    """
    shoppers = sampling.labelled_shoppers(con)
    if (labelled := sum(shoppers.values())) < FEW_SHOPPERS:
        everyone = connection.scalar(con, "select count(*) from targets where cutoff = 0")
        raise RestockError(
            f"no labelled orders of {FEW_SHOPPERS} shoppers or more: {labelled:,} of {everyone:,} "
            "shoppers have one. A shopper's order is labelled if at least min_past_orders orders "
            "(3, set in dbt_project.yml) come before it. Bring a longer history or more shoppers: "
            f"{FEW_SHOPPERS} with 4 orders each are the least that a model can learn from and be "
            "measured on."
        )
    return shoppers["test"] < FEW_SHOPPERS or not shoppers["validation"]


def audited(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the parts that the audit compares: cutoff 1, cutoff 0, then earlier cutoffs.

    Each has test shoppers only, unless they are too few.
    """
    few = sampling.labelled_shoppers(con)["test"] < FEW_SHOPPERS
    where = "" if few else " and split = 'test'"
    return [f"cutoff = {cutoff}{where}" for cutoff in (1, 0, 2, 3)]


def beside(
    settings: Settings, con: duckdb.DuckDBPyConnection, columns: Sequence[Feature], test: Examples
) -> dict[str, Score]:
    """Score the test pairs with every baseline, and with a perfect ranking, the ceiling."""
    past = con.sql(
        "select user_id, product_id, order_number from past_items where cutoff = 1"
    ).to_arrow_table()
    users, user = np.unique(past.column("user_id").to_numpy(), return_inverse=True)
    products, product = np.unique(past.column("product_id").to_numpy(), return_inverse=True)
    order_number = past.column("order_number").to_numpy()
    orders = np.zeros(len(users), dtype=np.int64)
    np.maximum.at(orders, user, order_number)
    scores = baselines.scores(_by_name(columns, test)) | baselines.peers(
        baselines.Past(user, product, order_number, orders),
        np.repeat(np.searchsorted(users, np.asarray(test.user_id)), np.diff(test.offsets)),
        np.searchsorted(products, test.key.to_numpy()),
    )
    ceiling = Score(test.label.astype(float), chosen=test.label == 1)
    return {name: Score(score) for name, score in scores.items()} | {CEILING: ceiling}


def earlier(
    con: duckdb.DuckDBPyConnection, columns: Sequence[Feature], splits: Sequence[str]
) -> Iterator[tuple[str, Examples, dict[str, Score]]]:
    """Yield the pairs of each cutoff before the first, its segment, and the simple baselines.

    No model is trained on them: the split is by shopper. The other baselines would double the time.
    """
    for cutoff in sampling.label_cutoffs(con)[1:TESTED_CUTOFFS]:
        part = examples.of_splits([cutoff], splits)
        if examples.batches(con, part):
            test = examples.read_part(con, columns, part)
            scores = baselines.scores(_by_name(columns, test))
            yield f"cutoff={cutoff}", test, {name: Score(score) for name, score in scores.items()}


def segments(
    settings: Settings, con: duckdb.DuckDBPyConnection, columns: Sequence[Feature], test: Examples
) -> tuple[list[Strings], dict[str, npt.NDArray[np.float32]]]:
    """Return the segments of `masks`, and the test pairs with the context of serving."""
    typical = typical_context.typical(settings, con, columns, test, splits=[TESTED])
    return masks(con, columns, test), {"context=typical": typical}


def save(settings: Settings, columns: Sequence[Feature], folder: Path) -> None:
    """Write the population, the SQL of the features and the discovery to a version's folder."""
    with connection.connect(settings, read_only=True) as con:
        population.write(con, folder)
        discovery.save(con, folder)
    (folder / "features.sql").write_text(feature_sql.statement(settings, columns))


def listed(
    folder: Path, columns: Sequence[Feature]
) -> Mapping[str, Callable[[Examples], pa.Table]]:
    """Return what makes the lists of products that shoppers have never bought."""
    return {discovery.TABLE: discovery.lister(folder, columns)}


def masks(
    con: duckdb.DuckDBPyConnection, columns: Sequence[Feature], test: Examples
) -> list[Strings]:
    """Return the segment of each pair by context, by history length and by department.

    The smallest departments of many are measured together.
    """
    departments = dict(con.execute("select product_id, department from dim_products").fetchall())
    orders = test.X[:, [column.name for column in columns].index("user_order_count")]
    names = np.array([f"history={name}" for name in HISTORY.values()])
    return [
        np.full(len(test), "context=order"),
        names[np.searchsorted(list(HISTORY), orders, side="right") - 1],
        _largest([f"department={departments[id]}" for id in test.key.to_pylist()]),
    ]


def _largest(segment: list[str]) -> Strings:
    """Return the segments with all but the `MOST_DEPARTMENTS` largest as one."""
    names = [name for name, _ in Counter(segment).most_common()]
    if len(names) > MOST_DEPARTMENTS:
        rest = f"department=the {len(names) - MOST_DEPARTMENTS:,} smallest"
        kept = set(names[:MOST_DEPARTMENTS])
        segment = [name if name in kept else rest for name in segment]
    return np.array(segment)


def _by_name(columns: Sequence[Feature], test: Examples) -> dict[str, Floats]:
    return dict(zip((column.name for column in columns), test.X.T, strict=True))
