"""The export of one table: writes a published table, with product names, to a file.

A new file appears with one rename, so readers never see half of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ml.errors import RestockError, SettingsError
from ml.progress import Progress
from ml.settings import Settings
from ml.warehouse import connection


def _with_names(table: str, rank: str) -> str:
    """Return SQL with the rows of a table of shoppers and products, and the products' names."""
    return f"""
        select
            user_id, {rank}, product_id, product_name, aisle, department,
            {table}.* exclude (user_id, {rank}, product_id)
        from {table} left join dim_products using (product_id)
        order by user_id, {rank}
    """


QUERIES = {
    "fct_recommendations": _with_names("fct_recommendations", "rank_in_user"),
    "fct_discoveries": _with_names("fct_discoveries", "rank_in_user"),
    "fct_predictions": _with_names("fct_predictions", "rank_in_user"),
    "fct_baskets": _with_names("fct_baskets", "basket_position"),
    "fct_demand": "select * from fct_demand order by level, expected_units desc, name, product_id",
}
"""The rows and columns of each file."""


def write(
    settings: Settings, progress: Progress, *, table: str, out: Path, format: str = "csv"
) -> dict[str, Any]:
    """Write a table of `QUERIES` to ``out``.

    Raises:
        RestockError: the table is empty.
        SettingsError: ``out`` exists and has something else.
    """
    progress(f"writing {out}", 0, 1)
    with connection.connect(settings, read_only=True) as con:
        if not connection.scalar(con, f"select count(*) from {table}"):
            needs = ", with orders that have dates" if table == "fct_demand" else ""
            raise RestockError(f"{table} is empty. Run `restock run`{needs}.")
        rows = copy(con, QUERIES[table], out, format)
    progress("written", 1, 1)
    return {"rows": rows, "path": str(out)}


def copy(con: duckdb.DuckDBPyConnection, query: str, out: Path, format: str) -> int:
    """Write the rows of a query to a csv or Parquet file, and return their number.

    Raises:
        SettingsError: ``out`` exists and does not have the columns of the query.
    """
    out = out.expanduser().absolute()
    names = [name for name, *_ in con.execute(f"from ({query}) limit 0").description or ()]
    if out.exists() and _columns(out, format) != names:
        raise SettingsError(
            f"Refusing to overwrite {out}: it is not a {format} file that Restock wrote with these "
            "columns. Name a new file with --out."
        )
    with _replacing(out) as part:
        to = f"to {connection.quoted(part)} (format {format}, use_tmp_file false)"
        ((rows,),) = con.execute(f"copy ({query}) {to}").fetchall()
    return rows


def _columns(path: Path, format: str) -> list[str] | None:
    """Return the names of the columns of a file; None if it has none."""
    if not path.is_file():
        return None
    if format == "parquet":
        try:
            return pq.read_schema(path).names
        except pa.ArrowInvalid:
            return None
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline(10_000).strip().split(",")


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces ``out`` at the end of the context."""
    part = out.with_name(f".{out.name}.part")
    try:
        part.touch()  # Python's errors name the path better than DuckDB's.
        yield part
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
