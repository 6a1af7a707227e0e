"""The purchase task from raw files to the list, on a made-up shop with known probabilities."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from conftest import Once, Place

from ml.modelling.estimators import ESTIMATORS
from ml.modelling.purchase_list import is_held_out
from ml.simulation.events import simulate_events

pytestmark = pytest.mark.slow

SHOPPERS, DAYS = 1_500, 120
JOBS = ("train", "evaluate", "score")


def options(place: Place) -> tuple[str, ...]:
    return "--source", "order_log", "--raw-dir", str(place.folder / "raw")


def card_folder(place: Place, task: str = "purchase") -> Path:
    return place.model.with_name(f"production-{task}")


def card(place: Place, task: str = "purchase") -> dict[str, Any]:
    return json.loads((card_folder(place, task) / "model.json").read_text())


@pytest.fixture(scope="session")
def web_shop(once: Once) -> Place:
    """The place of the purchase task on a simulated shop. Tests must not change it."""

    def make(folder: Path) -> None:
        simulate_events(folder / "raw", SHOPPERS, days=DAYS)
        place = Place(folder)
        place.restock("build", *options(place))
        for job in JOBS:  # training uses every moment
            place.restock(
                job, "--task", "purchase", *options(place), RESTOCK_TRAINING_ROWS="1000000"
            )

    return Place(once("web_shop", make))


def test_nobody_beats_the_truth(web_shop: Place) -> None:
    """A forecast with a lower log-loss than the truth, by more than chance, knows the future."""
    ((shoppers, errors),) = web_shop.query(
        f"""
        with losses as (
            select
                user_id,
                sum(case when bought then ln(probability / purchase_probability)
                    else ln((1 - probability) / (1 - purchase_probability)) end) as excess
            from '{web_shop.folder}/raw/true_probabilities.parquet'
            inner join ml.purchase_test_predictions using (user_id, cutoff_at)
            where probability > 0  -- robots never buy
            group by user_id
        )
        select count(*), sum(excess) / sqrt(sum(excess * excess)) from losses
        """
    )
    assert shoppers > SHOPPERS / 3
    assert errors > -3


def test_the_label_is_the_outcome_that_the_simulator_wrote(web_shop: Place) -> None:
    """A window of 7 days has a purchase if one of its days has."""
    assert web_shop.query(
        f"""
        with windows as (
            select
                horizon_days, count(*) as days, any_value(label) as label, max(bought) as bought
            from purchase_examples
            inner join '{web_shop.folder}/raw/true_probabilities.parquet' as truth
                on truth.user_id = purchase_examples.user_id
                and truth.cutoff_at >= purchase_examples.cutoff_at
                and truth.cutoff_at < window_end_at
            where cutoff > 0
            group by horizon_days, cutoff, purchase_examples.user_id
        )
        select horizon_days, count(*) > 7000, count(*) filter (label <> bought)
        from windows where days = horizon_days group by horizon_days order by horizon_days
        """
    ) == [(1, True, 0), (7, True, 0)]


def figures(place: Place, task: str = "purchase") -> dict[str, dict[str, float]]:
    """The figures of the model and of each baseline, over all test moments."""
    found: dict[str, dict[str, float]] = {}
    for model, metric, value in place.query(
        f"select model_name, metric, value from ml.{task}_metrics where segment = 'all'"
    ):
        found.setdefault(model, {})[metric] = value
    return found


def test_the_probabilities_are_calibrated(web_shop: Place) -> None:
    """The shop has few buyers, so the model is hardly better than the baselines."""
    found = figures(web_shop)
    assert set(found) == {
        *("gradient_boosting", "base_rate", "own_rate", "weekday_rate", "bg_nbd"),
        *("recency", "intent_score"),
    }
    assert found["gradient_boosting"]["log_loss"] < found["base_rate"]["log_loss"]
    # Chance alone makes about 0.004 in 20 bins of 780 moments, of which 2.3% have a purchase.
    assert found["gradient_boosting"]["expected_calibration_error"] < 0.01


def test_the_complete_journey_reaches_its_bars(complete_journey: Place) -> None:
    """Figures are of the last 28 days of 2017, with fewer training moments than by default."""
    found = figures(complete_journey)
    model = found.pop("gradient_boosting")
    assert model["auc"] > 0.77 and model["average_precision"] > 0.376
    assert model["log_loss"] < 0.344 and model["expected_calibration_error"] < 0.01
    assert model["lift_top_tenth"] > 3.05
    assert 0.94 < model["list_recall"] < 0.96 and model["list_worst_day_recall"] > 0.92
    assert model["list_size_share"] < 0.77
    assert model["auc"] > max(baseline["auc"] for baseline in found.values())
    assert_better(complete_journey, "purchase")


def assert_better(place: Place, task: str) -> None:
    """The model is better than the best baseline, by more than chance."""
    paired = dict(
        place.query(f"select metric, value from ml.{task}_metrics where segment like 'over=%'")
    )
    assert paired["auc_low"] > 0 and paired["average_precision_low"] > 0
    assert paired["log_loss_high"] < 0


def test_the_weeks_of_the_complete_journey_reach_their_bars(complete_journey: Place) -> None:
    """Figures are of the last four whole weeks of the log."""
    model = figures(complete_journey, "purchase_week")["gradient_boosting"]
    assert model["auc"] > 0.828 and model["average_precision"] > 0.852
    assert model["log_loss"] < 0.507 and model["expected_calibration_error"] < 0.025
    assert 0.94 < model["list_recall"] < 0.96
    assert abs(model["mean_predicted"] - model["mean_observed"]) < 0.02
    assert_better(complete_journey, "purchase_week")
    assert complete_journey.query(
        "select count(distinct cutoff_at) from ml.purchase_week_test_predictions"
    ) == [(4,)]


@pytest.mark.parametrize(
    ("task", "table", "days"),
    [("purchase", "fct_purchase_propensity", 1), ("purchase_week", "fct_weekly_propensity", 7)],
)
def test_a_run_publishes_every_model(
    complete_journey: Place, task: str, table: str, days: int
) -> None:
    alias = task.replace("_", "-")
    written = card(complete_journey, alias)
    assert complete_journey.query(
        f"""
        select distinct model_version, window_end_at - cutoff_at = interval {days} days
        from {table} inner join ml.{task}_batches using (batch_id)
        """
    ) == [(written["model_version"], True)]
    assert complete_journey.query(f"select count(*) from {table}") == [(2469,)]
    assert written["metrics"]["auc"] > 0.5
    assert json.loads((complete_journey.model / "model.json").read_text()) != written
    current = complete_journey.folder / "restock.duckdb.current"
    folder = card_folder(complete_journey, alias)
    assert (current / f"model-{alias}").resolve() == folder.resolve()


def test_a_week_holds_more_buyers_than_its_first_day(complete_journey: Place) -> None:
    ((shoppers, more, day, week),) = complete_journey.query(
        """
        select
            count(*),
            count_if(weekly.purchase_probability >= daily.purchase_probability),
            sum(daily.purchase_probability),
            sum(weekly.purchase_probability)
        from fct_purchase_propensity as daily
        inner join fct_weekly_propensity as weekly using (user_id, cutoff_at)
        """
    )
    assert more > 0.99 * shoppers  # they are two models, so nothing enforces it for everyone
    assert 3 * day < week < 7 * day


def test_each_job_reads_only_its_own_moments(web_shop: Place) -> None:
    """Test shoppers and robots teach nothing; everyone but robots is tested; everyone is scored."""
    ((learned, held, tested, now),) = web_shop.query(
        """
        select
            count(*) filter (period = 'train' and split <> 'test' and not is_robot),
            count(*) filter (period = 'validation' and split <> 'test' and not is_robot),
            count(*) filter (period = 'test' and not is_robot),
            count(*) filter (cutoff = 0)
        from purchase_examples where horizon_days = 1
        """
    )
    written = card(web_shop)
    assert written["training_moments"] == learned
    assert written["calibration_moments"] == held
    assert web_shop.query("select count(*) from ml.purchase_test_predictions") == [(tested,)]
    assert web_shop.query(
        """
        select count(*), count(distinct user_id) from ml.purchase_test_predictions
        inner join purchase_examples using (user_id, cutoff_at)
        where horizon_days = 1 and period = 'test' and not is_robot
        """
    ) == [
        (tested, len(web_shop.query("select distinct user_id from ml.purchase_test_predictions")))
    ]
    assert web_shop.query("select count(*) from fct_purchase_propensity") == [(now,)]
    assert web_shop.query("select distinct segment from ml.purchase_metrics order by 1") == [
        ("all",),
        (f"over={best(web_shop)}",),
        ("shopper=seen",),
        ("shopper=unseen",),
        (f"training_shoppers={written['training_shoppers']}",),
    ]


def best(place: Place) -> str:
    ((name,),) = place.query(
        """
        select max_by(model_name, value) from ml.purchase_metrics
        where segment = 'all' and metric = 'auc' and model_name <> 'gradient_boosting'
        """
    )
    return name


def test_the_list_is_the_shortest_with_the_expected_recall(web_shop: Place) -> None:
    rows = web_shop.query(
        """
        select user_id, purchase_probability, rank, decile, is_targeted, is_held_out
        from fct_purchase_propensity order by rank
        """
    )
    user_id, probability, rank, decile, targeted, held_out = map(np.array, zip(*rows, strict=True))
    assert (np.diff(probability) <= 0).all() and (rank == np.arange(1, len(rows) + 1)).all()
    assert np.bincount(decile)[1:].tolist() == pytest.approx([len(rows) / 10] * 10, abs=1)
    robots = {
        user
        for (user,) in web_shop.query("select user_id from moments where cutoff = 0 and is_robot")
    }
    size = max(rank[targeted])
    recalls = np.cumsum(probability.astype(float)) / probability.astype(float).sum()
    assert recalls[size - 2] < 0.95 <= recalls[size - 1] + 1e-9
    assert set(user_id[:size][~targeted[:size]]) == robots & set(user_id[:size])
    assert (held_out == is_held_out(user_id)).all()
    waiting = web_shop.query("select user_id from ml.purchase_lists")
    assert {user for (user,) in waiting} == set(map(str, user_id)) - set(map(str, robots))
    assert web_shop.query(
        "select distinct window_end_at - cutoff_at = interval 24 hours from fct_purchase_propensity"
    ) == [(True,)]


DAMAGE = {
    "shoppers in two splits": """
        update moments set split = 'validation' where cutoff = 1 and split = 'train'
    """,
    "windows that end after a later period starts": """
        update purchase_windows set period = 'train' where cutoff = 1
    """,
    "shoppers without a prediction": "delete from ml.purchase_predictions where rank = 2",
    "predictions without a shopper": "delete from moments where cutoff = 0 and user_id % 2 = 0",
    "past days at or after their cutoff": """
        update user_days set last_event_at = last_event_at + interval 1 day
    """,
}


@pytest.mark.parametrize("check", DAMAGE)
def test_the_audit_detects_damage(web_shop: Place, place: Place, check: str) -> None:
    shutil.copytree(web_shop.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    place.restock("audit", "--task", "purchase", *options(place))
    with duckdb.connect(str(place.warehouse)) as con:
        con.execute(DAMAGE[check])
    done = place.call("restock", "audit", "--task", "purchase", *options(place))
    assert done.returncode == 1
    assert check in done.stderr
    found = "select value > 0, status from ml.purchase_audit where check_name = ? order by run_id"
    with duckdb.connect(str(place.warehouse), read_only=True) as con:
        assert con.execute(found, [check]).fetchall() == [(False, "pass"), (True, "fail")]


def test_the_audit_of_a_horizon_is_its_own(web_shop: Place, place: Place) -> None:
    """Damage to the windows of 7 days, which nobody has scored, fails no audit of 24 hours."""
    shutil.copytree(web_shop.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    with duckdb.connect(str(place.warehouse)) as con:
        con.execute(
            "update purchase_windows set period = 'train' where horizon_days = 7 and cutoff = 7"
        )
    place.restock("audit", "--task", "purchase", *options(place))
    done = place.call("restock", "audit", "--task", "purchase_week", *options(place))
    assert done.returncode == 1
    for check in ("windows that end after a later period starts", "shoppers without a prediction"):
        assert check in done.stderr


def test_a_model_trained_on_permuted_labels_has_no_skill(web_shop: Place, place: Place) -> None:
    """A canary, as for pairs: a leak between training and test would find memorised noise.

    The peers and the model card are of the same evaluation.
    """
    shutil.copytree(web_shop.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    with duckdb.connect(str(place.warehouse)) as con:
        con.execute(
            """
            create table permuted as
            with numbered as (
                select
                    *,
                    row_number() over (order by cutoff, user_id) as own,
                    row_number() over (order by md5(cutoff || '-' || user_id)) as other
                from purchase_examples
                where cutoff > 0 and horizon_days = 7
            )
            select numbered.* exclude (own, other) replace (shuffled.label as label)
            from numbered inner join numbered as shuffled on numbered.own = shuffled.other
            """
        )
        con.execute("drop view purchase_examples; alter table permuted rename to purchase_examples")
    card = place.folder / "card.md"
    trained = place.restock("train", "--task", "purchase_week", *options(place))
    place.restock("promote", trained["train"]["model"])
    place.restock(
        *("evaluate", "--task", "purchase_week", "--peers", "--card", card), *options(place)
    )
    found = figures(place, "purchase_week")
    assert found.keys() > ESTIMATORS.keys()
    for name in ESTIMATORS:
        # The tolerance is twice the 95% interval, as for pairs.
        half = found[name]["auc_high"] - found[name]["auc_low"]
        assert abs(found[name]["auc"] - 0.5) < half, name
    auc = found["gradient_boosting"]["auc"]
    assert f"| **gradient boosting** | {auc:.4f} (" in card.read_text()


def test_scoring_twice_gives_the_same_probabilities(web_shop: Place, place: Place) -> None:
    shutil.copytree(web_shop.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    place.restock("score", "--task", "purchase", *options(place))
    scores = "select * exclude (batch_id) from ml.purchase_predictions order by user_id"
    assert place.query(scores) == web_shop.query(scores)
    assert place.query("select count(*) from ml.purchase_batches") == [(2,)]
    assert place.query("select count(*) from ml.batches") == [(0,)]


def listed(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_list_writes_a_csv_by_one_rule(web_shop: Place, tmp_path: Path) -> None:
    out = tmp_path / "list.csv"
    summary = web_shop.restock("list", "--out", out)["list"]
    rows = listed(out)
    ((targeted,),) = web_shop.query("select count_if(is_targeted) from fct_purchase_propensity")
    assert len(rows) == summary["rows"] == pytest.approx(targeted, abs=2)
    probability = [float(row["purchase_probability"]) for row in rows]
    assert probability == sorted(probability, reverse=True)
    assert {row["is_held_out"] for row in rows} == {"true", "false"}

    web_shop.restock("list", "--size", "7", "--out", out)  # replaces an older list
    assert len(listed(out)) == 7
    web_shop.restock("list", "--cost", "1", "--gain", "50", "--out", out)
    assert all(float(row["purchase_probability"]) > 1 / 50 for row in listed(out))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--recall", "0.9", "--size", "3"), "a list needs one rule"),
        (("--cost", "1"), "gain is missing"),
        (("--recall", "1.5"), "recall is 1.5"),
    ],
)
def test_list_rejects_an_invalid_rule(
    web_shop: Place, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = web_shop.call("restock", "list", *arguments, "--out", tmp_path / "list.csv")
    assert done.returncode == 2
    assert message in done.stderr


def test_list_replaces_no_other_file(web_shop: Place, tmp_path: Path) -> None:
    out = tmp_path / "mine.csv"
    out.write_text("user_id,name\n1,me\n")
    done = web_shop.call("restock", "list", "--out", out)
    assert done.returncode == 2
    assert "Refusing to overwrite" in done.stderr
    assert out.read_text() == "user_id,name\n1,me\n"


def test_orders_without_times_skip_the_task(published: Place, tmp_path: Path) -> None:
    for table in ("fct_purchase_propensity", "fct_weekly_propensity"):
        assert published.query(f"select count(*) from {table}") == [(0,)]
    page = (published.folder / "pages" / "tomorrow.html").read_text()
    assert (
        "This question was skipped: the orders have no times" in page and "Past lists" not in page
    )
    assert not card_folder(published).exists()
    assert not card_folder(published, "purchase-week").exists()
    done = published.call("restock", "list", "--out", tmp_path / "list.csv")
    assert done.returncode == 1
    assert "there are no purchase probabilities" in done.stderr


def test_folds_are_for_pairs(web_shop: Place) -> None:
    done = web_shop.call(
        "restock", "evaluate", "--task", "purchase", "--folds", "2", *options(web_shop)
    )
    assert done.returncode == 2
    assert "--folds divides the shoppers" in done.stderr
