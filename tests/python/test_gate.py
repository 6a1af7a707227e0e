"""The gate: what it promotes and refuses, and what a run does with a refused challenger."""

import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from conftest import ROOT

from ml.jobs import gate as job
from ml.jobs import train
from ml.jobs.task import PURCHASES, REORDER
from ml.modelling import gate
from ml.modelling.basket import f1
from ml.modelling.gate import Difference
from ml.modelling.metrics import Estimate
from ml.modelling.model import Model
from ml.modelling.rules import Score
from ml.modelling.verdict import BETTER, CHANCE, WORSE, Verdict
from ml.registry import decisions
from ml.registry.decisions import Decision
from ml.settings import Settings
from ml.warehouse.examples import Examples
from ml.warehouse.feature_list import Feature
from ml.warehouse.sampling import Sample

sys.path.insert(0, str(ROOT / "benchmarks"))
from gate_mutants import mutants


def differences(loss: tuple[float, ...], of_f1: tuple[float, ...]) -> dict[str, Difference]:
    """Differences of a champion with a log-loss of 0.5."""
    return {
        "log_loss": Difference(0.5, Estimate(*loss)),
        "mean_f1": Difference(0.3, Estimate(*of_f1)),
    }


def verdict(conclusion: str) -> Verdict:
    value = {BETTER: 0.1, WORSE: -0.1, CHANCE: 0}[conclusion]
    difference = Estimate(value, value - 0.05, value + 0.05)
    return Verdict("recency_decay", 300, 0.5, 0.5, difference)


NO_F1 = (0.0, -0.01, 0.01)


@pytest.mark.parametrize(
    ("loss", "of_f1", "against"),
    [
        ((0, -0.001, 0.0049), NO_F1, ""),
        ((0, -0.001, 0.005), NO_F1, "log-loss may be +1.0%"),
        ((-0.1, -0.2, -0.05), (-0.02, -0.03, 0.001), ""),
        ((-0.1, -0.2, -0.05), (-0.02, -0.03, -0.001), "mean f1 is lower"),
    ],
)
def test_a_challenger_may_be_worse_by_less_than_the_margin(
    loss: tuple[float, ...], of_f1: tuple[float, ...], against: str
) -> None:
    found = gate.faults(differences(loss, of_f1), None, None)
    assert bool(found) == bool(against)
    assert against in "; ".join(found)


@pytest.mark.parametrize(
    ("challenger", "champion", "passes"),
    [(WORSE, WORSE, False), (WORSE, CHANCE, True), (BETTER, WORSE, True)],
)
def test_a_simple_rule_that_is_better_than_both_models_keeps_the_champion(
    challenger: str, champion: str, passes: bool
) -> None:
    found = gate.faults(
        differences((0, -0.001, 0.001), NO_F1), verdict(challenger), verdict(champion)
    )
    assert bool(found) != passes


def test_both_models_are_measured_on_the_same_resamples() -> None:
    """What makes a shopper hard cancels out, so the interval is that of the paired differences."""
    rng = np.random.default_rng(0)
    hard, one = rng.exponential(size=400), np.ones(400)
    gain = rng.normal(0.01, 0.02, size=400)
    found = gate.compare({"log_loss": (hard, one)}, {"log_loss": (hard + gain, one)}, one)
    loss = found["log_loss"]
    assert loss.champion == pytest.approx(hard.mean())
    assert loss.difference.value == pytest.approx(gain.mean())
    half = 1.96 * gain.std() / 20
    assert loss.difference.high - loss.difference.low == pytest.approx(2 * half, rel=0.1)


def test_a_task_is_gated_by_what_its_rule_measures() -> None:
    label, offsets = np.array([1, 0, 1]), np.array([0, 2, 3])
    chosen = np.array([True, True, False])
    score = Score(np.array([0.9, 0.2, 0.4]), True, chosen)
    of_pairs = REORDER.rule.gated(score, label, offsets)
    assert of_pairs["mean_f1"][0] == pytest.approx(f1(chosen, label, offsets))
    assert of_pairs["log_loss"][0] == pytest.approx([-np.log(0.9 * 0.8), -np.log(0.4)])
    for task in PURCHASES.values():
        of_days = task.rule.gated(score, label, offsets)
        assert of_days.keys() == {"log_loss"}
        assert np.array_equal(of_days["log_loss"][0], of_pairs["log_loss"][0])


# --- mutants --------------------------------------------------------------------------------------

GROUPS = ("pairs", "users")
COLUMNS = [Feature(f"{group}_{n}", "float", group) for group in GROUPS for n in range(6)]
TRUTH = np.array([1, -1, 0.5, 0.5, -0.5, 0.5])


def made_up(shoppers: int, seed: int) -> tuple[Sample, Examples]:
    """Pairs with six features of their own and six of their shopper, all of which matter."""
    rng, each = np.random.default_rng(seed), 20
    rows = each * shoppers
    X = rng.normal(size=(rows, len(COLUMNS))).astype(np.float32)
    X[:, 6:] = X[::each, 6:].repeat(each, axis=0)
    signal = X[:, :6] @ TRUTH + 0.5 * X[:, 6:] @ TRUTH + X[:, 0] * X[:, 7] - 1
    label = (rng.random(rows) < 1 / (1 + np.exp(-signal))).astype(np.int8)
    users = np.arange(shoppers) + 1_000_000 * seed
    return (
        Sample(X, label, np.ones(rows, np.float32), users.repeat(each)),
        Examples(
            pa.array(users),
            pa.chunked_array([np.tile(np.arange(each), shoppers)]),
            each * np.arange(shoppers + 1),
            X,
            label,
        ),
    )


@cache
def fitted_champion() -> Model:
    learned, _ = made_up(600, seed=1)
    return train.fit(SETTINGS, COLUMNS, learned, made_up(200, seed=2)[1])


SETTINGS = replace(Settings.load(), parameters={"n_estimators": 60}, threads=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_the_gate_refuses_mutants_and_passes_another_seed(seed: int) -> None:
    learned, _ = made_up(600, seed=1)
    held, test = made_up(200, seed=2)[1], made_up(400, seed=3)[1]
    champion = fitted_champion()
    settings = replace(SETTINGS, seed=seed)
    for name, expected, data in mutants(learned, held, COLUMNS, seed):
        challenger = train.fit(settings, COLUMNS, *data)
        compared = job.compare(REORDER, test, {}, challenger, champion, seed=7)
        decided = job.judged(Decision("reorder", "undecided"), compared)
        assert decided.decision == expected, f"{name}: {decided.reason}"
        assert decided.is_promoted == (expected == decisions.PROMOTED)
