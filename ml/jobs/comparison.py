"""Compares new orders, code and settings with those behind the published scores.

``ml.scored_shoppers`` has a digest of the orders of each shopper, and of what all scores share.
"""

import hashlib
import json
from datetime import date, timedelta
from pathlib import Path

import duckdb

from ml import sources
from ml.registry import versions
from ml.settings import PROJECT, Settings
from ml.warehouse import connection, population
from ml.warehouse.feature_list import OPTIONAL, has_landed

CODE = (
    *(PROJECT / name for name in ("dbt_project.yml", "macros", "models", "seeds")),
    Path(__file__).parents[1],
)
RULES = "retrain_rules.csv"
"""The seed that says when a run trains; no score depends on it."""


def staged(settings: Settings, entity: str) -> str:
    """Return the name of a staging model of the source."""
    source = "instacart" if settings.source == "instacart" else "order_log"
    return f"stg_{source}__{entity}"


def digests(settings: Settings) -> str:
    """Return SQL with one row per shopper: a digest of all their orders."""
    return f"""
        select user_id, sum(hash(orders, items.digest)) as digest
        from {staged(settings, "orders")} as orders
        left join (
            select
                order_id,
                sum(hash(product_id, cart_position, quantity, sales_value)) as digest
            from {staged(settings, "order_items")}
            group by order_id
        ) as items on orders.order_id = items.order_id
        group by user_id
    """


def made_by(settings: Settings) -> str:
    """Return a digest of the code, settings and optional tables that a model depends on."""
    digest = hashlib.sha256()
    for place in CODE:
        for path in sorted([place, *place.rglob("*.*")]):
            if path.suffix in (".py", ".sql", ".yml", ".csv") and path.name != RULES:
                digest.update(path.read_bytes())
    digest.update(json.dumps(versions.libraries()).encode())
    names = ("source", "model", "seed", "training_rows", "refit_below", "parameters")
    digest.update(json.dumps([getattr(settings, name) for name in names]).encode())
    digest.update(json.dumps([table for table in OPTIONAL if has_landed(settings, table)]).encode())
    return digest.hexdigest()


def fingerprint(settings: Settings) -> str:
    """Return a digest of the landed files, the code and the settings: the same give one model."""
    landed = sources.landed(settings.landing).fingerprint
    return hashlib.sha256(f"{landed} {made_by(settings)}".encode()).hexdigest()


def made_with(con: duckdb.DuckDBPyConnection, settings: Settings, place: str = "") -> str:
    """Return a digest of what all scores share.

    That is the model, the population, the catalogue, the day, and the promotions that run on it.
    """
    model = versions.metadata(settings.models)["model_version"]
    day = as_of(con, settings)
    content = [model, day, settings.as_of_days]
    population_rows = (population.scored_with(table, place) for table in population.TABLES)
    on_offer = f"from {staged(settings, 'promotions')}"
    if day:
        on_offer += f" where date '{day}' between starts_on and ends_on"
    for rows in (*population_rows, f"from {staged(settings, 'products')}", on_offer):
        content.append(connection.scalar(con, f"select sum(hash(t))::varchar from ({rows}) as t"))
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def recorded(con: duckdb.DuckDBPyConnection, digest: str, place: str = "") -> str | None:
    """Return a digest from the last run, or None if a single step has scored since."""
    known = "select count(*) from duckdb_tables() where table_name = 'scored_shoppers'"
    if not connection.scalar(con, known):
        return None
    return connection.scalar(
        con,
        f"select max({digest}) from {place}ml.scored_shoppers "
        f"where batch_id = (select max(batch_id) from {place}ml.predictions)",
    )


def as_of(con: duckdb.DuckDBPyConnection, settings: Settings) -> str:
    """Return the date of cutoff 0; empty if orders have no dates or ``as_of_days`` is set."""
    newest: date | None = connection.scalar(
        con, f"select max(ordered_at)::date from {staged(settings, 'orders')} where not is_open"
    )
    if settings.as_of or settings.as_of_days or newest is None:
        return settings.as_of
    return (newest + timedelta(days=1)).isoformat()


def compare(
    con: duckdb.DuckDBPyConnection, settings: Settings, *, everyone: bool
) -> tuple[int, int, int]:
    """Create the tables `digests` and `changed`, the shoppers to rebuild.

    Returns:
        The number of shoppers, of changed shoppers, and of shoppers changed since training.
    """
    con.execute(f"create table digests as {digests(settings)}")
    con.execute(
        """
        create table changed as
        select
            coalesce(new.user_id, old.user_id) as user_id,
            bool_or(new.user_id is null or old.user_id is null) as has_other_orders
        from digests as new
        full join last.ml.scored_shoppers as old
            on new.user_id = old.user_id and new.digest = old.digest
        group by coalesce(new.user_id, old.user_id)
        """
    )
    counts = con.execute(
        """
        select
            (select count(*) from digests),
            (select count(*) from changed where has_other_orders),
            (
                select count(*) from (
                    select user_id from changed where has_other_orders
                    union
                    select user_id from last.ml.scored_shoppers where is_since_training
                )
            )
        """
    ).fetchall()
    if not everyone:
        con.execute("delete from changed where not has_other_orders")
    return counts[0]
