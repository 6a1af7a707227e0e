"""The scoring job: scores every row of cutoff 0 in batches and publishes in one transaction."""

import secrets
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from ml.errors import SettingsError
from ml.jobs.fetch import reject_early_day
from ml.jobs.task import REORDER, Task, features_of
from ml.modelling.model import Model
from ml.progress import Progress
from ml.registry import releases, versions
from ml.settings import Settings
from ml.warehouse import connection, dbt, examples, profile
from ml.warehouse.examples import Examples
from ml.warehouse.feature_list import Feature

Rows = Callable[[Examples], pa.Table]
"""Makes the rows of a table from the examples of a batch."""
AHEAD = 2  # batches to read and score while the previous one is written


def score(settings: Settings, progress: Progress, task: Task = REORDER) -> dict[str, Any]:
    """Score every row of cutoff 0 into ``ml.predictions``, or the table of the task.

    The tables that the task lists beside its scores are written with them.

    Readers see the previous predictions until all new ones are written. Memory use is bounded by a
    few times ``settings.batch_rows`` pairs, or by the shopper with the most pairs. A rule that
    compares shoppers needs all rows of cutoff 0, one for each shopper, in memory at once.

    Raises:
        RestockError: if there is no model, or it does not match the features.
    """
    columns = features_of(settings, task)
    model, card = versions.load(settings.models, columns, task.alias)
    version = versions.production(settings.models, task.alias)
    started = datetime.now(UTC).replace(tzinfo=None)
    batch_id = f"{started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    done = 0
    written = task.written("predictions")
    size = settings.batch_rows if task.rule.is_per_shopper else sys.maxsize
    tables: dict[str, Rows] = {written: partial(_predictions, model, task)}
    tables |= task.listed(version, columns)
    with connection.connect(settings) as con:
        batches = examples.batches(con, task.parts["now"], task.table, rows=size)
        total = sum(int(batch.counts.sum()) for batch in batches)
        with connection.transaction(con):
            for statement in task.grade:
                con.execute(statement)
            for table in tables:
                con.execute(f"delete from {table}")
            scored = partial(_scored, con, columns, tables, batch_id, task)
            for of_batch in _overlapped(scored, batches):
                progress("scoring", done, total)
                for table, rows in of_batch.items():
                    connection.append(con, table, rows)
                done += len(of_batch[written])
            con.execute(
                f"insert into {task.written('batches')} values (?, ?, ?, ?, 0, ?, ?, ?)",
                [
                    batch_id,
                    card["model_name"],
                    card["model_version"],
                    card["feature_version"],
                    done,
                    started,
                    datetime.now(UTC).replace(tzinfo=None),
                ],
            )
            for statement in task.settle:
                con.execute(statement)
            profile.load(con, version, task.name, version.name)
    releases.adopt(settings, task.alias)
    progress("scored", done, total)
    took = (datetime.now(UTC).replace(tzinfo=None) - started).total_seconds()
    return {
        "rows": done,
        "rows_per_second": round(done / took),
        "batch_id": batch_id,
        "model": card["model_version"],
    }


def score_as_of(settings: Settings, progress: Progress, task: Task = REORDER) -> dict[str, Any]:
    """Move cutoff 0 to the scoring date in the settings, rebuild the examples, and score them.

    Raises:
        SettingsError: if the orders have no dates, or the scoring date is before the newest order
            or event.
    """
    with connection.connect(settings, read_only=True) as con:
        newest = {
            "order": connection.scalar(
                con, "select cast(max(ordered_at) as date) from fct_orders where not is_open"
            ),
            "event": connection.scalar(con, "select cast(max(known_at) as date) from fct_events"),
        }
    if settings.as_of and newest["order"] is None:
        raise SettingsError(
            "--as-of needs dates, and these orders have none. Use --as-of-days N, the days since "
            "each shopper's last order."
        )
    reject_early_day(settings, newest)
    moved = f"{task.table.cutoffs}+,+{task.table.name}"
    dbt.run(settings, "build", "--select", moved, progress=progress)
    return score(settings, progress, task)


def _scored(
    con: duckdb.DuckDBPyConnection,
    columns: Sequence[Feature],
    tables: Mapping[str, Rows],
    batch_id: str,
    task: Task,
    batch: examples.Batch,
) -> dict[str, pa.Table]:
    """Return the rows of each table for a batch."""
    with con.cursor() as own:
        pairs = examples.load(own, columns, batch)
    made = {table: rows(pairs) for table, rows in tables.items()}
    return {
        table: rows.append_column("batch_id", pa.repeat(batch_id, len(rows)))
        for table, rows in made.items()
    }


def _predictions(model: Model, task: Task, rows: Examples) -> pa.Table:
    """Return the scores of examples, and what the rule makes of them."""
    # Ranks and choices must follow from the published probabilities, which are float32.
    probability = model.predict(rows.X).astype(np.float32)
    user_id = rows.user_of_pair()
    return pa.table(
        {
            "user_id": user_id,
            task.table.key: rows.key,
            f"{task.table.outcome}_probability": probability,
            **model.rule.columns(probability, user_id, rows.offsets),
        }
    )


def _overlapped(
    function: Callable[[examples.Batch], dict[str, pa.Table]], batches: Iterable[examples.Batch]
) -> Iterator[dict[str, pa.Table]]:
    """Yield the result of every batch in turn, computing the next ones in the meantime."""
    with ThreadPoolExecutor(AHEAD) as pool:
        pending: deque[Future[dict[str, pa.Table]]] = deque()
        for batch in batches:
            pending.append(pool.submit(function, batch))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
