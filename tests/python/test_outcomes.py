"""Published predictions are graded once, by the order that they were for, and never lost."""

import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
from conftest import TRAINING_ROWS, Place
from days import DELIVERED, LEAVER, NEW_PRODUCT, NEWCOMER

from ml.jobs import score as score_job
from ml.jobs.score import score
from ml.modelling import metrics
from ml.progress import silent
from ml.settings import Settings
from ml.warehouse import outcomes

GRADED = "select * from ml.outcomes order by all"


# --- figures --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_live_figures_are_those_of_the_evaluation(published: Place, place: Place) -> None:
    """The test predictions, graded as if published before the last order, to nine digits."""
    shutil.copy(published.warehouse, place.warehouse)
    with duckdb.connect(str(place.warehouse)) as con:
        con.execute(
            """
            delete from ml.predictions;
            insert into ml.predictions by name
            select
                user_id, product_id, reorder_probability, in_basket,
                row_number() over (
                    partition by user_id order by reorder_probability desc, product_id
                ) as rank_in_user
            from ml.test_predictions;

            create temp table awaited as from ml.awaited_orders;
            delete from ml.awaited_orders;
            insert into ml.awaited_orders
            select awaited.* replace (
                targets.order_number - 1 as last_order_number, 'typical' as context_source
            )
            from awaited inner join targets using (user_id)
            where cutoff = 1 and user_id in (select user_id from ml.test_predictions);

            insert into ml.outcomes by name from graded_orders;
            """
        )
        ((version, orders),) = con.execute(
            "select model_version, order_count from rpt_live_quality"
        ).fetchall()
        live = con.execute("select * from live_quality where week_start_at is null").fetchdf()
        promised = dict(
            con.execute(
                "select metric, value from ml.metrics inner join ml.evaluations using (run_id) "
                "where segment = 'context=typical' and model_version = ?",
                [version],
            ).fetchall()
        )
        users, p, in_basket, bought = (
            np.array(column)
            for column in zip(
                *con.execute(
                    "select user_id, reorder_probability, in_basket, was_bought "
                    "from fct_test_predictions order by user_id, product_id"
                ).fetchall(),
                strict=True,
            )
        )
    row = live.iloc[0]
    offsets = np.append(np.unique(users, return_index=True)[1], len(users))
    figures = metrics.evaluate(p, bought.astype(int), offsets, in_basket=in_basket)
    assert orders == row["order_count"] == len(offsets) - 1 > 20
    for name, metric in {
        "mean_f1{}_share": "mean_f1",
        "precision_at_5{}_share": "precision_at_5",
        "log_loss{}": "log_loss",
    }.items():
        found = [row[name.format(end)] for end in ("", "_low", "_high")]
        assert found[0] == pytest.approx(figures[metric].value, rel=1e-9), metric
        # The bootstrap and the variance of a ratio agree on the interval.
        length = figures[metric].high - figures[metric].low
        assert found[1:] == pytest.approx(figures[metric][1:], abs=length / 8), metric
        ends = [row["promised_" + name.format(end)] for end in ("", "_low", "_high")]
        assert ends == pytest.approx([promised[metric + e] for e in ("", "_low", "_high")]), metric
    assert row["expected_units"] == pytest.approx(p.sum(), rel=1e-7)
    assert row["bought_units"] == bought.sum()
    assert row["bought_low_ratio"] < row["bought_ratio"] < row["bought_high_ratio"]


@pytest.mark.slow
def test_an_update_grades_the_orders_that_came(published: Place, incremented: Place) -> None:
    """Each by the predictions that were published before it; a new shopper had none."""
    assert published.query(GRADED) == []
    columns = (
        "user_id, order_id, model_version, ordered_at, pair_count, bought_units, basket_units, "
        "basket_bought_units, top_5_bought_units"
    )
    graded = incremented.query(f"select {columns} from fct_order_outcomes order by user_id")
    assert len(graded) == DELIVERED
    ((version,),) = published.query("select model_version from ml.batches")
    for user, order, model, at, *counts in graded:
        assert user not in (str(NEWCOMER), str(LEAVER)) and (model, at) == (version, None)
        bought = {
            product
            for (product,) in incremented.query(
                f"select product_id from fct_order_items where order_id = {order}"
            )
        }
        predicted = published.query(
            "select product_id, rank_in_user, in_basket from fct_predictions "
            f"where user_id = {user}"
        )
        basket = {product for product, _, chosen in predicted if chosen}
        top_5 = {product for product, rank, _ in predicted if rank <= 5}
        known = {product for product, _, _ in predicted}
        assert counts == [
            len(s) for s in (known, known & bought, basket, basket & bought, top_5 & bought)
        ]
        assert NEW_PRODUCT not in known
    awaited = incremented.query("select user_id from ml.awaited_orders order by 1")
    assert awaited == incremented.query("select distinct user_id from fct_predictions order by 1")


