"""The update job: rebuilds and scores only the shoppers whose orders have changed.

Features depend on the shopper's own orders and on the *population*, the tables that sum over all
shoppers. The population belongs to the model version and stays as it was at training. So shoppers
whose orders have not changed keep their features and scores. The others get the rows that a full
build with this model and population would give them.
"""

import hashlib
import json
import shutil
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from ml.jobs.score import score
from ml.progress import Progress, silent
from ml.registry import versions
from ml.settings import PROJECT, Settings
from ml.warehouse import connection, dbt, run_records

FULL_RUN_SHARE = 0.1
"""Share of shoppers changed since training above which the update job requires a full run."""

# dbt models tagged `population`, then models with rows per shopper. Where these have cutoffs, an
# update replaces cutoff 0 only, because the model was trained and evaluated on the others.
POPULATION = ("usual_gap", "reorder_hazards", "feat_products", "aisle_totals")
OF_SHOPPERS = ("fct_orders", "fct_order_items", "dim_users")
AT_CUTOFF_0 = ("targets", "pair_totals", "user_aisle_totals", "feat_users")

CODE = (
    *(PROJECT / name for name in ("dbt_project.yml", "macros", "models", "seeds")),
    Path(__file__).parents[1],
)


def update(settings: Settings, progress: Progress, *, published: Path) -> dict[str, Any]:
    """Build a new warehouse from the published one and the newly landed files.

    Args:
        settings: the settings of the new release, with the published models.
        progress: called with the progress.
        published: the path of the published warehouse.

    Returns:
        ``rows`` scored, a ``note`` for the user, and ``is_full_run``. If ``is_full_run`` is true,
        a full run is needed and the new warehouse is incomplete. Otherwise ``shoppers`` has the
        number of changed shoppers, unless it is 0.

    Raises:
        RestockError: a model or a test failed.
    """
    with connection.connect(replace(settings, warehouse=published), read_only=True) as con:
        is_same = _last(con, "made_by") == _made_by(settings)
        if not is_same or not versions.production(settings.models).exists():
            note = (
                "full run: the code or the settings changed, or a single step ran since the last "
                "run"
            )
            return {"rows": 0, "is_full_run": True, "note": note}
    # All dbt commands here use one warehouse path, because dbt parses again when it changes.
    progress("comparing", 0, 4)
    _dbt(settings, "run", "--select", "path:models/staging")
    with connection.connect(settings) as con:
        con.execute(f"attach {connection.quoted(published)} as last (read_only)")
        calendar = _as_of(con, settings)
        if _last(con, "made_with", "last.") != _made_with(con, settings, "last."):
            note = "full run: the catalogue, the scoring date, the model or the warehouse changed"
            return {"rows": 0, "is_full_run": True, "note": note}
        shoppers, changed, since_training = _compare(con, settings)
        note = f"{changed:,} of {shoppers:,} shoppers have new or changed orders"
        if since_training > FULL_RUN_SHARE * shoppers:
            note = f"full run: {since_training:,} of {shoppers:,} shoppers changed since training"
            return {"rows": 0, "is_full_run": True, "note": note}
        _prepare(con, settings)
    if changed == 0:
        shutil.copyfile(published, settings.warehouse)
        return {"rows": 0, "is_full_run": False, "note": note}
    progress("building", 1, 4)
    _dbt(
        replace(settings, as_of=calendar),
        *("build", "--select", "+examples", "dim_users"),
        *("--exclude", "tag:population", "path:models/staging"),
    )
    progress("scoring", 2, 4)
    scored = score(settings, silent)
    progress("publishing", 3, 4)
    work = settings.warehouse.rename(settings.warehouse.with_name("changed.duckdb"))
    shutil.copyfile(published, settings.warehouse)
    with connection.connect(settings) as con:
        con.execute(f"attach {connection.quoted(work)} as work (read_only)")
        with connection.transaction(con):
            _merge(con)
    work.unlink()
    rebuilt = ("path:models/predictions", "path:models/reporting", "tag:purchase")
    built = _dbt(settings, "build", "--select", *rebuilt)
    with connection.connect(settings) as con, connection.transaction(con):
        run_records.record_tests(con, built.tests)
        run_records.record_kpis(con)
        run_records.record_files(con, settings)
    progress("updated", 4, 4)
    return {"rows": scored["rows"], "is_full_run": False, "note": note, "shoppers": changed}


def record(settings: Settings) -> None:
    """Record the orders, code and settings behind the scores of a full run."""
    with connection.connect(settings) as con, connection.transaction(con):
        con.execute(
            f"insert into ml.scored_shoppers by name select *, false as is_since_training, "
            f"(select max(batch_id) from ml.predictions) as batch_id, "
            f"? as made_by, ? as made_with from ({_digests(settings)})",
            [_made_by(settings), _made_with(con, settings)],
        )


def _dbt(settings: Settings, *arguments: str) -> dbt.Built:
    """Run dbt for cutoff 0 only; the past cutoffs do not change."""
    return dbt.run(
        settings,
        *arguments,
        *("--vars", "{label_cutoffs: 0}"),
        progress=silent,
    )


def _staged(settings: Settings, entity: str) -> str:
    source = "instacart" if settings.source == "instacart" else "order_log"
    return f"stg_{source}__{entity}"


def _digests(settings: Settings) -> str:
    """Return SQL with one row per shopper: a digest of all their orders."""
    return f"""
        select user_id, sum(hash(orders, items.digest)) as digest
        from {_staged(settings, "orders")} as orders
        left join (
            select
                order_id,
                sum(hash(product_id, cart_position, quantity, sales_value)) as digest
            from {_staged(settings, "order_items")}
            group by order_id
        ) as items on orders.order_id = items.order_id
        group by user_id
    """


