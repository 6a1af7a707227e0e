"""`restock run` and its steps, end to end through the real command line."""

import json
import shutil
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from conftest import ROOT, Place, needs_shared_data
from scipy.stats import spearmanr

from ml.jobs.score import score
from ml.progress import silent
from ml.serving.index import Index
from ml.sources.raw import parquet, quoted

pytestmark = pytest.mark.slow

SAME = """
    select user_id, product_id, reorder_probability, rank_in_user, in_basket
    from fct_predictions order by user_id, product_id
"""
RANKS_HAVE_TIES_OR_HOLES = """
    select user_id from fct_predictions group by user_id
    having min(rank_in_user) <> 1 or max(rank_in_user) <> count(*)
        or count(distinct rank_in_user) <> count(*)
"""
AUC_BY_MODEL = "select model_name, auc from rpt_model_comparison where model_name <> 'ceiling'"


def model_beats_every_baseline(place: Place) -> bool:
    auc = dict(place.query(AUC_BY_MODEL))
    return auc.pop("gradient_boosting") > max(auc.values())


def test_every_pair_is_scored_once(published: Place, instacart_files: Path) -> None:
    missing = published.query(
        f"""
        with bought as (
            select distinct orders.user_id, lines.product_id
            from read_csv('{instacart_files}/order_products__*.csv') as lines
            inner join read_csv('{instacart_files}/orders.csv') as orders using (order_id)
        )
        select count(*) from bought
        full outer join fct_predictions as scored using (user_id, product_id)
        where bought.user_id is null or scored.user_id is null
        """
    )
    assert missing == [(0,)]
    assert published.query(RANKS_HAVE_TIES_OR_HOLES) == []


def test_context_is_open_for_shoppers_with_an_open_order(
    published: Place, instacart_files: Path
) -> None:
    wrong = published.query(
        f"""
        select targets.user_id from targets
        left join read_csv('{instacart_files}/orders.csv') as orders
            on targets.user_id = orders.user_id and orders.eval_set = 'test'
        where targets.cutoff = 0
            and targets.context_source
                <> case when orders.order_id is null then 'typical' else 'open' end
        """
    )
    assert wrong == []


def test_model_beats_every_baseline(published: Place) -> None:
    assert model_beats_every_baseline(published)


def test_each_shopper_is_in_one_split(published: Place) -> None:
    assert (
        published.query(
            "select user_id from targets group by user_id having count(distinct split) > 1"
        )
        == []
    )
    shares = dict(
        published.query("select split, count(*) / 300 from targets where cutoff = 0 group by split")
    )
    assert shares["test"] == pytest.approx(0.2, abs=0.08)
    assert shares["validation"] == pytest.approx(0.1, abs=0.03)


def test_batch_model_and_page_come_from_one_run(published: Place) -> None:
    ((batch, version),) = published.query(
        "select batch_id, model_version from ml.batches order by started_at desc limit 1"
    )
    assert published.query("select distinct batch_id from fct_predictions") == [(batch,)]
    card = json.loads((published.model / "model.json").read_text())
    assert card["model_version"] == version
    assert card["metrics"]["auc"] > 0.5
    page = (published.folder / "pages/index.html").read_text()
    assert batch in page


def test_pages_count_every_pair_and_shopper_once(published: Place) -> None:
    ((pairs, shoppers),) = published.query(
        "select count(*), count(distinct user_id) from fct_predictions"
    )
    for table in ("score_summary", "score_distribution", "history_lengths"):
        assert published.query(f"select sum(pair_count) from rpt_{table}") == [(pairs,)], table
    assert published.query("select sum(shopper_count) from rpt_shopper_segments") == [(shoppers,)]
    ((tested, bought),) = published.query(
        "select count(*), sum(label::int) from examples where cutoff = 1 and split = 'test'"
    )
    assert published.query("select pair_count, bought_units from rpt_test_summary") == [
        (tested, bought)
    ]
    assert published.query("select sum(pair_count) from rpt_reliability") == [(tested,)]
    ((returns, test_returns),) = published.query(
        "select (select count(past_return_share) from fct_aisle_returns), count(*) "
        "from fct_test_aisle_returns"
    )
    assert published.query(
        "select sum(shopper_count), sum(test_shopper_count) from rpt_aisles"
    ) == [(returns, test_returns)]
    ((orders,),) = published.query("select count(*) from fct_orders")
    for grain in ("hour", "weekday", "weekday and hour"):
        where = f"from rpt_order_times where grain = '{grain}'"
        counted = published.query(f"select sum(pair_count), sum(order_count) {where}")
        assert counted == [(tested, orders)], grain


