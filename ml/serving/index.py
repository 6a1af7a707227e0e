"""The index of a release: its scores as memory-mapped arrays, for look-ups by shopper or product.

A query takes DuckDB some milliseconds, and a look-up in arrays takes microseconds. The index has
the probabilities of all pairs, sorted by shopper and rank; the reasons of the recommendations and
the basket, which are the first ranks of each shopper; the products that each shopper has never
bought and may want; who buys in the next day and week; and the demand for each product. It lies in
the release, so one rename publishes it with the scores.

    index -> index-<hex>
    index-<hex>/shoppers.arrow    one row per shopper, sorted by ID: where the arrays have theirs
                products.arrow    one row per product of the catalogue, sorted by ID
                reasons.arrow     one row per distinct reason
                product.npy       row in products.arrow of each pair, int32
                probability.npy   probability of each pair, float32
                reason.npy        row in reasons.arrow of each pair with a reason, int32
                new_product.npy, new_probability.npy
                                  the same of products never bought, sorted by shopper and rank
                batches.json      batch, model version and time of each task
"""

import json
import re
import secrets
import shutil
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ml.errors import RestockError
from ml.progress import Progress
from ml.registry.links import replace_link
from ml.settings import Settings
from ml.warehouse import connection

LINK = "index"
"""The name of the link to the index in a release."""
WINDOWS = {"purchase": "fct_purchase_propensity", "purchase_week": "fct_weekly_propensity"}
"""The published table of each purchase task, whose rows cover a window of time."""
_ROWS_OF_SHOPPERS = ("first_pair", "pair_count", "basket_count", "first_reason", "reason_count")
_NEW_OF_SHOPPERS = ("first_new", "new_count")
_ROWS = 1_000_000  # pairs that are written at a time, which bounds the memory

_WHOLE_NUMBER = re.compile("-?[0-9]{1,19}")

_WINDOW = """
case when {task}.user_id is not null then {{
    'window_start_at': {task}.cutoff_at,
    'window_end_at': {task}.window_end_at,
    'purchase_probability': {task}.purchase_probability,
    'rank': {task}.rank,
    'decile': {task}.decile,
    'is_targeted': {task}.is_targeted,
    'is_held_out': {task}.is_held_out
}} end as {task}
"""
_SHOPPERS = f"""
create temp table index_shoppers as
with

pairs as (
    select
        user_id,
        count(*) as pair_count,
        count(*) filter (where in_basket) as basket_count
    from fct_predictions
    group by user_id
),

reasons as (
    select user_id, count(*) as reason_count from pair_reasons group by user_id
),

news as (
    select user_id, count(*) as new_count from index_news group by user_id
),

purchase as (
    from {WINDOWS["purchase"]}
),

purchase_week as (
    from {WINDOWS["purchase_week"]}
)

select
    user_id,
    cast(coalesce(sum(pair_count) over earlier, 0) as bigint) as first_pair,
    coalesce(pair_count, 0) as pair_count,
    coalesce(basket_count, 0) as basket_count,
    cast(coalesce(sum(reason_count) over earlier, 0) as bigint) as first_reason,
    coalesce(reason_count, 0) as reason_count,
    cast(coalesce(sum(new_count) over earlier, 0) as bigint) as first_new,
    coalesce(new_count, 0) as new_count,
    {_WINDOW.format(task="purchase")},
    {_WINDOW.format(task="purchase_week")}
from pairs
left join reasons using (user_id)
left join news using (user_id)
full join purchase using (user_id)
full join purchase_week using (user_id)
window earlier as (order by user_id rows between unbounded preceding and 1 preceding)
"""
_PRODUCTS = """
create temp table index_products as
select
    row_number() over (order by product_id) - 1 as position,
    product_id,
    product_name,
    coalesce(expected.expected_shoppers, 0) as expected_shoppers,
    coalesce(expected.shopper_count, 0) as shopper_count,
    coalesce(expected.basket_count, 0) as basket_count,
    case when weekly.product_id is not null then {
        'window_start_at': weekly.cutoff_at,
        'window_end_at': weekly.window_end_at,
        'expected_units': weekly.expected_units,
        'low_units': weekly.low_units,
        'high_units': weekly.high_units
    } end as week
from dim_products
left join fct_expected_shoppers as expected using (product_id)
left join (from fct_demand where level = 'product') as weekly using (product_id)
"""
# A product can leave the catalogue after the model has learned of it.
_NEWS = """
create temp table index_news as
select
    user_id,
    row_number() over (partition by user_id order by rank_in_user) - 1 as place,
    cast(index_products.position as integer) as new_product,
    purchase_probability as new_probability
from fct_discoveries
inner join index_products using (product_id)
"""
_REASONS = """
create temp table index_reasons as
select row_number() over (order by reason) - 1 as position, reason
from (select distinct reason from pair_reasons)
"""
_PAIRS = """
select
    first_pair + rank_in_user - 1 as position,
    cast(index_products.position as integer) as product,
    reorder_probability as probability
from fct_predictions
inner join index_shoppers using (user_id)
inner join index_products using (product_id)
"""
_REASONS_OF_PAIRS = """
select
    first_reason + rank_in_user - 1 as position,
    cast(index_reasons.position as integer) as reason
from pair_reasons
inner join index_shoppers using (user_id)
inner join index_reasons using (reason)
"""


