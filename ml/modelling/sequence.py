"""Estimators that read the orders of a pair one by one (`pair_sequences`), beside its features.

The sequences are the last columns of their input. Both need PyTorch, which the extra ``deep``
installs.
"""

from types import ModuleType
from typing import Any

import numpy as np
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin

from ml.errors import SettingsError
from ml.modelling.calibration import Calibrator
from ml.modelling.model import Model


def network() -> ModuleType:
    """Return `ml.modelling.network`.

    Raises:
        SettingsError: PyTorch is not installed.
    """
    try:
        from ml.modelling import network
    except ModuleNotFoundError:
        raise SettingsError(
            "the models sequence and hybrid need PyTorch: run pip install 'restock[deep]'"
        ) from None
    return network


class SequenceClassifier(ClassifierMixin, BaseEstimator):
    """A recurrent network over the orders of a pair, beside its features.

    Training and scoring use one thread, so that scores are the same on every run.

    Attributes:
        sequences: number of columns at the end of the input that are sequences.
        hidden: size of the recurrent state.
        epochs: passes over the training rows.
        batch_size: rows of a step.
        learning_rate: the highest learning rate.
        weight_decay: pull of the weights to 0.
        random_state: seed of the first weights and of the order of the rows.
    """

    libraries = ("torch",)

    def __init__(
        self,
        sequences: int,
        hidden: int = 32,
        epochs: int = 3,
        batch_size: int = 512,
        learning_rate: float = 0.003,
        weight_decay: float = 0.01,
        random_state: int = 0,
    ) -> None:
        self.sequences = sequences
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit the network to rows, shape (n_rows, n_features + n_sequences).

        Raises:
            SettingsError: the rows have no sequences.
        """
        if not self.sequences:
            raise SettingsError(
                "the examples have no sequences: set model to sequence or hybrid in restock.toml"
            )
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        self.classes_ = np.array([0, 1])
        self.state_ = network().fit(
            *self._parts(X),
            np.asarray(y),
            np.asarray(weight),
            hidden=self.hidden,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            seed=self.random_state,
        )
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return the class probabilities, shape (n_rows, 2)."""
        probability = expit(network().log_odds(self.state_, *self._parts(X)))
        return np.column_stack([1 - probability, probability])

    def _parts(self, X: Any) -> tuple[Any, Any]:
        return X[:, : -self.sequences], X[:, -self.sequences :]


class Hybrid(ClassifierMixin, BaseEstimator):
    """The weighted mean of the log-odds of trees, which read no sequences, and of a network.

    Attributes:
        trees: the pipeline of the trees.
        network: the `SequenceClassifier`.
        share: weight of the network, 0 to 1.
    """

    libraries = SequenceClassifier.libraries

    def __init__(self, trees: Any, network: SequenceClassifier, share: float = 1 / 3) -> None:
        self.trees = trees
        self.network = network
        self.share = share

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit both models to rows, shape (n_rows, n_features + n_sequences)."""
        self.classes_ = np.array([0, 1])
        weight = {f"{self.trees.steps[-1][0]}__sample_weight": sample_weight}
        self.network.fit(X, y, sample_weight)
        self.trees.fit(self._features(X), y, **weight)
        self.trees_ = Model(self.trees, Calibrator(), None)
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return the class probabilities, shape (n_rows, 2)."""
        of_trees = logit(self.trees_.predict(self._features(X)))
        of_network = logit(self.network.predict_proba(X)[:, 1])
        probability = expit((1 - self.share) * of_trees + self.share * of_network)
        return np.column_stack([1 - probability, probability])

    def _features(self, X: Any) -> Any:
        return X[:, : -self.network.sequences]