# Shoppers without their ten likeliest products, or all if they bought fewer, each with a reason.
WITHOUT_RECOMMENDATIONS = """
    select user_id
    from (select user_id, least(count(*), 10) as wanted from fct_predictions group by user_id)
    left join (
        select user_id, count(*) as given, max(rank_in_user) as last
        from fct_recommendations where reason <> '' group by user_id
    ) using (user_id)
    where (wanted, wanted) is distinct from (given, last)
"""
REASONS = "select count(*) from fct_recommendations where reason like"


def test_every_shopper_has_recommendations_with_a_reason(published: Place) -> None:
    assert published.query(WITHOUT_RECOMMENDATIONS) == []
    assert published.query(f"{REASONS} '%none%' or reason like '% day%'") == [(0,)]
    assert published.query(f"{REASONS} 'due: every % orders, last bought % orders ago'") > [(100,)]
    assert published.query(
        "select count(*) from fct_baskets full join fct_recommendations as likeliest "
        "using (user_id, product_id) where fct_baskets.reason <> likeliest.reason"
    ) == [(0,)]


def test_raw_row_counts_and_test_results_are_recorded(
    published: Place, instacart_files: Path
) -> None:
    rows = {
        path.name: len(path.read_text().splitlines()) - 1 for path in instacart_files.glob("*.csv")
    }
    assert dict(published.query("select file_name, row_count from rpt_raw_files")) == rows
    for model in ("examples", "fct_predictions", "rpt_aisles"):
        tests = f"select count(*) > 0 from rpt_test_results where model_name = '{model}'"
        assert published.query(tests) == [(True,)], model
    assert published.query("select distinct status from rpt_test_results") == [("pass",)]


def test_a_second_full_run_repeats_predictions_keeps_history_and_disturbs_no_reader(
    published: Place, published_twice: Place
) -> None:
    summary = json.loads((published_twice.folder / "summary.json").read_text())
    assert published_twice.query(SAME) == published.query(SAME)
    assert published_twice.query("select count(*) from ml.batches") == [(2,)]
    assert published_twice.query("select count(*) from ml.verdicts") == [(2,)]
    # The same figures again, of another batch.
    of_first = published.query("select kpi, value, value_text from rpt_history order by kpi")
    for rows in ("previous_value, previous_value_text", "value, value_text"):
        changes = f"select kpi, {rows} from rpt_kpi_changes order by kpi"
        assert published_twice.query(changes) == of_first
    assert list(summary) == [
        *(
            "fetch",
            "update",
            "build",
            "train",
            "gate",
            "evaluate",
            "score",
            "audit",
            "index",
            "report",
        )
    ]
    assert summary["score"]["rows"] == len(published_twice.query(SAME))
    assert len(list(published_twice.folder.glob("*.releases/*"))) == 2


def test_batch_size_does_not_change_predictions(published: Place, place: Place) -> None:
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    score(place.settings(batch_rows=1000), silent)
    assert place.query("select count(*) from ml.batches") == [(2,)]
    assert place.query(SAME) == published.query(SAME)


def test_single_steps_work_on_the_published_warehouse(
    published: Place, place: Place, instacart_files: Path
) -> None:
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    arguments = ("--source", "instacart", "--raw-dir", instacart_files)
    for model in ("gradient_boosting", "logistic_regression"):  # the published one, and another
        candidate = place.restock("train", *arguments, "--model", model)["train"]["model"]
        if model == "logistic_regression":
            # A candidate is measured beside the published tables, which stay as they are.
            place.restock("evaluate", *arguments, "--model", candidate)
        serving = place.model.resolve().name
        assert serving != candidate
        assert place.restock("status")["models"][0]["model_version"] == serving
        place.restock("promote", candidate)
    place.restock("score", *arguments)
    indexed = Index((place.warehouse.resolve().parent / "index").resolve()).batches["reorder"]
    assert indexed and indexed.model_version == candidate
    status = place.restock("status")
    assert status["published"]["models"] == {"production": candidate}
    assert status["waiting"] == []
    refused = place.call("restock", "report", *arguments)
    assert refused.returncode == 1 and "Run `restock evaluate` first" in refused.stderr
    place.restock("evaluate", *arguments)
    place.restock("report", *arguments)
    assert place.query("select distinct model_name from rpt_score_summary") == [
        ("logistic_regression",)
    ]
    assert (place.folder / "pages/index.html").exists()


