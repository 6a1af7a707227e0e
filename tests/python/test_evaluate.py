"""The evaluation job: folds of shoppers, segments, typical context and scoring dates."""

import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
from conftest import Place

from ml.jobs.evaluate import HISTORY
from ml.jobs.score import score_as_of
from ml.modelling import folds
from ml.modelling.estimators import make
from ml.progress import silent

FOLDS = 2


def test_each_shopper_is_in_the_test_part_of_exactly_one_fold() -> None:
    where = folds.place(np.arange(3_000))
    parts = np.array([folds.part_in_fold(where, fold, 5) for fold in range(5)])
    assert (np.sum(parts == "test", axis=0) == 1).all()
    assert np.mean(parts == "test", axis=1) == pytest.approx(0.2, abs=0.03)
    assert np.mean(parts == "validation", axis=1) == pytest.approx(0.1, abs=0.03)
    assert set(parts.ravel()) == {"train", "validation", "test"}


def test_the_first_of_five_folds_is_the_fixed_split() -> None:
    users = np.array(["a", "b", "ü", *map(str, range(2_000))])
    split = duckdb.execute(
        """
        select case when md5(id) < '3333' then 'test' when md5(id) < '4ccc' then 'validation'
            else 'train' end
        from (select unnest(?) as id)
        """,
        [users.tolist()],
    ).fetchall()
    assert folds.part_in_fold(folds.place(users), 0, 5).tolist() == [part for (part,) in split]
    assert folds.place(np.array([7])) == folds.place(np.array(["7"]))


@pytest.fixture
def copy(published: Place, place: Place) -> Place:
    shutil.copytree(published.folder, place.folder, dirs_exist_ok=True, symlinks=True)
    return place


@pytest.mark.slow
def test_folds_measure_every_model_on_every_shopper(copy: Place, instacart_files: Path) -> None:
    before = copy.query("select count(*) from ml.metrics where protocol = 'holdout'")
    options = ("--source", "instacart", "--raw-dir", instacart_files)
    copy.restock("evaluate", "--folds", str(FOLDS), *options)
    assert copy.query("select count(*) from ml.metrics where protocol = 'holdout'") == before
    names = {
        *("gradient_boosting", "histogram_boosting", "logistic_regression", "random_forest"),
        *("personal_frequency", "recency_decay", "last_basket", "tifu_knn", "up_cf", "ceiling"),
    }
    ((pairs, shoppers),) = copy.query(
        "select count(*), count(distinct user_id) from examples where cutoff = 1"
    )
    assert copy.query(
        f"""
        select model_name,
            max(case when metric = 'pairs' then value end),
            max(case when metric = 'shoppers' then value end)
        from ml.metrics where protocol = '{FOLDS}-fold' and segment = 'all'
        group by model_name order by model_name
        """
    ) == [(name, pairs, shoppers) for name in sorted(names)]
    assert copy.query(
        f"select model_name, count(*) from ml.verdicts where protocol = '{FOLDS}-fold' group by all"
    ) == [("gradient_boosting", 1)]
    curve = copy.query(
        f"""
        select cast(split_part(segment, '=', 2) as integer) as n, value from ml.metrics
        where protocol = '{FOLDS}-fold' and metric = 'auc' and segment like 'training_shoppers=%'
        order by n
        """
    )
    assert len(curve) == 4 and curve[0][0] < curve[-1][0] <= shoppers / 2
    assert curve[0][1] < curve[-1][1]


@pytest.mark.slow
def test_tune_returns_the_log_loss_and_valid_parameters(
    published: Place, instacart_files: Path
) -> None:
    found = published.restock(
        "tune", "--trials", "1", "--source", "instacart", "--raw-dir", instacart_files
    )["tune"]
    assert 0 < found["log_loss"]["now"] < 1 and 0 < found["log_loss"]["best"] < 1
    make("gradient_boosting", seed=7, parameters=found["parameters"])  # all known


@pytest.mark.slow
def test_segments_partition_the_test_pairs(published: Place) -> None:
    ((total,),) = published.query("select count(*) from ml.test_predictions")
    for kind in ("history", "department"):
        assert published.query(
            f"select sum(value) from ml.metrics where segment like '{kind}=%' and metric = 'pairs'"
        ) == [(total,)]
    assert {
        name.removeprefix("history=")
        for (name,) in published.query(
            "select distinct segment from ml.metrics where segment like 'history=%'"
        )
    } <= set(HISTORY.values())


