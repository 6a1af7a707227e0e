"""The verdict on a model, and the choice between a model and simple rules under ``auto``."""

import hashlib
import itertools
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import shops
from conftest import TRAINING_ROWS, Place
from sklearn.metrics import log_loss

from ml.jobs import train
from ml.jobs.task import REORDER
from ml.modelling import baselines
from ml.modelling.calibration import is_lower
from ml.modelling.estimators import of_baseline
from ml.modelling.verdict import average_precision, compare, log_likelihood
from ml.settings import AUTO, Settings
from ml.warehouse import connection, examples
from ml.warehouse.examples import Examples
from ml.warehouse.feature_list import Feature, features
from ml.warehouse.sampling import Sample


def of_ranking(label: list[int]) -> float:
    """The average precision of labels in the order of the ranking."""
    ranks = [rank for rank, hit in enumerate(label, start=1) if hit]
    precisions = [found / rank for found, rank in enumerate(ranks, start=1)]
    return sum(precisions) / len(precisions) if ranks else np.nan


def test_average_precision_matches_a_hand_calculation() -> None:
    # The first shopper's hits are at ranks 1 and 3. The second bought nothing again. Of the third
    # shopper's two tied products, one was bought: at rank 1 or 2.
    score = np.array([0.7, 0.9, 0.8, 0.5, 0.2, 0.2])
    label = np.array([1, 1, 0, 0, 1, 0])
    found = average_precision(score, label, np.array([0, 3, 4, 6]))
    assert found[[0, 2]] == pytest.approx([(1 + 2 / 3) / 2, (1 + 1 / 2) / 2])
    assert np.isnan(found[1])


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_the_mean_over_all_orders_of_tied_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, size=6)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    score, label = rng.integers(3, size=offsets[-1]) / 2, rng.integers(2, size=offsets[-1])
    expected = []
    for start, end in itertools.pairwise(offsets):
        of_orders = [
            of_ranking([label[row] for row in order])
            for order in itertools.permutations(range(start, end))
            if all(score[a] >= score[b] for a, b in itertools.pairwise(order))
        ]
        expected.append(np.mean(of_orders))
    found = average_precision(score, label, offsets)
    assert found == pytest.approx(np.array(expected), nan_ok=True)


def test_log_likelihood_is_minus_the_log_loss_of_each_shopper() -> None:
    probability, label = np.array([0.9, 0.2, 0.6]), np.array([1, 0, 0])
    expected = [-log_loss(label[:2], probability[:2]), np.log(0.4)]
    assert log_likelihood(probability, label, np.array([0, 2, 3])) == pytest.approx(expected)


def test_a_verdict_counts_shoppers_under_the_best_rule() -> None:
    # The means of the four known shoppers are 0.5 and 0.4, so `first` is the best rule.
    model = np.array([1, 0.5, 0.25, np.nan, 0.75])
    rules = {
        "first": np.array([0.5, 0.5, 0.5, np.nan, 0.5]),
        "second": np.array([0.4, 0.4, 0.4, np.nan, 0.4]),
        "no probability": np.full(5, np.nan),
    }
    found = compare(model, rules)
    assert found is not None
    assert (found.rule, found.shoppers) == ("first", 4)
    assert (found.better, found.worse) == (0.5, 0.25)
    assert found.difference.value == pytest.approx((0.5 - 0.25 + 0.25) / 4)
    # Fewer than ten shoppers say nothing about others.
    assert np.isnan(found.difference.low) and found.verdict == "may be chance"
    assert compare(model, {}) is None
    assert compare(np.full(5, np.nan), rules) is None


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.06, "better"), (-0.06, "worse"), (0.01, "may be chance")]
)
def test_the_interval_decides_the_verdict(gain: float, verdict: str) -> None:
    """The standard deviation of 100 paired gains is 0.1, so their standard error is 0.01."""
    rng = np.random.default_rng(0)
    hard, gains = rng.random(100), rng.normal(size=100)
    gains = gain + 0.1 * (gains - gains.mean()) / gains.std()
    found = compare(hard + gains, {"rule": hard}, seed=1)
    assert found is not None and found.verdict == verdict
    assert found.difference.value == pytest.approx(gain)
    assert found.difference.low == pytest.approx(gain - 0.0196, abs=0.003)
    assert found.difference.high == pytest.approx(gain + 0.0196, abs=0.003)


def test_a_lower_loss_is_lower_by_more_than_a_standard_error() -> None:
    # The paired gains are 3, 1, 2, 2: their sum is 8, and its standard error is 2 * sqrt(2 / 3).
    loss, other = np.array([1.0, 5, 2, 8]), np.array([4.0, 6, 4, 10])
    assert is_lower(loss, other) and not is_lower(other, loss)
    assert not is_lower(loss, other - 1.75)  # a sum of 1 is within one standard error
    assert not is_lower(loss, loss)


OF_RULES = sorted({name for weights in baselines.SIMPLE.values() for name in weights})
COLUMNS = [
    Feature(name, "float", "pairs") for name in (*OF_RULES, *(f"other_{n}" for n in range(8)))
]


def made_up(shoppers: int, seed: int, *, habit: bool) -> tuple[Sample, Examples]:
    """Pairs whose chance to be bought again depends on their share so far, or on another column."""
    rng = np.random.default_rng(seed)
    rows = 20 * shoppers
    chance = rng.beta(0.5, 1.5, rows)
    share = rng.binomial(12, chance) / 12
    X = rng.random((rows, len(COLUMNS))).astype(np.float32)
    for j, column in enumerate(COLUMNS):
        if column.name.startswith("pair_"):
            X[:, j] = share
    label = (rng.random(rows) < (chance if habit else X[:, -1] ** 3)).astype(np.int8)
    user_id = np.arange(shoppers)
    return (
        Sample(X, label, np.ones(rows, np.float32), user_id.repeat(20)),
        Examples(
            pa.array(user_id),
            pa.chunked_array([np.arange(rows)]),
            20 * np.arange(shoppers + 1),
            X,
            label,
        ),
    )


