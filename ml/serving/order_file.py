"""Live scores of a file of order lines, which passes the same checks as a delivery."""

import glob
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from ml import sources
from ml.serving import naming
from ml.serving.index import Index
from ml.serving.live import Live, Order, Request, RequestError
from ml.settings import Settings
from ml.warehouse.connection import parquet

Row = dict[str, Any]
SUFFIXES = (".csv", ".parquet")
SHOPPERS_TOGETHER = 200
"""Shoppers that are scored in one statement."""
# As models/staging/order_log makes orders of lines.
_ORDERS = """
select
    min(user_id) as user_id,
    min(ordered_at) as ordered_at,
    min(is_timed) as is_timed,
    list(product_id order by cart_position, file_row_number) as product_ids
from {lines}
group by order_id
order by user_id, ordered_at, order_id
"""


def read(settings: Settings, name: str, content: bytes) -> list[Request]:
    """Return a request for each shopper of a file of order lines, sorted by ID.

    Args:
        settings: with ``reading``, which says how to read the file.
        name: name of the file, which ends in one of `SUFFIXES`.
        content: what is in it.

    Raises:
        SourceError: the intake rejects the file.
    """
    with TemporaryDirectory() as folder:
        raw, landing = Path(folder, "raw"), Path(folder, "landing")
        raw.mkdir()
        file = raw / Path(name).name
        file.write_bytes(content)
        sources.land(
            "order_log",
            raw,
            landing,
            threads=1,
            memory_limit=settings.duckdb_memory,
            reading=replace(
                settings.reading, order_lines=glob.escape(file.name), products="", events=""
            ),
        )
        lines = parquet(landing / "order_lines.parquet")
        with duckdb.connect(config={"threads": 1}) as con:
            rows = con.execute(_ORDERS.format(lines=lines)).fetchall()
    return [
        Request(user_id, [Order(products, at, is_timed) for _, at, is_timed, products in orders])
        for user_id, orders in groupby(rows, key=lambda row: row[0])
    ]


def score(live: Live, index: Index, requests: Sequence[Request]) -> tuple[list[Row], list[str]]:
    """Return the scored pairs of some requests of `read`, and what could not be scored, and why.

    A row is one of `naming.rows`, with the shopper. Score `SHOPPERS_TOGETHER`.
    """
    named, problems = [], []
    for request in requests:
        known, unknown = naming.request(index, request)
        named.append(known)
        if unknown:
            products = ", ".join(map(str, unknown))
            problems.append(
                f"shopper {request.user_id}: the catalogue does not have {products}. Such products "
                "do not count."
            )
    rows: list[Row] = []
    for request, scored in zip(requests, live.score(named), strict=True):
        if isinstance(scored, RequestError):
            problems.append(f"shopper {request.user_id}: {scored}")
        else:
            rows += [{"user_id": request.user_id} | row for row in naming.rows(index, scored)]
    return rows, problems