def _made_by(settings: Settings) -> str:
    """Return a digest of the code and of the settings that affect scores."""
    digest = hashlib.sha256()
    for place in CODE:
        for path in sorted([place, *place.rglob("*.*")]):
            if path.suffix in (".py", ".sql", ".yml", ".csv"):
                digest.update(path.read_bytes())
    digest.update(json.dumps(versions.libraries()).encode())
    names = ("source", "as_of", "as_of_days", "model", "seed", "training_rows", "parameters")
    digest.update(json.dumps([getattr(settings, name) for name in names]).encode())
    return digest.hexdigest()


def _made_with(con: duckdb.DuckDBPyConnection, settings: Settings, last: str = "") -> str:
    """Return a digest of what all scores share: model, population, catalogue and scoring date."""
    content = [versions.metadata(settings.models)["model_version"], _as_of(con, settings)]
    for table in (*(f"{last}{name}" for name in POPULATION), _staged(settings, "products")):
        content.append(connection.scalar(con, f"select sum(hash(t))::varchar from {table} as t"))
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _last(con: duckdb.DuckDBPyConnection, digest: str, last: str = "") -> str | None:
    """Return a digest from the last run, or None if a single step has scored since."""
    known = "select count(*) from duckdb_tables() where table_name = 'scored_shoppers'"
    if not connection.scalar(con, known):
        return None
    return connection.scalar(
        con,
        f"select max({digest}) from {last}ml.scored_shoppers "
        f"where batch_id = (select max(batch_id) from {last}ml.predictions)",
    )


def _as_of(con: duckdb.DuckDBPyConnection, settings: Settings) -> str:
    """Return the date of cutoff 0; empty if orders have no dates or ``as_of_days`` is set."""
    newest: date | None = connection.scalar(
        con, f"select max(ordered_at)::date from {_staged(settings, 'orders')} where not is_open"
    )
    if settings.as_of or settings.as_of_days or newest is None:
        return settings.as_of
    return (newest + timedelta(days=1)).isoformat()


def _compare(con: duckdb.DuckDBPyConnection, settings: Settings) -> tuple[int, int, int]:
    """Create the tables `digests` and `changed`.

    Returns:
        The number of shoppers, of changed shoppers, and of shoppers changed since training.
    """
    con.execute(f"create table digests as {_digests(settings)}")
    con.execute(
        """
        create table changed as
        select distinct coalesce(new.user_id, old.user_id) as user_id
        from digests as new
        full join last.ml.scored_shoppers as old
            on new.user_id = old.user_id and new.digest = old.digest
        where new.user_id is null or old.user_id is null
        """
    )
    counts = con.execute(
        """
        select
            (select count(*) from digests),
            (select count(*) from changed),
            (
                select count(*) from (
                    select user_id from changed
                    union
                    select user_id from last.ml.scored_shoppers where is_since_training
                )
            )
        """
    ).fetchall()
    return counts[0]


def _prepare(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Copy the population, and reduce the staged orders to those of changed shoppers."""
    for table in POPULATION:
        con.execute(f"create table {table} as from last.{table}")
    orders, items = _staged(settings, "orders"), _staged(settings, "order_items")
    con.execute(
        f"create table kept as "
        f"select * from {orders} where user_id in (select user_id from changed)"
    )
    con.execute(
        f"create table kept_items as "
        f"select * from {items} where order_id in (select order_id from kept)"
    )
    for view, kept in ((orders, "kept"), (items, "kept_items")):
        con.execute(f"drop view {view}")
        con.execute(f"alter table {kept} rename to {view}")


def _merge(con: duckdb.DuckDBPyConnection) -> None:
    """Replace the rows of changed shoppers with their rows in `work`."""
    theirs = "user_id in (select user_id from work.changed)"
    for table in (*OF_SHOPPERS, *AT_CUTOFF_0, "ml.predictions"):
        only = f"{theirs} and cutoff = 0" if table in AT_CUTOFF_0 else theirs
        con.execute(f"delete from {table} where {only}")
        con.execute(f"insert into {table} by name select * from work.{table}")
    # Shoppers who are no longer in the raw files are removed at every cutoff.
    tested = ("test_predictions", "purchase_test_predictions", "purchase_week_test_predictions")
    for table in (*AT_CUTOFF_0, *(f"ml.{name}" for name in tested)):
        con.execute(
            f"delete from {table} where {theirs} "
            "and user_id not in (select user_id from work.digests)"
        )
    con.execute(
        "insert into dim_products by name "
        "select * from work.dim_products anti join dim_products using (product_id)"
    )
    # All published predictions belong to one batch, including the unchanged ones.
    con.execute("update ml.predictions set batch_id = (select batch_id from work.ml.batches)")
    con.execute(
        "insert into ml.batches by name select * replace "
        "((select count(*) from ml.predictions) as rows) from work.ml.batches"
    )
    con.execute(
        """
        create temp table scored as
        select
            new.*,
            coalesce(old.is_since_training, false) or changed.user_id is not null
                as is_since_training,
            (select batch_id from work.ml.batches) as batch_id,
            (select max(made_by) from ml.scored_shoppers) as made_by,
            (select max(made_with) from ml.scored_shoppers) as made_with
        from work.digests as new
        left join ml.scored_shoppers as old on new.user_id = old.user_id
        left join work.changed as changed on new.user_id = changed.user_id
        """
    )
    con.execute("delete from ml.scored_shoppers")
    con.execute("insert into ml.scored_shoppers by name from scored")