_NEWS_OF_SHOPPERS = """
select first_new + place as position, new_product, new_probability
from index_news inner join index_shoppers using (user_id)
"""


@dataclass(frozen=True)
class Batch:
    """A scoring run: its ID, the version that scored, and the time it ended, in UTC."""

    batch_id: str
    model_version: str
    scored_at: str


def write(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Write the index of the release that has the warehouse of the settings.

    Readers of an older index of this release keep it.
    """
    release = settings.warehouse.resolve().parent
    folder = release / f"{LINK}-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        with connection.connect(settings, read_only=True) as con:
            pairs = _write(con, folder, progress)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    replace_link(release / LINK, folder)
    for path in release.glob(f"{LINK}-*"):
        if path != folder:
            shutil.rmtree(path, ignore_errors=True)
    progress("indexed", pairs, pairs)
    return {"rows": pairs}


def _write(con: duckdb.DuckDBPyConnection, folder: Path, progress: Progress) -> int:
    """Write every file of an index, and return the number of its pairs."""
    for statement in (_PRODUCTS, _NEWS, _SHOPPERS, _REASONS):
        con.execute(statement)
    _write_table(con, "index_shoppers order by user_id", folder / "shoppers.arrow")
    _write_table(
        con,
        "(select * exclude (position) from index_products order by position)",
        folder / "products.arrow",
    )
    _write_table(
        con, "(select reason from index_reasons order by position)", folder / "reasons.arrow"
    )
    pairs = connection.scalar(con, "select count(*) from fct_predictions")
    reasons = connection.scalar(con, "select count(*) from pair_reasons")
    of_pairs = {"product": np.int32, "probability": np.float32}
    _write_arrays(con, _PAIRS, folder, pairs, of_pairs, progress)
    _write_arrays(con, _REASONS_OF_PAIRS, folder, reasons, {"reason": np.int32}, progress)
    news = connection.scalar(con, "select count(*) from index_news")
    of_news = {"new_product": np.int32, "new_probability": np.float32}
    _write_arrays(con, _NEWS_OF_SHOPPERS, folder, news, of_news, progress)
    scopes = {"reorder": "", **{task: f"{task}_" for task in WINDOWS}}
    batches = {task: _batch(con, scope) for task, scope in scopes.items()}
    (folder / "batches.json").write_text(json.dumps(batches))
    return int(pairs)


def _batch(con: duckdb.DuckDBPyConnection, scope: str) -> dict[str, str] | None:
    """Return the batch of the published scores of a task; None if it has none."""
    found = con.execute(
        f"""
        select batch_id, model_version, strftime(finished_at, '%Y-%m-%dT%H:%M:%SZ')
        from ml.{scope}batches
        where batch_id = (select max(batch_id) from ml.{scope}predictions)
        """
    ).fetchall()
    return dict(zip(Batch.__annotations__, found[0], strict=True)) if found else None


def _write_table(con: duckdb.DuckDBPyConnection, rows: str, path: Path) -> None:
    """Write a table as one record batch, which a memory map gives back without a copy."""
    table = con.sql(f"from {rows}").to_arrow_table().combine_chunks()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _write_arrays(
    con: duckdb.DuckDBPyConnection,
    query: str,
    folder: Path,
    size: int,
    types: dict[str, Any],
    progress: Progress,
) -> None:
    """Write the columns of a query as arrays, each value at its ``position``."""
    arrays = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(size,)
        )
        for name, dtype in types.items()
    }
    done = 0
    for rows in con.sql(query).to_arrow_reader(_ROWS):
        position = rows.column("position").to_numpy()
        for name, array in arrays.items():
            array[position] = rows.column(name).to_numpy()
        done += len(position)
        progress("indexing", done, size)
    for array in arrays.values():
        array.flush()


class Index:
    """The index in a folder, opened for reading.

    Attributes:
        folder: the folder.
        batches: the batch of each task by name; None for a task without scores.
        shopper_count: number of shoppers, whose rows count from 0.
        product_count: number of products of the catalogue, whose rows count from 0.
    """

    def __init__(self, folder: Path) -> None:
        """Map the files of an index into memory.

        Raises:
            RestockError: the release has no index, or one of an earlier Restock.
        """
        if not folder.exists():
            raise RestockError(f"{folder} does not exist. Run `restock run`.")
        self.folder = folder
        self.batches: dict[str, Batch | None] = {
            task: batch and Batch(**batch)
            for task, batch in json.loads((folder / "batches.json").read_text()).items()
        }
        self._shoppers = _columns(folder / "shoppers.arrow")
        try:
            self._rows = {
                name: self._shoppers[name].to_numpy()
                for name in (*_ROWS_OF_SHOPPERS, *_NEW_OF_SHOPPERS)
            }
        except KeyError:
            raise RestockError(
                f"{folder} was written by an earlier Restock. Run `restock run`."
            ) from None
        self._products = _columns(folder / "products.arrow")
        self.shopper_count = len(self._shoppers["user_id"])
        self.product_count = len(self._products["product_id"])
        (self._reasons,) = _columns(folder / "reasons.arrow").values()
        names = ("product", "probability", "reason", "new_product", "new_probability")
        (
            self._product,
            self._probability,
            self._reason,
            self._new_product,
            self._new_probability,
        ) = (np.load(folder / f"{name}.npy", mmap_mode="r").view(np.ndarray) for name in names)

    def __len__(self) -> int:
        return len(self._product)

    def shopper(self, user_id: int | str) -> int | None:
        """Return the row of a shopper; None if they are not scored. An ID may be text anywhere."""
        return _find(self._shoppers["user_id"], user_id)

    def predictions(self, shopper: int, limit: int) -> list[dict[str, Any]]:
        """Return the likeliest products of the shopper in a row, by rank, as JSON values.

        Products beyond the recommendations and the basket have no reason.
        """
        first, count, basket, first_reason, reasons = (
            int(self._rows[name][shopper]) for name in _ROWS_OF_SHOPPERS
        )
        last = first + min(limit, count)
        products = self._product[first:last]
        with_reason = self._reason[first_reason : first_reason + min(limit, reasons)]
        named = zip(
            _values(self._products["product_id"], products),
            _values(self._products["product_name"], products),
            self._probability[first:last].tolist(),
            _values(self._reasons, with_reason) + [None] * (len(products) - len(with_reason)),
            strict=True,
        )
        return [
            {
                "product_id": product_id,
                "product_name": name,
                "reorder_probability": probability,
                "rank_in_user": rank,
                "in_basket": rank <= basket,
                "reason": reason,
            }
            for rank, (product_id, name, probability, reason) in enumerate(named, start=1)
        ]

    def basket(self, shopper: int) -> list[dict[str, Any]]:
        """Return the products in the basket of the shopper in a row, as `predictions` does."""
        return self.predictions(shopper, int(self._rows["basket_count"][shopper]))

    def discoveries(self, shopper: int) -> list[dict[str, Any]]:
        """Return the products that the shopper in a row has never bought and may want, by rank."""
        first, count = (int(self._rows[name][shopper]) for name in _NEW_OF_SHOPPERS)
        products = self._new_product[first : first + count]
        named = zip(
            _values(self._products["product_id"], products),
            _values(self._products["product_name"], products),
            self._new_probability[first : first + count].tolist(),
            strict=True,
        )
        return [
            {
                "product_id": product_id,
                "product_name": name,
                "purchase_probability": probability,
                "rank_in_user": rank,
            }
            for rank, (product_id, name, probability) in enumerate(named, start=1)
        ]

    def window(self, task: str, shopper: int) -> dict[str, Any] | None:
        """Return the chance of a purchase in the window of a task; None if it is not scored."""
        return self._shoppers[task][shopper].as_py()

    def user_id(self, shopper: int) -> int | str:
        """Return the ID of the shopper in a row."""
        return self._shoppers["user_id"][shopper].as_py()

    def product(self, product_id: int | str) -> int | None:
        """Return the row of a product; None if it is not in the catalogue."""
        return _find(self._products["product_id"], product_id)

    def product_id(self, product: int) -> int | str:
        """Return the ID of the product in a row."""
        return self._products["product_id"][product].as_py()

    def product_name(self, product: int) -> str:
        """Return the name of the product in a row."""
        return self._products["product_name"][product].as_py()

    def named(self, text: str, limit: int) -> list[int]:
        """Return the rows of products with a text in their names, those of most shoppers first."""
        found = pc.match_substring(self._products["product_name"], text, ignore_case=True)
        rows = np.flatnonzero(found.fill_null(False))
        shoppers = self._products["shopper_count"].to_numpy()[rows]
        return rows[np.argsort(-shoppers, kind="stable")][:limit].tolist()

    def demand(self, product: int) -> dict[str, Any]:
        """Return the product in a row: its ID, name and demand."""
        return {name: column[product].as_py() for name, column in self._products.items()}


def _columns(path: Path) -> dict[str, pa.Array]:
    """Return the columns of an Arrow file by name, without reading them into memory."""
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    return {name: table.column(name).chunk(0) for name in table.column_names}


def _find(ids: pa.Array, wanted: int | str) -> int | None:
    """Return the position of an ID in a sorted column; None if it is not there."""
    if pa.types.is_integer(ids.type):
        if not _WHOLE_NUMBER.fullmatch(str(wanted)):
            return None
        wanted = int(wanted)
    else:
        wanted = str(wanted)
    at = bisect_left(range(len(ids)), wanted, key=lambda row: ids[row].as_py())
    return at if at < len(ids) and ids[at].as_py() == wanted else None


def _values(column: pa.Array, rows: npt.NDArray[np.int32]) -> list[Any]:
    """Return the values of some rows of a column."""
    return column.take(pa.array(rows)).to_pylist()
