"""Every model fits with missing values, is deterministic, and rejects unknown parameters."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ml.errors import SettingsError
from ml.modelling.estimators import ESTIMATORS, make

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3_000, 6)).astype(np.float32)
LABEL = (X[:, 0] + RNG.normal(size=3_000) > 1).astype(np.int8)
X[RNG.random(X.shape) < 0.2] = np.nan
X[:, 5] = np.nan  # all missing, like the cart position in many exports


def fitted(name: str, weight: float = 1) -> np.ndarray:
    pipeline = make(name, seed=7, threads=2, parameters={})
    weights = np.where(LABEL == 1, 1, weight)
    pipeline.fit(
        X[:2_000], LABEL[:2_000], **{f"{pipeline.steps[-1][0]}__sample_weight": weights[:2_000]}
    )
    return pipeline.predict_proba(X[2_000:])[:, 1]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_learns_despite_missing_values_and_is_deterministic(name: str) -> None:
    probability = fitted(name)
    assert np.array_equal(probability, fitted(name))
    assert roc_auc_score(LABEL[2_000:], probability) > 0.65


@pytest.mark.parametrize("name", ESTIMATORS)
def test_sample_weights_change_the_fit(name: str) -> None:
    assert fitted(name, weight=4).mean() < fitted(name).mean() - 0.05


def test_rejects_an_unknown_model_or_parameter() -> None:
    with pytest.raises(SettingsError, match="gradient_boosting"):
        make("gradient_bosting", seed=7, parameters={})
    with pytest.raises(SettingsError, match="leaves"):
        make("gradient_boosting", seed=7, parameters={"leaves": 7})
