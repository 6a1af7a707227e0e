"""Calibration corrects distorted probabilities, leaves true ones alone, and preserves ranks."""

import io

import joblib
import numpy as np
import pytest
from sklearn.metrics import log_loss

from ml.modelling.basket import Floats, Ints
from ml.modelling.calibration import METHODS, Calibrator, fit

PAIRS = 30  # per shopper
GRID = np.concatenate([[0.0, 1e-9], np.linspace(0.001, 0.999, 500), [1.0]])


def sample(shoppers: int, seed: int) -> tuple[Floats, Ints, Ints]:
    """Return the log-odds of true probabilities, labels drawn from them, and offsets."""
    rng = np.random.default_rng(seed)
    z = np.repeat(rng.normal(-2.5, 0.8, shoppers), PAIRS) + rng.normal(0, 1, shoppers * PAIRS)
    label = (rng.random(len(z)) < sigmoid(z)).astype(int)
    return z, label, np.arange(0, len(z) + 1, PAIRS)


def sigmoid(z: Floats) -> Floats:
    return 1 / (1 + np.exp(-z))


def bend(z: Floats) -> Floats:
    """Distort log-odds in a way that no straight line corrects."""
    return z + 1.5 * np.tanh(2 * (z + 2.5))


@pytest.mark.parametrize("seed", [0, 9, 13, 23])  # with all but 0, Platt wins slightly by chance
def test_true_probabilities_are_not_recalibrated(seed: int) -> None:
    z, label, offsets = sample(300, seed)
    calibrator = fit(sigmoid(z), label, offsets)
    assert calibrator.method == "none"
    assert calibrator.transform(sigmoid(z)) == pytest.approx(sigmoid(z), abs=1e-12)


@pytest.mark.parametrize(
    ("distort", "method"),
    [(lambda z: 2 * z + 1, "platt"), (lambda z: z - 0.5, "platt"), (bend, "isotonic")],
)
def test_corrects_distorted_probabilities_of_unseen_shoppers(distort, method) -> None:  # type: ignore[no-untyped-def]
    z, label, offsets = sample(1000, seed=6)
    calibrator = fit(sigmoid(distort(z)), label, offsets)
    assert calibrator.method == method
    assert calibrator.log_loss[method] == min(calibrator.log_loss.values())
    z, label, _ = sample(1000, seed=7)
    before, truth = log_loss(label, sigmoid(distort(z))), log_loss(label, sigmoid(z))
    after = log_loss(label, calibrator.transform(sigmoid(distort(z))))
    assert after - truth < 0.1 * (before - truth)


def test_log_loss_without_calibration_is_that_of_the_raw_probabilities() -> None:
    z, label, offsets = sample(100, seed=8)
    figures = fit(sigmoid(z), label, offsets).log_loss
    assert list(figures) == ["none", "platt", "isotonic"]
    assert figures["none"] == pytest.approx(log_loss(label, sigmoid(z)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shoppers", [3, 300])
def test_calibration_is_strictly_increasing_and_stays_between_0_and_1(
    method: str, shoppers: int
) -> None:
    z, label, _ = sample(shoppers, seed=9)
    calibrated = METHODS[method](sigmoid(bend(z)), label).transform(GRID)
    assert np.all(np.diff(calibrated[2:-1]) > 0)
    assert np.all(np.diff(calibrated) >= 0)
    assert calibrated[0] > 0 and calibrated[-1] < 1


def test_steep_corrections_stay_between_0_and_1() -> None:
    with np.errstate(all="raise"):
        ends = Calibrator("platt", slope=100).transform(np.array([0.0, 1e-4, 0.9999, 1.0]))
    assert 0 < ends[0] == ends[1] < 1e-6 and 1 - 1e-6 < ends[2] == ends[3] < 1
    assert ends.astype(np.float32)[3] < 1


def test_isotonic_stays_between_0_and_1_when_the_labels_are_separable() -> None:
    probability, label = np.linspace(0.1, 0.9, 100), np.repeat([0, 1], 50)
    calibrated = METHODS["isotonic"](probability, label).transform(probability)
    assert 0 < calibrated[0] < 0.02 and 0.98 < calibrated[-1] < 1
    assert np.all(np.diff(calibrated) > 0)


def test_isotonic_matches_a_hand_calculation() -> None:
    # The middle two blocks are out of order and pool to 3/6. The half labels at the ends change
    # the first block to (0 + 0.5) / (8 + 1) and the last to (8 + 0.5) / (8 + 1).
    probability = np.repeat([0.1, 0.3, 0.4, 0.8], [8, 2, 4, 8])
    label = np.array([0] * 8 + [1, 1] + [1, 0, 0, 0] + [1] * 8)
    fitted = METHODS["isotonic"](probability, label)
    centre = (2 * 0.3 + 4 * 0.4) / 6
    expected = [0.5 / 9, 3 / 6, 8.5 / 9]
    assert fitted.transform(np.array([0.1, centre, 0.8])) == pytest.approx(expected)


def test_platt_returns_the_base_rate_for_reversed_scores() -> None:
    z, label, _ = sample(300, seed=10)
    calibrated = METHODS["platt"](sigmoid(-z), label).transform(sigmoid(-z))
    assert calibrated == pytest.approx(np.full(len(z), label.mean()), abs=1e-4)


@pytest.mark.parametrize("label", [0, 1])
def test_labels_of_one_class_leave_probabilities_unchanged(label: int) -> None:
    z, _, offsets = sample(20, seed=11)
    assert fit(sigmoid(z), np.full(len(z), label), offsets).method == "none"


def test_shoppers_stay_together_in_a_fold() -> None:
    # All pairs of a shopper share one label and one probability, unrelated to other shoppers'. If
    # folds split shoppers, isotonic regression would memorise them.
    rng = np.random.default_rng(12)
    probability, label = rng.uniform(0.3, 0.7, 200).repeat(PAIRS), rng.integers(2, size=200)
    offsets = np.arange(0, 200 * PAIRS + 1, PAIRS)
    calibrator = fit(probability, label.repeat(PAIRS), offsets)
    assert calibrator.log_loss["isotonic"] > np.log(2)


def test_same_seed_gives_the_same_calibrator_even_after_joblib() -> None:
    z, label, offsets = sample(300, seed=13)
    first, second = (fit(sigmoid(bend(z)), label, offsets) for _ in range(2))
    buffer = io.BytesIO()
    joblib.dump(first, buffer)
    buffer.seek(0)
    for other in (second, joblib.load(buffer)):
        assert other.method == first.method == "isotonic"
        assert other.transform(GRID).tolist() == first.transform(GRID).tolist()
