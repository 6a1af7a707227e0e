"""The scoring job: every pair at cutoff 0, in batches, published in one transaction."""

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

from ml.modelling.basket import rank_in_user
from ml.registry import versions
from ml.settings import Settings
from ml.warehouse import examples
from ml.warehouse.dbt import Feature, Progress, features

AHEAD = 2  # batches that are read and scored while the one before is written


def score(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Score every user-product pair into ``ml.predictions`` with the production model.

    Readers see the batch before until the whole new one is in. Memory is bounded by
    a few times ``settings.batch_rows`` pairs, or by the shopper with the most.

    Raises:
        RestockError: if there is no model, or it does not match the features.
    """
    columns = features(settings)
    model, card = versions.load(settings.models, columns)
    started = datetime.now(UTC).replace(tzinfo=None)
    batch_id = f"{started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    done = 0
    with examples.connect(settings) as con:
        total = examples.scalar(
            con, "select sum(user_product_count) from feat_users where cutoff = 0"
        )
        with examples.transaction(con):
            con.execute("delete from ml.predictions")
            batches = examples.batches(con, cutoff=0, rows=settings.batch_rows)
            for rows in _overlapped(partial(_scored, con, columns, model, batch_id), batches):
                progress("scoring", done, total)
                examples.append(con, "ml.predictions", rows)
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


def _scored(
    con: duckdb.DuckDBPyConnection,
    columns: Sequence[Feature],
    model: versions.Model,
    batch_id: str,
    batch: examples.Batch,
) -> pa.Table:
    """Return the rows of ``ml.predictions`` for a batch."""
    with con.cursor() as own:
        pairs = examples.load(own, columns, batch)
    # As it is published: ranks and baskets must not depend on digits that are not.
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
    """Yield the function of every batch in turn, worked out while those before are used."""
    with ThreadPoolExecutor(AHEAD) as pool:
        pending: deque[Future[pa.Table]] = deque()
        for batch in batches:
            pending.append(pool.submit(function, batch))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
