"""The pairs of cutoff 1 with the context that serving would use.

Serving does not know the context of a shopper's next order unless the order is open or the orders
have dates. It then uses the context that is typical for the shopper. To measure the cost of that
guess, this module copies the orders before each shopper's last one to a separate warehouse. There,
cutoff 0 stands before the order that was left out, and dbt builds its features as for serving.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
import numpy.typing as npt

from ml.progress import silent
from ml.settings import Settings
from ml.warehouse import connection, dbt, examples
from ml.warehouse.examples import Examples
from ml.warehouse.feature_list import SEQUENCES, Feature

FORGET = {
    "fct_orders": """
        select orders.* replace (cast(null as timestamp) as ordered_at)
        from fct_orders as orders
        inner join targets on orders.user_id = targets.user_id
        where targets.cutoff = 1 and orders.order_number < targets.order_number
    """,
    "fct_order_items": """
        select items.*
        from fct_order_items as items
        inner join targets on items.user_id = targets.user_id
        where targets.cutoff = 1 and items.order_number < targets.order_number
        order by items.user_id, items.order_number, items.product_id
    """,
    "fct_promotions": "select * from fct_promotions limit 0",
}


def typical(
    settings: Settings,
    con: duckdb.DuckDBPyConnection,
    columns: Sequence[Feature],
    test: Examples,
    *,
    splits: Sequence[str],
) -> npt.NDArray[np.float32]:
    """Return the features of ``test``, the pairs of cutoff 1, with the typical context.

    The shape is (n_pairs, n_features). Only the context features, and features that depend on them,
    differ from ``test.X``.
    """
    settings.warehouse.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=settings.warehouse.parent, prefix=".typical-") as folder:
        path = Path(folder) / settings.warehouse.name
        work = replace(settings, warehouse=path, as_of="", as_of_days="")
        con.execute(f"attach {connection.quoted(work.warehouse)} as typical")
        # The dbt plugin refuses a database without this table.
        con.execute("create schema typical.ml")
        con.execute("create table typical.ml.batches as from ml.batches limit 0")
        for table, sql in FORGET.items():
            con.execute(f"create table typical.main.{table} as {sql}")
        con.execute("detach typical")
        dbt.run(
            work,
            *("run", "--select", "usual_gap+,+examples", SEQUENCES, "--vars", "{label_cutoffs: 0}"),
            *("--target-path", f"{folder}/target"),
            progress=silent,
        )
        with connection.connect(work, read_only=True) as other:
            served = examples.read(other, columns, cutoffs=[0], splits=splits)
    if not served.key.equals(test.key):
        raise AssertionError("the pairs rebuilt from earlier orders differ from those of cutoff 1")
    return served.X
