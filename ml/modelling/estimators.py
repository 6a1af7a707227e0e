"""The models by name: scikit-learn pipelines over the features of ``examples``.

`of_baseline` makes one of a simple baseline.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from ml.errors import RestockError, SettingsError
from ml.modelling.sequence import Hybrid, SequenceClassifier, network

# A column can be entirely missing: many order logs have no cart positions.
warnings.filterwarnings("ignore", "All-NaN slice encountered")


def make(
    name: str,
    *,
    seed: int,
    threads: int = 0,
    parameters: Mapping[str, Any],
    sequences: int = 0,
) -> Any:
    """Return an unfitted pipeline by name.

    Every pipeline accepts float32 input of shape (n_pairs, n_features) with NaN for missing
    values.

    Args:
        name: one of `ESTIMATORS` or `SEQUENTIAL`.
        seed: controls every random choice.
        threads: number of threads; 0 uses every core.
        parameters: override the defaults of the last step.
        sequences: number of columns at the end of the input that only those of `SEQUENTIAL` read.

    Raises:
        SettingsError: if the model or one of the parameters is unknown, or a library is missing.
    """
    if name in SEQUENTIAL:
        pipeline = SEQUENTIAL[name](seed, threads or -1, sequences)
    elif name in ESTIMATORS:
        pipeline = ESTIMATORS[name](seed, threads or -1)
    else:
        choices = ", ".join([*ESTIMATORS, *SEQUENTIAL, "auto"])
        raise SettingsError(f"unknown model '{name}': choose one of {choices}")
    last = pipeline.steps[-1][1]
    if unknown := parameters.keys() - last.get_params().keys():
        raise SettingsError(
            f"{name} has no parameter {', '.join(sorted(unknown))}: "
            "correct [parameters] in restock.toml"
        )
    last.set_params(**parameters)
    return pipeline


class WeightedMean(ClassifierMixin, BaseEstimator):
    """A score that is the weighted mean of columns from 0 to 1, with nothing to fit.

    The score keeps a thousandth from 0 and 1, where the log-odds that calibrators use are infinite.

    Attributes:
        weights: weight of each column by its position; a missing value counts as 0.
    """

    def __init__(self, weights: Mapping[int, float]) -> None:
        self.weights = weights

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Only mark the estimator as fitted."""
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return one minus the score, and the score, shape (n_rows, 2)."""
        values = np.nan_to_num(X[:, list(self.weights)].astype(float))
        score = 0.001 + 0.998 * np.average(values, axis=1, weights=list(self.weights.values()))
        return np.column_stack([1 - score, score])


def of_baseline(weights: Mapping[str, float], columns: Sequence[str]) -> Any:
    """Return the unfitted pipeline of a baseline, given as weights of input columns by name."""
    return make_pipeline(
        WeightedMean({columns.index(column): weight for column, weight in weights.items()})
    )


def _logistic_regression(seed: int, threads: int) -> Any:
    return make_pipeline(
        # Gaps and recencies are heavy-tailed, so the linear model gets their quantiles.
        QuantileTransformer(n_quantiles=200, subsample=100_000, random_state=seed),
        SimpleImputer(
            strategy="constant", fill_value=-0.5, add_indicator=True, keep_empty_features=True
        ),
        LogisticRegression(C=0.1, tol=1e-3, max_iter=200),
    )


class OrderedForest(RandomForestClassifier):
    """A random forest that adds up its trees in a fixed order.

    In another order, the floating-point sum differs in its last digits.
    """

    def predict_proba(self, X: Any) -> Any:
        """Return the mean of the trees' votes, shape (n_pairs, 2)."""
        return sum(tree.predict_proba(X) for tree in self.estimators_) / len(self.estimators_)


def _random_forest(seed: int, threads: int) -> Any:
    return make_pipeline(
        OrderedForest(
            n_estimators=100,
            min_samples_leaf=20,
            max_features=0.2,
            # Small samples make trees cheap and diverse; more trees hardly help.
            max_samples=0.1,
            n_jobs=threads,
            random_state=seed,
        )
    )


def _gradient_boosting(seed: int, threads: int) -> Any:
    try:
        from lightgbm import LGBMClassifier
    except OSError as error:
        raise RestockError(
            f"LightGBM cannot be loaded ({error}). Install the OpenMP library (Debian: apt-get "
            "install libgomp1; macOS: brew install libomp), or use the model histogram_boosting."
        ) from None

    return make_pipeline(
        LGBMClassifier(
            n_estimators=350,
            learning_rate=0.05,
            num_leaves=15,
            max_bin=63,
            min_child_samples=100,
            subsample=0.7,
            subsample_freq=1,
            colsample_bytree=0.4,
            reg_lambda=20.0,
            scale_pos_weight=1.0,
            n_jobs=threads,
            random_state=seed,
            # The order in which threads finish must not change the model.
            deterministic=True,
            force_row_wise=True,
            verbose=-1,
        )
    )


class HistogramBoosting(HistGradientBoostingClassifier):
    """Histogram boosting that ignores columns without any value, which scikit-learn cannot fit."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit on the columns that have at least one value."""
        self.known_ = ~np.isnan(X).all(axis=0)
        return super().fit(X[:, self.known_], y, sample_weight)

    def predict_proba(self, X: Any) -> Any:
        """Return the class probabilities, shape (n_pairs, 2)."""
        return super().predict_proba(X[:, self.known_])


def _histogram_boosting(seed: int, threads: int) -> Any:
    """Return scikit-learn's counterpart of `_gradient_boosting`, with similar parameters."""
    return make_pipeline(
        HistogramBoosting(
            # Half the trees at twice the learning rate: each tree takes much longer to fit.
            max_iter=175,
            learning_rate=0.1,
            max_leaf_nodes=15,
            max_bins=63,
            min_samples_leaf=100,
            max_features=0.4,
            l2_regularization=20.0,
            early_stopping=False,
            random_state=seed,
        )
    )


def _sequence(seed: int, threads: int, sequences: int) -> Any:
    network()  # an error, if PyTorch is missing, before the slow read of the examples
    return make_pipeline(SequenceClassifier(sequences, random_state=seed))


def _hybrid(seed: int, threads: int, sequences: int) -> Any:
    of_sequences = _sequence(seed, threads, sequences)[-1]
    return make_pipeline(Hybrid(_gradient_boosting(seed, threads), of_sequences))


ESTIMATORS: dict[str, Callable[[int, int], Any]] = {
    "gradient_boosting": _gradient_boosting,
    "histogram_boosting": _histogram_boosting,
    "logistic_regression": _logistic_regression,
    "random_forest": _random_forest,
}
SEQUENTIAL: dict[str, Callable[[int, int, int], Any]] = {
    "sequence": _sequence,
    "hybrid": _hybrid,
}
"""The models that also read the sequences of a pair."""
