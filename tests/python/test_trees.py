"""Trees scored with bit masks give exactly LightGBM's scores."""

import numpy as np
import pytest
from lightgbm import LGBMClassifier

from ml.modelling.trees import MAX_LEAVES, MaskedTrees


def data(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features and labels: ties, missing and huge values, a constant, an empty column."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 7)).astype(np.float32)
    X[:, 1] = rng.integers(0, 5, rows)
    X[:, 2] = np.where(rng.random(rows) < 0.3, np.nan, X[:, 2])
    X[:, 3] *= np.float32(1e30)
    X[:, 4], X[:, 5] = 1, np.nan
    logit = X[:, 0] + (X[:, 1] == 2) + np.nan_to_num(X[:, 2]) - np.isnan(X[:, 2])
    return X, rng.random(rows) < 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize("leaves", [2, 15, 16, 17, 31, MAX_LEAVES])
def test_scores_equal_lightgbms(leaves: int) -> None:
    X, label = data(5_000, seed=leaves)
    model = LGBMClassifier(n_estimators=40, num_leaves=leaves, verbose=-1).fit(X, label)
    trees = MaskedTrees.of(model.booster_)
    assert trees is not None
    # Values at and next to every threshold (except near 0, which LightGBM reads as 0), and missing
    # values in features that had none in training.
    probes = np.tile(trees.threshold[np.abs(trees.threshold) > 1e-34, None], 7)
    near = np.concatenate([probes, np.nextafter(probes, np.float32(np.inf)), -probes])
    seen, _ = data(1_037, seed=0)
    holes = np.where(np.random.default_rng(1).random(seen.shape) < 0.2, np.nan, seen)
    extreme = np.full((2, 7), [[np.inf], [-np.inf]])
    for rows in (seen, near, holes, extreme):
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        expected = model.booster_.predict(rows, raw_score=True)
        np.testing.assert_allclose(trees.predict(rows), expected, rtol=0, atol=1e-12)


def test_unsupported_trees_are_left_to_lightgbm() -> None:
    X, label = data(5_000, seed=3)
    many = LGBMClassifier(
        n_estimators=3, num_leaves=MAX_LEAVES + 1, min_child_samples=1, verbose=-1
    )
    assert MaskedTrees.of(many.fit(X, label).booster_) is None
    zero = LGBMClassifier(n_estimators=3, zero_as_missing=True, verbose=-1)
    assert MaskedTrees.of(zero.fit(X, label).booster_) is None
    categorical = LGBMClassifier(n_estimators=3, verbose=-1)
    categorical.fit(X, label, categorical_feature=[1])
    assert MaskedTrees.of(categorical.booster_) is None