# --- neither lost nor doubled ---------------------------------------------------------------------


@pytest.mark.slow
def test_scores_grade_an_order_once(
    published: Place, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scoring job that dies changes nothing; one that runs again grades nothing again."""
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    monkeypatch.setenv("DBT_TARGET_PATH", published.environment["DBT_TARGET_PATH"])
    settings = Settings.load(
        source="instacart", warehouse=place.warehouse, training_rows=TRAINING_ROWS
    )
    with duckdb.connect(str(place.warehouse)) as con:
        # An open order is delivered, with the products of the order before.
        con.execute(
            """
            create temp table came as from fct_orders where is_open order by user_id limit 1;
            update fct_orders set is_open = false where order_id in (select order_id from came);
            insert into fct_order_items by name
            select items.* replace (came.order_id as order_id, came.order_number as order_number)
            from fct_order_items as items
            inner join came
                on items.user_id = came.user_id and items.order_number = came.order_number - 1;
            """
        )
        ((arrived,),) = con.execute("select order_id from arrived_orders").fetchall()

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(score_job.connection, "append", die)
        with pytest.raises(KeyboardInterrupt):
            score(settings, silent)
    assert place.query(GRADED) == []
    assert place.query("select order_id from arrived_orders") == [(arrived,)]
    score(settings, silent)
    graded = place.query(GRADED)
    assert [row[0] for row in graded] == [str(arrived)]
    with duckdb.connect(str(place.warehouse)) as con:
        # As if an order had been missing from one delivery, and came again with the next.
        con.execute(
            "update ml.awaited_orders set last_order_number = last_order_number - 1 "
            "where user_id::varchar in (select user_id from ml.outcomes)"
        )
        assert con.execute("select order_id from arrived_orders").fetchall() == [(arrived,)]
        con.execute(outcomes.added("outcomes", "graded_orders"))
    assert place.query(GRADED) == graded


def release(path: Path, source: str = "order_log") -> Path:
    """Write a warehouse with nothing but outcomes and what they need."""
    with duckdb.connect(str(path)) as con:
        con.execute(
            """
            create schema ml;
            create table ml.deliveries (source varchar, recorded_at timestamp);
            create table ml.outcomes (order_id varchar, user_id varchar, batch_id varchar);
            create table ml.purchase_outcomes (cutoff_at timestamp, batch_id varchar);
            create table ml.demand_outcomes (cutoff_at timestamp, name varchar);
            create table dim_users (user_id bigint);
            insert into dim_users values (1), (2);
            """
        )
        con.execute("insert into ml.deliveries values (?, '2024-01-01')", [source])
    return path


def test_a_run_after_a_rollback_keeps_what_was_graded_since(tmp_path: Path) -> None:
    """What the older release grades again counts, and nothing twice; shopper 9 is forgotten."""
    new, taken = release(tmp_path / "new.duckdb"), release(tmp_path / "taken.duckdb")
    other = release(tmp_path / "other.duckdb", source="instacart")
    older = tmp_path / "older.duckdb"
    with duckdb.connect(str(older)) as con:
        con.execute(
            "create schema ml; create table ml.deliveries as select 'order_log' as source, "
            "now()::timestamp as recorded_at"
        )
    with duckdb.connect(str(taken)) as con:
        con.execute(
            """
            insert into ml.outcomes values
                ('o1', '1', 'b1'), ('o2', '1', 'b2'), ('o3', '2', 'b2'), ('o4', '9', 'b2');
            insert into ml.purchase_outcomes values ('2024-01-01', 'b1'), ('2024-01-02', 'b2');
            insert into ml.demand_outcomes values
                ('2024-01-01', 'milk'), ('2024-01-02', 'milk'), ('2024-01-02', 'bread');
            """
        )
    with duckdb.connect(str(other)) as con:
        con.execute("insert into ml.outcomes values ('o9', '1', 'b9')")
    with duckdb.connect(str(new)) as con:
        con.execute(
            """
            insert into ml.outcomes values ('o1', '1', 'again');
            insert into ml.purchase_outcomes values ('2024-01-01', 'again');
            insert into ml.demand_outcomes values ('2024-01-01', 'milk again');
            """
        )
        for _ in range(2):
            outcomes.complete(con, "order_log", [taken, other, older])
            rows = con.execute("select order_id, batch_id from ml.outcomes order by 1").fetchall()
            assert rows == [("o1", "again"), ("o2", "b2"), ("o3", "b2")]
            rows = con.execute("select batch_id from ml.purchase_outcomes order by all").fetchall()
            assert rows == [("again",), ("b2",)]
            rows = con.execute("select name from ml.demand_outcomes order by all").fetchall()
            assert rows == [("bread",), ("milk",), ("milk again",)]