@pytest.mark.slow
def test_earlier_cutoffs_have_the_same_test_shoppers(published: Place) -> None:
    for cutoff in (2, 3):
        expected = published.query(
            f"""
            select count(*), count(distinct user_id), avg(label::int) from examples
            where cutoff = {cutoff} and split = 'test'
            """
        )
        assert published.query(
            f"""
            select model_name,
                max(case when metric = 'pairs' then value end),
                max(case when metric = 'shoppers' then value end),
                round(max(case when metric = 'mean_observed' then value end), 9)
            from ml.metrics where segment = 'cutoff={cutoff}' group by all order by all
            """
        ) == [
            (name, *expected[0][:2], round(expected[0][2], 9))
            for name in ("gradient_boosting", "last_basket", "personal_frequency", "recency_decay")
        ]
    assert published.query("select count(*) from ml.metrics where segment = 'cutoff=4'") == [(0,)]


@pytest.mark.slow
def test_a_verdict_compares_the_shoppers_who_bought_something_again(published: Place) -> None:
    ((bought,),) = published.query(
        "select count(distinct user_id) from examples where cutoff = 1 and split = 'test' and label"
    )
    ((shoppers, shares, is_served, is_said),) = published.query(
        """
        select shopper_count, better_share + worse_share + equal_share,
            model_name = 'gradient_boosting' and rule_name <> model_name,
            verdict = case
                when difference_low > 0 then 'better' when difference_high < 0 then 'worse'
                else 'may be chance'
            end
        from rpt_verdict
        """
    )
    assert (shoppers, shares, is_served, is_said) == (bought, pytest.approx(1), True, True)


@pytest.mark.slow
def test_typical_context_is_measured_on_the_same_pairs(published: Place) -> None:
    figures = {
        (segment, metric): value
        for segment, metric, value in published.query(
            "select segment, metric, value from ml.metrics where segment like 'context=%'"
        )
    }
    for metric in ("pairs", "shoppers", "mean_observed"):
        assert figures["context=typical", metric] == figures["context=order", metric]
    assert figures["context=typical", "log_loss"] != figures["context=order", "log_loss"]


@pytest.mark.slow
def test_probabilities_change_with_the_scoring_date(copy: Place, instacart_files: Path) -> None:
    def with_command(days: str) -> None:
        options = ("--source", "instacart", "--raw-dir", instacart_files)
        copy.restock("score", "--as-of-days", days, *options)

    def in_this_process(days: str) -> None:
        score_as_of(copy.settings(raw_dir=instacart_files, as_of_days=days), silent)

    scored = []
    for days, score in (("2", in_this_process), ("25", with_command)):
        score(days)
        assert copy.query(
            "select distinct context_source, days_since_prior_order from targets where cutoff = 0"
        ) == [("as_of", int(days))]
        scored.append(
            copy.query(
                """
                select user_id, product_id, reorder_probability, pair_days_since_last
                from fct_predictions inner join feat_user_products using (user_id, product_id)
                where cutoff = 0 order by user_id, product_id
                """
            )
        )
    soon, late = (np.array([row[2:] for row in rows]) for rows in scored)
    assert [row[:2] for row in scored[0]] == [row[:2] for row in scored[1]]
    assert (late[:, 1] - soon[:, 1] == 23).all()
    assert np.mean(np.abs(late[:, 0] - soon[:, 0]) > 0.001) > 0.5
    assert copy.query("select reason from fct_baskets where reason like '%yesterday%'") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--as-of", "2024-01-01"], "--as-of-days"),
        (["--as-of", "2024-01-01", "--as-of-days", "3"], "use one"),
        (["--as-of", "tomorrow"], "write it as 2018-01-02"),
    ],
)
def test_rejects_an_invalid_scoring_date(published: Place, flags: list[str], said: str) -> None:
    done = published.call("restock", "score", "--source", "instacart", *flags)
    assert done.returncode == 2
    assert said in done.stderr
