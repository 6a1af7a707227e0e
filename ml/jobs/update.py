"""The update job: rebuilds and scores only the shoppers whose orders have changed.

Features depend on the shopper's own orders and on the *population*, the tables that sum over all
shoppers. The population belongs to the model version and stays as it was at training. So shoppers
whose orders have not changed keep their features and scores. The others get the rows that a full
build with this model and population would give them.

If the scoring date, the catalogue or something else that all scores share has changed, the job
rebuilds and scores everyone in the same way. If a rule of `rpt_retrain_rules` fires, or the code or
a setting has changed, it asks for a full run, which trains a challenger.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb

from ml import sources
from ml.errors import RestockError
from ml.jobs import comparison, retraining
from ml.jobs.score import score
from ml.progress import Progress, silent
from ml.registry import decisions, versions
from ml.settings import Settings
from ml.warehouse import connection, dbt, outcomes, population, run_records
from ml.warehouse.feature_list import SEQUENCES

# Models with rows per shopper. Where these have cutoffs, an update replaces cutoff 0 only, because
# the model was trained and evaluated on the others.
OF_SHOPPERS = ("fct_orders", "fct_order_items", "dim_users")
AT_CUTOFF_0 = ("targets", "pair_totals", "user_aisle_totals", "feat_users", "feat_promotions")
OF_SCORES = ("ml.predictions", "ml.discoveries")
OF_OUTCOMES = ("ml.outcomes", "ml.awaited_orders")


def update(
    settings: Settings, progress: Progress, *, published: Path, kept_because: str = ""
) -> dict[str, Any]:
    """Build a new warehouse from the published one and the newly landed files.

    Args:
        settings: the settings of the new release, with the published models.
        progress: called with the progress.
        published: the path of the published warehouse.
        kept_because: why the production model must stay, whatever has changed; empty if a full run
            may train another.

    Returns:
        ``rows`` scored, a ``note`` for the user, and ``is_full_run``. If ``is_full_run`` is true,
        ``rules`` names those that ask for a challenger, and the new warehouse is incomplete.
        Otherwise ``shoppers`` has the number of scored shoppers, and ``has_changes`` says whether
        the new warehouse is more than a copy of the published one: new events change the purchase
        tables without new orders.

    Raises:
        RestockError: a model or a test failed, or the model must stay and cannot score these
            orders.
    """
    reason = ""
    model = versions.production(settings.models)
    made_by = comparison.made_by(settings)
    last = replace(settings, warehouse=published)
    with connection.connect(last, read_only=True) as con:
        if comparison.recorded(con, "made_by") != made_by or not model.exists():
            reason = "the code or the settings changed, or a single step ran since the last run"
    if reason and not kept_because:
        return _full_run([decisions.CODE_CHANGED], reason)
    is_same_code = not reason
    _reject_other_source(settings, kept_because)
    # If the model stays, the last release may be of an earlier Restock, without the rules.
    rules = () if kept_because else ("rpt_retrain_rules",)
    if rules:
        retraining.read_last(settings, last)
    # All dbt commands here use one warehouse path, because dbt parses again when it changes.
    progress("comparing", 0, 4)
    _dbt(settings, "run", "--select", "path:models/staging", *rules)
    with connection.connect(settings) as con:
        con.execute(f"attach {connection.quoted(published)} as last (read_only)")
        calendar = comparison.as_of(con, settings)
        made_with = comparison.made_with(con, settings, "last.")
        if not reason and comparison.recorded(con, "made_with", "last.") != made_with:
            reason = (
                "the catalogue, promotions, the scoring date, the model or the warehouse changed"
            )
        shoppers, changed, since_training = comparison.compare(con, settings, everyone=bool(reason))
        found = retraining.compare(settings, last, shoppers=shoppers, changed=since_training)
        if rules and (fired := retraining.fired(con, found, decisions.read(last))):
            return _full_run([each.rule for each in fired], ", ".join(map(str, fired)))
        note = f"{changed:,} of {shoppers:,} shoppers have new or changed orders"
        if reason:
            note += f"; all are scored, because {reason}"
        if kept_because:
            note += f"; the model stays: {kept_because}"
        population.read(con, model)
        if not reason:
            _reduce(con, settings)
    if changed == 0 and not reason:
        shutil.copyfile(published, settings.warehouse)
        if has_changes := _has_other_events(settings, published):
            note += ", but there are other events"
            _rebuild(settings, reason, found, is_same_code=is_same_code)
        return {
            "rows": 0,
            "is_full_run": False,
            "shoppers": 0,
            "has_changes": has_changes,
            "note": note,
        }
    progress("building", 1, 4)
    _dbt(
        replace(settings, as_of=calendar),
        *("build", "--select", "+examples", SEQUENCES, "dim_users", "tag:grading"),
        *("--exclude", "tag:population", "path:models/staging", "tag:grading,test_type:data"),
    )
    progress("scoring", 2, 4)
    with connection.connect(settings) as con:
        population.renumber_aisles(con, model)
        if reason:
            made_with = comparison.made_with(con, settings)
        con.execute(f"attach {connection.quoted(published)} as last (read_only)")
        outcomes.bring_predictions(con, "last")
    scored = score(settings, silent)
    progress("publishing", 3, 4)
    work = settings.warehouse.rename(settings.warehouse.with_name("changed.duckdb"))
    shutil.copyfile(published, settings.warehouse)
    with connection.connect(settings) as con:
        con.execute(f"attach {connection.quoted(work)} as work (read_only)")
        with connection.transaction(con):
            _merge(con, everyone=bool(reason))
            con.execute(
                "update ml.scored_shoppers set made_by = ?, made_with = ?", [made_by, made_with]
            )
    work.unlink()
    _rebuild(settings, reason, found, is_same_code=is_same_code)
    progress("updated", 4, 4)
    return {
        "rows": scored["rows"],
        "is_full_run": False,
        "shoppers": shoppers if reason else changed,
        "has_changes": True,
        "note": note,
    }


def _has_other_events(settings: Settings, published: Path) -> bool:
    """Return whether the landed events differ in number or days from the published ones."""
    before = run_records.last_delivery(replace(settings, warehouse=published), settings.source)
    now = sources.delivery(settings.landing)
    days = ("event_count", "oldest_event", "newest_event")
    return any(getattr(before, name, None) != getattr(now, name) for name in days)


def _rebuild(
    settings: Settings, reason: str, found: retraining.Comparison, *, is_same_code: bool
) -> None:
    """Build and record what depends on the merged scores, and the purchase tables.

    With the same code, of the purchase tables only the days with other orders or events are made
    anew, and the rows at cutoff 0.
    """
    # The staging views are made again, because a workspace that was moved lands files elsewhere.
    _dbt(settings, "run", "--select", "path:models/staging")
    day = None
    if is_same_code:
        with connection.connect(settings, read_only=True) as con:
            day = run_records.first_changed_day(con, settings)
    places = ("predictions", "monitoring", "reporting")
    # A user may have edited the seed of the rules.
    rebuilt = [*(f"path:models/{place}" for place in places), "tag:purchase", "retrain_rules"]
    # The intake has checked what staging tests.
    left_out = ["path:models/staging"]
    if reason:  # the code of any view may have changed
        rebuilt.append("config.materialized:view")
    else:  # views that the copied release has, and that only a scoring job reads
        left_out.append("tag:grading")
    built = _dbt(
        settings,
        *("build", "--select", *rebuilt, "--exclude", *left_out),
        rebuild_from=f"{day or ''}",
    )
    with connection.connect(settings) as con, connection.transaction(con):
        run_records.record_tests(con, built.tests)
        run_records.record_kpis(con)
        run_records.record_files(con, settings)
        found.write(con)


def record(settings: Settings) -> None:
    """Record the orders, code and settings behind the scores of a full run."""
    with connection.connect(settings) as con, connection.transaction(con):
        con.execute(
            f"insert into ml.scored_shoppers by name select *, false as is_since_training, "
            f"(select max(batch_id) from ml.predictions) as batch_id, "
            f"? as made_by, ? as made_with from ({comparison.digests(settings)})",
            [comparison.made_by(settings), comparison.made_with(con, settings)],
        )
    retraining.count_from_now(settings)


def _full_run(rules: list[str], reason: str) -> dict[str, Any]:
    return {"rows": 0, "is_full_run": True, "rules": rules, "note": f"full run: {reason}"}


def _reject_other_source(settings: Settings, kept_because: str) -> None:
    trained = versions.metadata(settings.models)["source"]
    if trained != settings.source:
        raise RestockError(
            f"the model learned from {trained}, and these are orders of {settings.source}, but the "
            f"model stays: {kept_because}. Run `restock promote`, then `restock run --full`."
        )


def _dbt(settings: Settings, *arguments: str, rebuild_from: str = "") -> dbt.Built:
    """Run dbt for cutoff 0 only; the past cutoffs do not change."""
    variables = json.dumps({"label_cutoffs": 0, "rebuild_from": rebuild_from})
    return dbt.run(settings, *arguments, "--vars", variables, progress=silent)


def _reduce(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Reduce the staged orders to those of changed shoppers."""
    orders, items = (
        comparison.staged(settings, "orders"),
        comparison.staged(settings, "order_items"),
    )
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


