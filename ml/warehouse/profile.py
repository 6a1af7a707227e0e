"""The profile of a model version: the distributions of features and scores at its training.

It is a Parquet file in the version's folder: one row per feature and bin, with the edges of the
bin, at the deciles, and the number of rows in it. A scoring job copies that of its version to
``ml.profiles``, where dbt compares it with the present (`macros/drift.sql`).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml.warehouse.connection import parquet
from ml.warehouse.examples import Table, in_order, matrix
from ml.warehouse.feature_list import SEQUENCES, Feature, sequences

FILE = "profile.parquet"

# Values beyond the range of training by more than half its width have bins of their own, so a value
# that training never saw is noticed, while times may grow with the log. A feature without values
# has only the first two bins.
_PROFILE = """
with observed as (
    select feature, value from sampled
    union all
    select 'score', score from scores
),
lows as (
    select
        feature,
        unnest(list_distinct(list_concat(
            [min(value) - (max(value) - min(value)) / 2],
            quantile_disc(value, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
            [nextafter(max(value) + (max(value) - min(value)) / 2, cast('infinity' as double))]
        ))) as low
    from observed
    where value is not null
    group by feature
),
edges as (
    select
        feature,
        1 + row_number() over (partition by feature order by low) as bin,
        low,
        lead(low) over (partition by feature order by low) as high
    from lows
),
bins as (
    from edges
    union all
    select feature, 1, null, (select min(low) from edges where edges.feature = features.feature)
    from (select distinct feature from observed) as features
    union all
    select distinct feature, 0, null, null from observed
),
placed as (
    select
        observed.feature,
        case when value is null then 0 else coalesce(edges.bin, 1) end as bin
    from observed
    left join edges
        on observed.feature = edges.feature
        and observed.value >= edges.low
        and (observed.value < edges.high or edges.high is null)
),
counts as (
    select feature, bin, count(*) as row_count from placed group by all
),
medians as (
    select feature, median(value) as median from observed group by feature
)
select
    bins.feature,
    case
        when bins.feature = 'score' then 'score'
        when list_contains($context, bins.feature) then 'context'
        else 'feature'
    end as kind,
    cast(bins.bin as integer) as bin,
    bins.low,
    bins.high,
    coalesce(counts.row_count, 0) as row_count,
    medians.median
from bins
left join counts using (feature, bin)
left join medians using (feature)
order by bins.feature, bins.bin
"""


def write(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    table: Table,
    columns: Sequence[Feature],
    predict: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]],
) -> None:
    """Write the profile of the sampled rows at cutoff 0 to the folder of a model version.

    Args:
        con: a connection to the warehouse.
        folder: the folder of the version.
        table: the table of examples, which names the sample.
        columns: the features of the model, in order.
        predict: returns the probabilities, shape (n_rows,), of features, shape (n_rows, n_columns).
    """
    sampled = con.sql(
        f"select feature, value from {table.sampled} order by user_id, {table.key}, feature"
    ).to_arrow_table()
    names = sampled.column("feature").unique().to_pylist()
    values = sampled.column("value").to_numpy().reshape(-1, len(names))
    of_sequences = sequences(columns)
    plain = [names.index(column.name) for column in columns if column not in of_sequences]
    X = values[:, plain].astype(np.float32)
    if of_sequences:  # a number made of bits has no drift
        rows = con.sql(
            f"select *, {table.key} as key from {SEQUENCES} semi join {table.sampled} "
            f"using (user_id, {table.key}) where cutoff = 0"
        ).to_arrow_table()
        X = np.hstack([X, matrix(rows, of_sequences, in_order(rows))])
    scores = pa.table(  # noqa: F841, DuckDB finds it by its name
        {"score": predict(X).astype(np.float32).astype(float)}
    )
    context = [column.name for column in columns if column.group == "context"]
    con.sql(_PROFILE, params={"context": context}).write_parquet(str(folder / FILE))


def load(con: duckdb.DuckDBPyConnection, folder: Path, task: str, version: str) -> None:
    """Copy the profile of a version to ``ml.profiles``, in place of that of the task's last one.

    A version that an earlier Restock trained has none, and then no drift is measured.
    """
    con.execute("delete from ml.profiles where task = ?", [task])
    if (file := folder / FILE).exists():
        con.execute(
            f"insert into ml.profiles by name "
            f"select ? as model_version, ? as task, * from {parquet(file)}",
            [version, task],
        )
