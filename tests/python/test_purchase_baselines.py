"""Purchase baselines match hand calculations, integrals over the models, and simulated shoppers."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from ml.modelling.purchase_baselines import (
    PROBABILITIES,
    BetaBinomial,
    BgNbd,
    PurchaseBaselines,
    intent_score,
)

TRUE = BgNbd(r=0.8, alpha=9.0, a=0.9, b=4.0)


def shoppers(n: int, days: float, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Draw shoppers of `TRUE`; return x, t_x, T and whether each buys within ``days`` after T."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(TRUE.r, 1 / TRUE.alpha, n)
    dropout = rng.beta(TRUE.a, TRUE.b, n)
    T = rng.uniform(50, 300, n)
    x, t_x, alive = np.zeros(n), np.zeros(n), np.ones(n, dtype=bool)
    following = rng.exponential(1 / rate)  # time of the next purchase
    while (past := alive & (following <= T)).any():
        x, t_x = x + past, np.where(past, following, t_x)
        alive &= ~past | (rng.random(n) >= dropout)
        following = np.where(past, following + rng.exponential(1 / rate), following)
    return x, t_x, T, alive & (following <= T + days)


def test_bg_nbd_likelihood_matches_a_hand_calculation() -> None:
    model = BgNbd(r=1, alpha=1, a=1, b=1)
    # Nothing bought in a day: the mean of exp(-lambda), with lambda exponential, is 1 / 2.
    # One purchase on day 1 of 2: 1 / 2 to stay, and then the mean of lambda exp(-2 lambda), which
    # is 1 / 9; or 1 / 2 to drop out, and the mean of lambda exp(-lambda), which is 1 / 4.
    found = model.log_likelihood(np.array([0, 1]), np.array([0, 1]), np.array([1, 2]))
    assert np.exp(found) == pytest.approx([1 / 2, 1 / 18 + 1 / 8])
    # Alive: the first part of the second sum.
    alive = model.alive(np.array([0, 1]), np.array([0, 1]), np.array([1, 2]))
    assert alive == pytest.approx([1, (1 / 18) / (1 / 18 + 1 / 8)])
    # Alive, lambda has shape 2 and rate 3 for the second shopper: 1 - (3 / 4) ** 2 within a day.
    probability = model.probability(np.array([0, 1]), np.array([0, 1]), np.array([1, 2]))
    assert probability == pytest.approx([1 / 3, 4 / 13 * (1 - 9 / 16)])


@pytest.mark.parametrize(("x", "t_x", "T"), [(0, 0.0, 5.0), (1, 1.0, 20.0), (4, 19.0, 20.0)])
def test_bg_nbd_matches_integrals_over_its_shoppers(x: int, t_x: float, T: float) -> None:
    """The rate and the chance to drop out are integrated numerically, without a closed form."""
    rates, dropouts = stats.gamma(TRUE.r, scale=1 / TRUE.alpha), stats.beta(TRUE.a, TRUE.b)

    def mean_of_rate(function: Callable[[float], float]) -> float:
        return quad(lambda rate: function(rate) * rates.pdf(rate), 0, 5, limit=200)[0]

    def mean_of_dropout(function: Callable[[float], float]) -> float:
        return quad(lambda p: function(p) * dropouts.pdf(p), 0, 1, limit=200)[0]

    staying = mean_of_dropout(lambda p: (1 - p) ** x)
    alive = staying * mean_of_rate(lambda rate: rate**x * np.exp(-rate * T))
    gone = 0.0
    if x:
        gone = mean_of_dropout(lambda p: p * (1 - p) ** (x - 1))
        gone *= mean_of_rate(lambda rate: rate**x * np.exp(-rate * t_x))
    buys = mean_of_rate(lambda rate: rate**x * np.exp(-rate * T) * (1 - np.exp(-rate * 7)))

    history = (np.array([x]), np.array([t_x]), np.array([T]))
    assert np.exp(TRUE.log_likelihood(*history)) == pytest.approx(alive + gone, rel=1e-4)
    assert TRUE.alive(*history) == pytest.approx(alive / (alive + gone), rel=1e-4)
    expected = staying * buys / (alive + gone)
    assert TRUE.probability(*history, days=7) == pytest.approx(expected, rel=1e-4)


def test_bg_nbd_recovers_its_parameters_and_is_calibrated() -> None:
    x, t_x, T, buys = shoppers(20_000, days=7)
    fitted = BgNbd.fit(x, t_x, T)
    assert fitted.r == pytest.approx(TRUE.r, rel=0.05)
    assert fitted.alpha == pytest.approx(TRUE.alpha, rel=0.06)
    assert fitted.a / (fitted.a + fitted.b) == pytest.approx(TRUE.a / (TRUE.a + TRUE.b), rel=0.05)
    assert fitted.a == pytest.approx(TRUE.a, rel=0.25)
    best = fitted.log_likelihood(x, t_x, T).sum()
    assert best >= TRUE.log_likelihood(x, t_x, T).sum()
    for name in ("r", "alpha", "a", "b"):  # a maximum: no step in any direction is better
        for factor in (0.98, 1.02):
            other = BgNbd(**(vars(fitted) | {name: getattr(fitted, name) * factor}))
            assert other.log_likelihood(x, t_x, T).sum() < best

    x, t_x, T, buys = shoppers(20_000, days=7, seed=1)
    probability = fitted.probability(x, t_x, T, days=7)
    tenth = np.argsort(np.argsort(probability, kind="stable")) * 10 // len(x)
    for number in range(10):
        expected = probability[tenth == number]
        error = np.sqrt(np.sum(expected * (1 - expected))) / len(expected)
        assert buys[tenth == number].mean() == pytest.approx(expected.mean(), abs=4 * error)


def test_bg_nbd_probability_grows_with_the_window_up_to_being_alive() -> None:
    x, t_x, T, _ = shoppers(500, days=1)
    windows = [TRUE.probability(x, t_x, T, days) for days in (0, 1, 7, 30)]
    assert np.all(windows[0] == 0)
    for short, long in pairwise(windows):
        assert np.all(short < long)
    assert TRUE.probability(x, t_x, T, 1e12) == pytest.approx(TRUE.alive(x, t_x, T), rel=1e-6)


def test_bg_nbd_has_no_overflow_for_a_shopper_long_gone() -> None:
    history = (np.array([3000.0]), np.array([30.0]), np.array([30_000.0]))
    assert TRUE.alive(*history) == pytest.approx(0)
    assert np.isfinite(TRUE.log_likelihood(*history)).all()


def test_bg_nbd_fits_shoppers_who_never_drop_out_or_never_come_back() -> None:
    rng = np.random.default_rng(2)
    T = np.full(300, 100.0)
    x = rng.poisson(T * 0.1).astype(float)
    loyal = BgNbd.fit(x, np.where(x > 0, 99.0, 0), T)
    assert loyal.probability(x, np.where(x > 0, 99.0, 0), T).mean() == pytest.approx(
        0.095, abs=0.01
    )
    once = BgNbd.fit(np.zeros(300), np.zeros(300), T)
    assert once.probability(np.zeros(300), np.zeros(300), T).max() < 0.001
    with pytest.raises(ValueError, match="none was given"):
        BgNbd.fit(np.empty(0), np.empty(0), np.empty(0))


def test_beta_binomial_recovers_its_parameters_and_matches_scipy() -> None:
    rng = np.random.default_rng(3)
    trials = rng.integers(1, 92, 20_000).astype(float)
    successes = rng.binomial(trials.astype(int), rng.beta(1.5, 8, len(trials))).astype(float)
    fitted = BetaBinomial.fit(successes, trials)
    assert (fitted.a, fitted.b) == pytest.approx((1.5, 8), rel=0.05)
    history = (np.array([0.0, 3.0, 40.0]), np.array([1.0, 28.0, 91.0]))
    a, b = fitted.a + history[0], fitted.b + history[1] - history[0]
    assert fitted.probability(*history) == pytest.approx(a / (a + b))
    week = stats.betabinom(7, a, b).sf(0)
    assert fitted.probability(*history, further=7) == pytest.approx(week)


def columns() -> dict[str, np.ndarray]:
    """Return two shoppers with two days each and a third who has only looked around."""
    return {
        "purchase_count": np.array([3, 3, 1, 2, 0]),
        "days_since_first_purchase": np.array([30, 31, 200, 201, np.nan]),
        "days_since_purchase": np.array([4, 5, 200, 1, np.nan]),
        "tenure_days": np.array([30, 31, 220, 221, 8]),
        "purchase_91_days_count": np.array([3, 3, 0, 1, 0]),
        "dow_13_weeks_rate": np.array([0.2, 0.1, 0.0, 0.1, 0.0]),
        "view_7_days_count": np.array([0, 2, np.nan, 10, 4]),
        "cart_7_days_count": np.array([0, 1, np.nan, 2, 0]),
        "checkout_7_days_count": np.array([0, 0, np.nan, 1, 0]),
        "remove_7_days_count": np.array([0, 1, np.nan, 0, 0]),
    }


LABEL, OFFSETS = np.array([0, 1, 0, 1, 0]), np.array([0, 2, 4, 5])
WEIGHTS = {
    "view_7_days_count": 1,
    "cart_7_days_count": 5,
    "checkout_7_days_count": 8,
    "remove_7_days_count": -3,
}


def test_baselines_match_hand_calculations() -> None:
    fitted = PurchaseBaselines.fit(columns(), LABEL, OFFSETS)
    assert fitted.base_rate == 2 / 5
    assert fitted.first_rate == 0
    # The newest rows of the shoppers are 1, 3 and 4; BG/NBD has no use for the last.
    assert fitted.own_rate == BetaBinomial.fit(np.array([3.0, 1, 0]), np.array([31.0, 91, 8]))
    expected = BgNbd.fit(np.array([2.0, 1]), np.array([26.0, 200]), np.array([31.0, 201]))
    assert fitted.bg_nbd == expected

    scores = fitted.scores(columns(), WEIGHTS)
    assert {name: len(score) for name, score in scores.items()} == dict.fromkeys(scores, 5)
    assert set(PROBABILITIES) == set(scores) - {"recency", "intent_score"}
    assert np.all(scores["base_rate"] == 2 / 5)
    a, b = fitted.own_rate.a, fitted.own_rate.b
    assert scores["own_rate"][3] == pytest.approx((a + 1) / (a + b + 91))
    assert scores["recency"].tolist() == [-4, -5, -200, -1, -np.inf]
    assert scores["intent_score"].tolist() == [0, 2 + 5 - 3, 0, 10 + 10 + 8, 4]
    assert scores["bg_nbd"][4] == fitted.first_rate
    history = (np.array([0.0]), np.array([0.0]), np.array([200.0]))
    assert scores["bg_nbd"][2] == pytest.approx(expected.probability(*history)[0])
    assert scores["weekday_rate"].tolist() == [0.2, 0.1, 0.0, 0.1, 0.0]
    for name in PROBABILITIES:
        assert np.all((scores[name] >= 0) & (scores[name] <= 1)), name


def test_a_window_of_a_week_has_higher_probabilities_and_no_weekday() -> None:
    day, week = (
        PurchaseBaselines.fit(columns(), LABEL, OFFSETS, days=days).scores(columns(), WEIGHTS)
        for days in (1, 7)
    )
    assert set(day) - set(week) == {"weekday_rate"}
    assert np.all(week["own_rate"] > day["own_rate"])
    bought = columns()["purchase_count"] > 0
    assert np.all(week["bg_nbd"][bought] > day["bg_nbd"][bought])


def test_intent_weights_may_be_changed() -> None:
    assert intent_score(columns(), {"view_7_days_count": 0.5}).tolist() == [0, 1, 0, 5, 2]