@pytest.mark.parametrize(
    ("habit", "chosen"), [(True, "personal_frequency"), (False, "gradient_boosting")]
)
def test_auto_serves_a_simple_rule_where_it_predicts_better(habit: bool, chosen: str) -> None:
    settings = replace(Settings.load(), model=AUTO)
    learned, _ = made_up(60, seed=1, habit=habit)
    _, held = made_up(100, seed=2, habit=habit)
    model = train.fit(settings, COLUMNS, learned, held)
    assert model.name == chosen
    assert model.log_loss.keys() == {"gradient_boosting", *REORDER.simple}
    assert min(model.log_loss, key=model.log_loss.__getitem__) == chosen
    # The model that `auto` chooses is the one that its name gives.
    named = train.fit(settings.for_model(chosen), COLUMNS, learned, held)
    assert np.array_equal(model.predict(held.X), named.predict(held.X))
    assert model.rule == named.rule
    # A rule's scores are calibrated like any other.
    assert np.mean(model.predict(held.X)) == pytest.approx(held.label.mean(), abs=0.01)


@pytest.mark.parametrize("name", baselines.SIMPLE)
def test_a_rule_that_is_served_ranks_as_its_baseline_does(name: str) -> None:
    rng = np.random.default_rng(3)
    columns = [column.name for column in COLUMNS]
    X = rng.integers(2, size=(500, len(columns))) * rng.random((500, len(columns)))
    X = X.astype(np.float32)
    score = baselines.scores(dict(zip(columns, X.T, strict=True)))[name]
    X[X == 0] = np.nan  # a missing value counts as 0
    fitted = of_baseline(baselines.SIMPLE[name], columns).fit(X, np.zeros(500))
    served = fitted.predict_proba(X)[:, 1]
    assert served.min() > 0 and served.max() < 1
    assert np.all(np.diff(served[np.argsort(score)]) > -1e-6)
    assert np.ptp(served) > 0.5


def test_auto_keeps_the_model_if_the_labels_cannot_tell() -> None:
    settings = replace(Settings.load(), model=AUTO)
    learned, held = made_up(60, seed=1, habit=True)
    one_class = replace(held, label=np.zeros_like(held.label))
    assert train.fit(settings, COLUMNS, learned, one_class).name == "gradient_boosting"


def split(user: int) -> str:
    """The split of `targets`, which goes by a hash of the ID."""
    digest = hashlib.md5(str(user).encode()).hexdigest()
    return "test" if digest < "3333" else "validation" if digest < "4ccc" else "train"


@pytest.mark.slow
def test_auto_serves_a_simple_rule_from_training_to_the_pages(place: Place) -> None:
    """Habits never change, few shoppers train, and many validate."""
    ids = range(1, 1_000)
    users = [
        user
        for name, count in {"train": 30, "validation": 60, "test": 12}.items()
        for user in [user for user in ids if split(user) == name][:count]
    ]
    raw = shops.write(place.folder / "raw", shops.steady(users))
    options = ("--source", "order_log", "--raw-dir", raw, "--model", "auto")
    done = place.call("restock", "run", *options)
    assert done.returncode == 0, done.stderr
    assert "auto: personal frequency is served" in done.stderr
    assert "verdict: personal frequency is better than" in done.stderr
    card = json.loads((place.model / "model.json").read_text())
    assert card["model_name"] == "personal_frequency"
    assert card["candidates"]["personal_frequency"] < card["candidates"]["gradient_boosting"]
    assert place.query("select model_name, pair_count from rpt_score_summary") == [
        ("personal_frequency", 11 * len(users))
    ]
    # The ranks are those of the rule, and the probabilities are calibrated.
    assert place.query(
        """
        select count(*) from fct_predictions as a
        inner join fct_predictions as b using (user_id)
        inner join feat_user_products as of_a
            on of_a.cutoff = 0 and of_a.user_id = a.user_id and of_a.product_id = a.product_id
        inner join feat_user_products as of_b
            on of_b.cutoff = 0 and of_b.user_id = b.user_id and of_b.product_id = b.product_id
        where a.rank_in_user < b.rank_in_user and of_a.pair_order_share < of_b.pair_order_share
        """
    ) == [(0,)]
    ((predicted, observed),) = place.query(
        "select predicted_share, observed_share from rpt_test_summary"
    )
    assert predicted == pytest.approx(observed, abs=0.1)
    assert place.query("select model_name, rule_name <> model_name from rpt_verdict") != []
    # One row for each name: the rule that is served takes the place of its uncalibrated score.
    for segment in ("all", "cutoff=2"):
        assert (
            place.query(
                f"select count(*), count(distinct model_name) from ml.metrics where metric = 'auc' "
                f"and segment = '{segment}' group by model_name having count(*) > 1"
            )
            == []
        )
    assert place.query(
        "select count(log_loss) from rpt_test_cutoffs where model_name = 'personal_frequency'"
    ) == [(3,)]


@pytest.mark.slow
def test_auto_keeps_the_model_on_made_up_orders(
    published: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBT_TARGET_PATH", published.environment["DBT_TARGET_PATH"])
    settings = replace(
        Settings.load(warehouse=published.warehouse), training_rows=TRAINING_ROWS, model=AUTO
    )
    columns = features(settings)
    with connection.connect(settings, read_only=True) as con:
        learned = train.draw(con, columns, settings)
        held = examples.read_part(con, columns, REORDER.parts["held"])
    model = train.fit(settings, columns, learned, held)
    assert model.name == "gradient_boosting"
