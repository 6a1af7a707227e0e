"""The six files of the public Instacart data, named as on Kaggle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from ml.reading import Reading
from ml.sources import clock
from ml.sources.catalogue import check_catalogue
from ml.sources.folder import Wanted
from ml.sources.landing import (
    Check,
    Rule,
    Table,
    check_together,
    count,
    decimal,
    identifier,
    land,
    tell_ignored,
    text,
    unique,
)
from ml.sources.mapping import locate_columns
from ml.sources.raw import RawFile

_NAMES = (
    "orders",
    "order_products__prior",
    "order_products__train",
    "products",
    "aisles",
    "departments",
)
_WANTED = Wanted({name: (f"{name}.csv",) for name in _NAMES})
_LINES_IN_SLICE = 4_000_000

_COLUMNS = {
    "orders": (
        identifier("order_id"),
        identifier("user_id"),
        text("eval_set", "prior, train or test", "eval_set in ('prior', 'train', 'test')"),
        count("order_number", "a whole number of at least 1", "order_number >= 1"),
        count("order_dow", "a day of the week from 0 to 6", "order_dow between 0 and 6"),
        count(
            "order_hour_of_day",
            "an hour of the day from 0 to 23",
            "order_hour_of_day between 0 and 23",
        ),
        decimal(
            "days_since_prior_order",
            "a number of days from 0 to 3650",
            "days_since_prior_order between 0 and 3650",
        ),
    ),
    "order_products": (
        identifier("order_id"),
        identifier("product_id"),
        count("add_to_cart_order", "a whole number of at least 1", "add_to_cart_order >= 1"),
        count("reordered", "0 or 1", "reordered in (0, 1)"),
    ),
    "products": (
        identifier("product_id"),
        text("product_name"),
        identifier("aisle_id"),
        identifier("department_id"),
    ),
    "aisles": (identifier("aisle_id"), text("aisle")),
    "departments": (identifier("department_id"), text("department")),
}

_ONLY_FIRST_ORDERS_LACK_DAYS = Rule(
    "days_since_prior_order",
    "(order_number = 1) <> (days_since_prior_order is null)",
    "{value} does not match order_number: only a shopper's order 1 has an empty value",
)

_CHECKS = (
    unique("products", "product_id", problem="product_id {} appears twice"),
    unique("aisles", "aisle_id", problem="aisle_id {} appears twice"),
    unique("departments", "department_id", problem="department_id {} appears twice"),
    unique("orders", "order_id", problem="order_id {} appears twice"),
    unique(
        "orders",
        "user_id",
        "order_number",
        problem="shopper {} has two orders with order_number {}",
    ),
    Check(
        "orders",
        "order_number",
        """
        select max_by(at_row, order_number) as at_row, user_id, max(order_number), count(*)
        from orders
        group by user_id
        having max(order_number) <> count(*)
        """,
        "shopper {} has order_number {} but only {} orders: the numbers 1, 2, 3, ... have a gap",
        "Restore the missing orders",
    ),
    Check(
        "orders",
        "eval_set",
        """
        select at_row, eval_set, user_id
        from orders
        inner join (select user_id, count(*) as order_number from orders group by user_id) as newest
            using (user_id)
        where eval_set <> 'prior' and orders.order_number < newest.order_number
        """,
        "only a shopper's newest order can be a {} order, and shopper {} has a later one",
    ),
    Check(
        "order_products",
        "order_id",
        "select at_row, order_id from baskets anti join orders using (order_id)",
        "order_id {} is not in orders.csv",
        "Take both files from the same export; orders.csv may be truncated",
    ),
    Check(
        "order_products",
        "order_id",
        """
        select baskets.at_row, order_id, orders.eval_set, baskets.eval_set
        from baskets
        inner join orders using (order_id)
        where baskets.eval_set <> orders.eval_set
        """,
        "order {} has eval_set {}, but this file is for {} orders (test orders have no lines)",
        "Move the lines to the right file, or correct eval_set",
    ),
    Check(
        "orders",
        "order_id",
        """
        select at_row, eval_set, order_id
        from orders
        anti join baskets using (order_id)
        where eval_set <> 'test'
        """,
        "{} order {} has no lines in order_products",
        "Take all files from the same export; the order_products file may be truncated",
    ),
)


def wanted(reading: Reading) -> Wanted:
    """Return the raw files to look for."""
    return _WANTED


def _slices(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Return ranges of order_id with about four million order lines each.

    Kaggle's files are sorted by order, so the lines of a range are next to each other.
    """
    lines, low, high = con.execute(
        "select count(*), min(order_id), max(order_id) from order_products"
    ).fetchall()[0]
    width = (high - low) // (lines // _LINES_IN_SLICE + 1) + 1
    starts = range(low, high + 1, width)
    return [f"order_id between {start} and {start + width - 1}" for start in starts]


def land_files(
    con: duckdb.DuckDBPyConnection,
    files: Mapping[str, Sequence[RawFile]],
    folder: Path,
    scratch: Path,
    last: Path,
    reading: Reading,
    notes: list[str],
) -> list[Table]:
    """Land orders, order_products (the prior lines, then the train lines) and the catalogue.

    A product may be missing from the catalogue, and an aisle or department may have no name.

    Raises:
        SourceError: a file is malformed, or two files contradict each other.
    """
    rules = {"orders": (_ONLY_FIRST_ORDERS_LACK_DAYS,)}
    tables = {}
    used: list[RawFile] = []
    for name, columns in _COLUMNS.items():
        names = [column.name for column in columns]
        stems = [stem for stem in files if stem.split("__")[0] == name]
        raws = [locate_columns(file, names) for stem in stems for file in files[stem]]
        used += raws
        parts = [(file, file.as_text(names)) for file in raws]
        path = folder / f"{name}.parquet"
        tables[name] = land(con, path, parts, columns, rules.get(name, ()))
    prior_files = len(files["order_products__prior"])
    con.execute(
        f"""
        create or replace temp table baskets as
        select
            order_id,
            case when part < {prior_files} then 'prior' else 'train' end as eval_set,
            min(at_row) as at_row
        from order_products
        group by all
        """
    )
    no_duplicate_lines = unique(
        "order_products",
        "order_id",
        "product_id",
        problem="order {} has product {} twice",
        slices=_slices(con),
    )
    check_together(con, tables, (*_CHECKS, no_duplicate_lines))
    tell_ignored(used, notes)
    clock.tell_nights(con, "select order_hour_of_day as hour from orders", notes)
    check_catalogue(con, tables["order_products"], tables["products"], notes)
    return list(tables.values())