def test_plain_dbt_builds_runs_and_tests_from_the_raw_files(
    place: Place, instacart_files: Path
) -> None:
    """It needs no setup step and no trained model; the tables of the schema `ml` are empty."""
    source = {"RESTOCK_SOURCE": "instacart", "RESTOCK_RAW_DIR": str(instacart_files)}

    def dbt(*words: str, code: int = 0) -> list[dict[str, Any]]:
        done = place.call("dbt", *words, **source)
        assert done.returncode == code, done.stdout
        return json.loads((place.target / "run_results.json").read_text())["results"]

    assert sum(result["unique_id"].startswith("unit_test.") for result in dbt("build")) > 10
    assert place.query("select count(*) from fct_predictions") == [(0,)]
    assert place.query("select count(*) > 0 from examples") == [(True,)]

    # `dbt run` loads no seeds, so a hook loads those whose table is missing.
    bands = "select * from risk_bands order by min_return_ratio"
    seeded = place.query(bands)
    with duckdb.connect(str(place.warehouse)) as con:
        for seed in (ROOT / "seeds").glob("*.csv"):
            con.execute(f"drop table {seed.stem}")
    dbt("run")
    dbt("test", "--exclude-resource-type", "unit_test")
    assert place.query(bands) == seeded != []

    with duckdb.connect(str(place.warehouse)) as con:
        con.execute("insert into feat_users from feat_users limit 1")
        con.execute("insert into dim_users by name select null as user_id")
        # The last line again: in the order of the key, but not once.
        con.execute(
            "insert into fct_order_items from fct_order_items "
            "order by user_id desc, product_id desc, order_number desc limit 1"
        )
    damaged = ("feat_users", "dim_users", "fct_order_items")
    results = dbt("test", "--select", *damaged, "fct_orders", code=1)
    failed = {r["unique_id"].split(".")[2] for r in results if r["status"] == "fail"}
    assert failed >= {"unique_key_feat_users_cutoff__user_id", "unique_key_dim_users_user_id"}
    assert len(failed) == len(damaged) and any("fct_order_items" in name for name in failed)