def _merge(con: duckdb.DuckDBPyConnection, *, everyone: bool) -> None:
    """Replace the rows of changed shoppers with their rows in `work`."""
    theirs = "user_id in (select user_id from work.changed)"
    for table in (*OF_SCORES, *OF_OUTCOMES):  # an earlier Restock may have published the warehouse
        con.execute(f"create table if not exists {table} as from work.{table} limit 0")
    con.execute(outcomes.added("outcomes", "work.ml.outcomes"))
    for table in (*OF_SHOPPERS, *AT_CUTOFF_0, *OF_SCORES, "ml.awaited_orders"):
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
    if everyone:  # what their scores share may have changed
        con.execute(
            "delete from dim_products "
            "where product_id in (select product_id from work.dim_products)"
        )
        for table in population.TABLES:
            con.execute(f"delete {population.scored_with(table)}")
            con.execute(f"insert into {table} by name from work.{table}")
    con.execute(
        "insert into dim_products by name "
        "select * from work.dim_products anti join dim_products using (product_id)"
    )
    con.execute("delete from fct_promotions")
    con.execute("insert into fct_promotions by name select * from work.fct_promotions")
    con.execute("delete from ml.profiles where task in (select task from work.ml.profiles)")
    con.execute("insert into ml.profiles by name select * from work.ml.profiles")
    # All published predictions belong to one batch, including the unchanged ones.
    for table in OF_SCORES:
        con.execute(f"update {table} set batch_id = (select batch_id from work.ml.batches)")
    con.execute(
        "insert into ml.batches by name select * replace "
        "((select count(*) from ml.predictions) as rows) from work.ml.batches"
    )
    con.execute(
        """
        create temp table scored as
        select
            new.*,
            coalesce(old.is_since_training, false) or coalesce(changed.has_other_orders, false)
                as is_since_training,
            (select batch_id from work.ml.batches) as batch_id
        from work.digests as new
        left join ml.scored_shoppers as old on new.user_id = old.user_id
        left join work.changed as changed on new.user_id = changed.user_id
        """
    )
    con.execute("delete from ml.scored_shoppers")
    con.execute("insert into ml.scored_shoppers by name from scored")
