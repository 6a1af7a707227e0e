"""The scoring job: scores every pair at cutoff 0 in batches and publishes in one transaction."""

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from ml.errors import SettingsError
from ml.jobs.fetch import reject_early_day
from ml.modelling.basket import rank_in_user
from ml.modelling.model import Model
from ml.progress import Progress
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse import connection, dbt, examples
from ml.warehouse.feature_list import Feature, features

AHEAD = 2  # batches to read and score while the previous one is written


def score(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Score every pair into ``ml.predictions`` with the production model.

    Readers see the previous predictions until all new ones are written. Memory use is bounded by a
    few times ``settings.batch_rows`` pairs, or by the shopper with the most pairs.

    Raises:
        RestockError: if there is no model, or it does not match the features.
    """
    columns = features(settings)
    model, card = versions.load(settings.models, columns)
    started = datetime.now(UTC).replace(tzinfo=None)
    batch_id = f"{started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    done = 0
    with connection.connect(settings) as con:
        total = connection.scalar(
            con, "select sum(user_product_count) from feat_users where cutoff = 0"
        )
        with connection.transaction(con):
            con.execute("delete from ml.predictions")
            batches = examples.batches(con, cutoff=0, rows=settings.batch_rows)
            for rows in _overlapped(partial(_scored, con, columns, model, batch_id), batches):
                progress("scoring", done, total)
                connection.append(con, "ml.predictions", rows)
                done += len(rows)
            con.execute(
                "insert into ml.batches values (?, ?, ?, ?, 0, ?, ?, ?)",
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
    progress("scored", done, total)
    took = (datetime.now(UTC).replace(tzinfo=None) - started).total_seconds()
    return {
        "rows": done,
        "rows_per_second": round(done / took),
        "batch_id": batch_id,
        "model": card["model_version"],
    }


def score_as_of(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Move cutoff 0 to the scoring date in the settings, rebuild the examples, and score them.

    Raises:
        SettingsError: if the orders have no dates, or the scoring date is before the newest order.
    """
    with connection.connect(settings, read_only=True) as con:
        newest = connection.scalar(
            con, "select cast(max(ordered_at) as date) from fct_orders where not is_open"
        )
    if settings.as_of and newest is None:
        raise SettingsError(
            "--as-of needs dates, and these orders have none. Use --as-of-days N, the days since "
            "each shopper's last order."
        )
    reject_early_day(settings, newest)
    dbt.run(settings, "build", "--select", "targets+,+examples", progress=progress)
    return score(settings, progress)


def _scored(
    con: duckdb.DuckDBPyConnection,
    columns: Sequence[Feature],
    model: Model,
    batch_id: str,
    batch: examples.Batch,
) -> pa.Table:
    """Return the rows of ``ml.predictions`` for a batch."""
    with con.cursor() as own:
        pairs = examples.load(own, columns, batch)
    # Ranks and baskets must follow from the published probabilities, which are float32.
    probability = model.predict(pairs.X).astype(np.float32)
    return pa.table(
        {
            "user_id": pairs.user_of_pair(),
            "product_id": pairs.product_id,
            "reorder_probability": probability,
            "rank_in_user": rank_in_user(probability, pairs.offsets),
            "in_basket": model.basket(probability, pairs.offsets),
            "batch_id": pa.repeat(batch_id, len(pairs)),
        }
    )


def _overlapped(
    function: Callable[[examples.Batch], pa.Table], batches: Iterable[examples.Batch]
) -> Iterator[pa.Table]:
    """Yield the result of every batch in turn, computing the next ones in the meantime."""
    with ThreadPoolExecutor(AHEAD) as pool:
        pending: deque[Future[pa.Table]] = deque()
        for batch in batches:
            pending.append(pool.submit(function, batch))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