def test_report_watch_redraws_until_interrupted(published: Place, place: Place) -> None:
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    watching = subprocess.Popen(
        [Path(sys.executable).with_name("restock"), "report", "--watch"],
        cwd=ROOT, env=place.environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watching.stderr
    drawn = (line for line in watching.stderr if "✓ report" in line)
    next(drawn)
    page = place.folder / "pages/index.html"
    page.unlink()
    place.warehouse.touch()
    next(drawn)
    assert page.exists()
    watching.send_signal(signal.SIGINT)
    assert watching.wait(30) == 0
    assert "Aborted" not in watching.stderr.read()


def test_runs_on_an_order_log_with_text_ids_and_plain_dates(
    place: Place, instacart_files: Path
) -> None:
    """The log has no products file. The default source covers integer ids and timestamps.

    The paths contain folders such as `user_id=7`, which must not be read as Hive partitions. The
    run replaces the warehouse of a plain dbt and an empty folder for the pages.
    """
    place = Place(place.folder / "user_id=7, it's")
    raw = place.folder / "ordered_at=2024-03-01" / "raw"
    raw.mkdir(parents=True)
    query = f"""
        select
            'id-' || o.user_id as user_id,
            'id-' || o.order_id as order_id,
            cast('2024-01-01' as date) + cast(o.order_number * 7 + o.user_id % 7 as integer)
                as ordered_at,
            'id-' || p.product_id as product_id
        from read_csv('{instacart_files}/orders.csv') as o
        inner join read_csv('{instacart_files}/order_products__prior.csv') as p using (order_id)
        where o.user_id <= 120
    """
    duckdb.execute(f"copy ({query}) to {quoted(raw / 'order_lines.parquet')}")
    ((pairs,),) = duckdb.execute(
        f"select count(distinct (user_id, product_id)) from {parquet(raw / 'order_lines.parquet')}"
    ).fetchall()
    source = {"RESTOCK_SOURCE": "order_log", "RESTOCK_RAW_DIR": str(raw)}
    place.call("dbt", "run", "--select", "+fct_orders", **source).check_returncode()
    assert not place.warehouse.is_symlink()
    (place.folder / "pages").mkdir()
    place.restock("run", "--raw-dir", raw)
    assert place.warehouse.is_symlink()
    assert place.query("select count(*) from fct_predictions") == [(pairs,)]
    assert place.query("select distinct context_source from targets where cutoff = 0") == [
        ("as_of",)
    ]
    assert place.query("select distinct typeof(user_id) from fct_predictions") == [("VARCHAR",)]
    assert place.query("select count(*) from dim_products where not is_in_catalogue") == (
        place.query("select count(*) from dim_products")
    )
    assert place.query("select count(distinct ordered_at) > 20 from fct_orders") == [(True,)]
    said = (place.folder / "pages" / "when.html").read_text()
    assert "Busiest weekday" in said and "Busiest hour" not in said


def test_complete_journey(complete_journey: Place) -> None:
    assert complete_journey.query("select count(*) from fct_predictions") == [(863_378,)]
    assert complete_journey.query(RANKS_HAVE_TIES_OR_HOLES) == []
    assert complete_journey.query(
        "select distinct context_source from targets where cutoff = 0"
    ) == [("as_of",)]
    # The stores' clock, not UTC. The default scoring date is 2018-01-01, a Monday, one day after
    # the newest order.
    assert complete_journey.query("select min(ordered_at), max(ordered_at) from fct_orders") == [
        (datetime(2017, 1, 1, 6, 53, 26), datetime(2017, 12, 31, 23, 1, 20))
    ]
    assert complete_journey.query("select reason, line_count from rpt_left_out") == [
        ("with a quantity of 0", 8_869)
    ]
    # Fuel is in thousandths of a gallon in the package, and a line of it counts as one unit.
    # The views of staging name the folder of the run, which the fixture has renamed.
    landed = parquet(complete_journey.folder / "restock.duckdb.landing" / "order_lines.parquet")
    assert complete_journey.query(
        f"select max(quantity) from {landed} where product_id in "
        "(select product_id from dim_products where product_name like 'Gasoline%')"
    ) == [(1,)]
    assert complete_journey.query(
        "select distinct order_dow, min(days_since_prior_order) from targets where cutoff = 0 "
        "group by order_dow"
    ) == [(1, 1)]
    assert model_beats_every_baseline(complete_journey)
    assert complete_journey.query(WITHOUT_RECOMMENDATIONS) == []
    assert complete_journey.query(f"{REASONS} 'due: every % days, last bought %'") > [(1000,)]


def test_aisle_returns_agree_with_what_came(complete_journey: Place) -> None:
    """Over test shoppers. docs/evaluation.md has the figures of a model from all training rows."""
    returns = complete_journey.query(
        "select test_shopper_count, test_expected_returns, test_observed_returns, "
        "test_observed_returns between test_low_returns and test_high_returns from rpt_aisles "
        "where test_shopper_count > 0"
    )
    shoppers, expected, observed, is_within = np.array(returns).T
    assert is_within[shoppers >= 50].mean() >= 0.9
    many = shoppers >= 100
    assert spearmanr(*(part[many] / shoppers[many] for part in (expected, observed)))[0] > 0.8
    ((independent,),) = complete_journey.query(
        "select sum(probability) from (select 1 - exp(sum(ln(1 - reorder_probability))) as "
        "probability from fct_test_predictions join dim_products using (product_id) "
        "group by user_id, aisle_id)"
    )
    assert 0.95 < expected.sum() / observed.sum() < 0.95 * independent / observed.sum()


def test_few_aisles_are_marked_low(complete_journey: Place) -> None:
    ((low, ranked),) = complete_journey.query(
        "select count(case when band = 'low' then 1 end), count(risk_rank) from rpt_aisles"
    )
    assert 5 <= low <= 25 and ranked > 250


@needs_shared_data
def test_instacart_sample(instacart_sample: Place) -> None:
    assert instacart_sample.query(
        "select count(*), count(distinct user_id) from fct_predictions"
    ) == [(114_782, 1_596)]
    assert instacart_sample.query(RANKS_HAVE_TIES_OR_HOLES) == []
    assert dict(
        instacart_sample.query(
            "select context_source, count(*) from targets where cutoff = 0 group by 1"
        )
    ) == {"open": 1_035, "typical": 561}
    assert model_beats_every_baseline(instacart_sample)
