"""A fitted model, which turns features into probabilities and choices."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit


@dataclass
class Model:
    """A fitted pipeline, the calibrator of its output, and the rule that chooses rows.

    Attributes:
        name: name of the pipeline.
        log_loss: held-out log-loss of every candidate by name, if the model was chosen from some.
        width: number of features that the pipeline reads, the first ones; None for all.
    """

    pipeline: Any
    calibrator: Any
    rule: Any
    name: str = ""
    log_loss: dict[str, float] = field(default_factory=dict)
    width: int | None = None

    def predict(self, X: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the calibrated probability of each row of ``X``, shape (n_rows,)."""
        X = X[:, : self.width]
        if self._trees is not None:
            return self.calibrator.transform(expit(self._trees.predict(X)))
        return self.calibrator.transform(self.pipeline.predict_proba(X)[:, 1])

    @property
    def libraries(self) -> tuple[str, ...]:
        """The libraries that only this kind of model needs."""
        return getattr(self.pipeline and self.pipeline[-1], "libraries", ())

    @cached_property
    def _trees(self) -> Any:
        """The trees of a pipeline that contains only LightGBM, which score faster; else None."""
        # Numba is slow to import, and most commands do not need it.
        from ml.modelling.trees import MaskedTrees

        booster = getattr(self.pipeline[-1], "booster_", None)
        if booster is None or len(self.pipeline) > 1:
            return None
        return MaskedTrees.of(booster)
