"""A fitted model: what turns features into probabilities and baskets."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from ml.modelling.basket import Bools, Floats, Ints, expected_f1_basket


@dataclass
class Model:
    """A fitted pipeline, the calibrator of its output, and how much orders differ in size."""

    pipeline: Any
    calibrator: Any
    order_effect: float

    def predict(self, X: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the calibrated probability of each row of ``X``, shape (n_pairs,)."""
        if self._trees is not None:
            return self.calibrator.transform(expit(self._trees.predict(X)))
        return self.calibrator.transform(self.pipeline.predict_proba(X)[:, 1])

    def basket(self, probability: Floats, offsets: Ints) -> Bools:
        """Return which pairs, shape (n_pairs,), are in the baskets of highest expected F1."""
        return expected_f1_basket(probability, offsets, self.order_effect)[0]

    @cached_property
    def _trees(self) -> Any:
        """The pipeline's trees, where it is nothing but LightGBM's: they score faster alone."""
        # Numba takes a while to import, and most commands do without.
        from ml.modelling.trees import MaskedTrees

        booster = getattr(self.pipeline[-1], "booster_", None)
        if booster is None or len(self.pipeline) > 1:
            return None
        return MaskedTrees.of(booster)
