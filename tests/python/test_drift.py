"""Drift is quiet while a shop goes on, and speaks when something goes wrong.

The SQL that dbt compiled runs in memory, on a simulated shop. The profiles and the population are
of one day, and the shop is seen again some weeks later.
"""

import json
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pytest
from conftest import ROOT

from ml.jobs.fetch import fetch
from ml.jobs.task import TASKS
from ml.progress import silent
from ml.settings import Settings
from ml.simulation.events import START, simulate_events
from ml.warehouse import dbt, population, profile
from ml.warehouse.dbt_plugin import define_landed
from ml.warehouse.feature_list import features

pytestmark = pytest.mark.slow

SHOPPERS, PRODUCTS, WEEKS = 400, 1_000, 20
SCORES = {"examples": "pair_decay_5_orders_share", "purchase_examples": "dow_rate"}
"""The feature that stands in for the scores of a model, by the table of examples."""


class Shop:
    """A simulated shop, and the models up to `rpt_drift` on an in-memory database."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings.load(
            source="order_log", raw_dir=folder / "raw", warehouse=folder / "restock.duckdb"
        )
        self.files = folder / "shop"
        simulate_events(self.files, SHOPPERS, products=PRODUCTS, days=7 * WEEKS + 28)
        self.con = duckdb.connect()
        self.con.execute("attach ':memory:' as restock; use restock; create schema ml")
        for name in ("user_id", "order_id", "product_id"):
            self.con.execute(f"create type {name}_type as bigint")
        self.con.execute(
            "create table ml.profiles (model_version varchar, task varchar, feature varchar, "
            "kind varchar, bin integer, low double, high double, row_count bigint, median double)"
        )
        self.con.execute(
            f"create table retrain_rules as from '{ROOT / 'seeds' / 'retrain_rules.csv'}'"
        )
        self.deliver()
        define_landed(self.con, self.settings.landing)
        dbt.run(
            self.settings,
            *("compile", "--select", "+rpt_drift", "--indirect-selection", "empty"),
            # Cutoff 0 does not depend on the number of windows before it.
            *("--vars", "{label_cutoffs: 0, purchase_test_days: 5, purchase_training_days: 5}"),
            progress=silent,
        )
        results = json.loads((self.settings.target / "run_results.json").read_text())["results"]
        # In dbt's build order.
        self.models = {
            result["unique_id"].removeprefix("model.restock."): result["compiled_code"]
            for result in results
            if result["unique_id"].startswith("model.")
        }
        self.kept = folder / "kept"
        self._train()

    def deliver(self, weeks: int = 0, **changes: str) -> None:
        """Land the shop as of some weeks after training; SQL may change what a file has."""
        self.settings.raw_dir.mkdir(exist_ok=True)
        end = f"date '{START}' + {7 * (WEEKS + weeks)}"
        known = {"order_lines": f"ordered_at < {end}", "events": f"received_at < {end}"}
        for name in ("order_lines", "events", "products"):
            rows = f"(from '{self.files}/{name}.parquet' where {known.get(name, 'true')})"
            changed = changes.get(name, "from {rows}").format(rows=rows)
            self.con.execute(f"copy ({changed}) to '{self.settings.raw_dir}/{name}.parquet'")
        fetch(self.settings, silent, accept_drop=True)

    def drifting(self) -> set[str]:
        """Return what is drifting in the shop as it was delivered."""
        self._build({name for name in self.models if name.startswith("stg_")} | {"dim_products"})
        for name in population.TABLES:
            self.con.execute(f"drop table {name}")
        population.read(self.con, self.kept)
        population.renumber_aisles(self.con, self.kept)
        self._build(self.models.keys() - {*population.TABLES, "dim_products"} - self.scored)
        self._score()
        found = self.con.execute("select task, feature from rpt_drift where is_drifting")
        return {f"{task} {feature}" for task, feature in found.fetchall()}

    def _train(self) -> None:
        """Build everything, and keep the population and the profiles."""
        self._build(self.models.keys() - self.scored)
        self.kept.mkdir()
        population.write(self.con, self.kept)
        for task in TASKS.values():
            columns = features(self.settings, task.table.name)
            place = [column.name for column in columns].index(SCORES[task.table.name])
            profile.write(
                self.con, self.kept, task.table, columns, partial(np.take, axis=1, indices=place)
            )
            profile.load(self.con, self.kept, task.name, "trained")

    @property
    def scored(self) -> set[str]:
        """The models that read scores."""
        return {name for name in self.models if name.startswith(("rpt_", "drift_"))} - {
            *("drift_pairs", "drift_moments")
        } | {"fct_predictions", "fct_purchase_propensity", "fct_weekly_propensity"}

    def _build(self, models: Collection[str]) -> None:
        for name, sql in self.models.items():
            if name in models:
                self.con.execute(f"create or replace table main.{name} as {sql}")

    def _score(self) -> None:
        for task in TASKS.values():
            self.con.execute(
                f"""
                create or replace table {task.written("predictions")} as
                select
                    user_id, {task.table.key}, '' as batch_id, 1 as rank, 1 as rank_in_user,
                    1 as decile, true as in_basket, true as is_targeted, false as is_held_out,
                    {SCORES[task.table.name]} as {task.table.outcome}_probability
                from {task.table.name} where {task.parts["now"]}
                """
            )
        self._build(self.scored)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("drift")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESTOCK_HOME", str(folder))
        yield Shop(folder)


def test_nothing_has_moved_on_the_day_of_training(shop: Shop) -> None:
    shop.deliver()
    shop.drifting()
    assert shop.con.execute(
        "select count(distinct task), min(psi), max(psi), bool_or(is_drifting) from rpt_drift"
    ).fetchall() == [(len(TASKS), 0, 0, False)]


def test_drift_is_quiet_from_one_week_to_the_next(shop: Shop) -> None:
    shop.deliver(1)
    assert shop.drifting() == set()
    ((moved,),) = shop.con.execute("select max(psi) from rpt_drift").fetchall()
    assert moved > 0


LARGEST = "(select mode(department) from {rows})"
WRONG = {
    "every time is noon": (
        {
            name: f"select * replace (date_trunc('day', {time}) + interval 12 hours as {time}) "
            "from {rows}"
            for name, time in (("order_lines", "ordered_at"), ("events", "occurred_at"))
        },
        {"hours_since_event", "hours_since_view", "pair_near_hour_share"},
    ),
    "quantities are in thousandths": (
        {"order_lines": "select * replace (1000 * quantity as quantity) from {rows}"},
        {"spend_28_days"},
    ),
    "a department has another name": (
        {
            "products": "select * replace "
            f"(if(department = {LARGEST}, 'other', department) as department) from {{rows}}"
        },
        {"known_aisle"},
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_drift_names_what_went_wrong(shop: Shop, name: str) -> None:
    changes, features = WRONG[name]
    shop.deliver(2, **changes)
    assert {named.split()[1] for named in shop.drifting()} == features


def test_drift_speaks_if_a_tenth_of_the_shoppers_move_to_a_store_with_other_products(
    shop: Shop,
) -> None:
    """A store closed on the day of training. The products have other IDs in the next one."""
    shop.deliver(4)
    before = shop.drifting()
    closed = f"hash(user_id, 1) % 10 = 0 and ordered_at >= date '{START}' + {7 * WEEKS}"
    moved = f"select * replace (if({closed}, product_id + 100000, product_id) as product_id)"
    shop.deliver(4, order_lines=f"{moved} from {{rows}}")
    of_products = {f"reorder product_{name}" for name in ("order_share", "user_share")}
    assert of_products <= shop.drifting() - before
