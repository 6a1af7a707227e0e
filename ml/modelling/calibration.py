"""Calibrate a model's scores into probabilities without changing their ranks.

Arrays are laid out as in `basket`. Log-loss on held-out shoppers decides whether to correct the
scores and by which method.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from ml.modelling.basket import Bools, Floats, Ints, user_of_pair

_LIMIT = 16.0  # largest log-odds, 1e-7 from 0 and 1: log-loss stays finite even in float32


def _logit(p: Floats) -> Floats:
    p = np.asarray(p, dtype=float)
    with np.errstate(divide="ignore"):
        return np.clip(np.log(p) - np.log1p(-p), -_LIMIT, _LIMIT)


@dataclass(frozen=True)
class Calibrator:
    """A strictly increasing correction of the log-odds z = logit(p).

    The corrected log-odds are ``slope * z + intercept + shift(z)``, where ``shift`` interpolates
    linearly between the points (``knots``, ``shifts``) and is constant beyond them.

    Attributes:
        method: ``none``, ``platt`` or ``isotonic``.
        log_loss: held-out log-loss per pair of every method compared.
    """

    method: str = "none"
    slope: float = 1.0
    intercept: float = 0.0
    knots: Floats = field(default_factory=lambda: np.zeros(1))
    shifts: Floats = field(default_factory=lambda: np.zeros(1))
    log_loss: dict[str, float] = field(default_factory=dict)

    def transform(self, probability: Floats) -> Floats:
        """Return calibrated probabilities, strictly between 0 and 1, in the order of the input."""
        z = _logit(probability)
        z = self.slope * z + self.intercept + np.interp(z, self.knots, self.shifts)
        return 1 / (1 + np.exp(-np.clip(z, -_LIMIT, _LIMIT)))


def fit_none(probability: Floats, label: Ints) -> Calibrator:
    """Return a calibrator that leaves probabilities unchanged."""
    return Calibrator()


def fit_platt(probability: Floats, label: Ints) -> Calibrator:
    """Fit slope and intercept (Platt 1999; on log-odds this is the recalibration of Cox 1958).

    If the fitted slope is not positive, no increasing line beats the base rate, and the
    calibrator returns the base rate.
    """
    model = LogisticRegression(C=np.inf, solver="newton-cholesky")
    fitted = model.fit(_logit(probability)[:, None], label)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:
        slope, intercept = 1e-6, float(_logit(label.mean()))
    return Calibrator("platt", slope, intercept)


def fit_isotonic(probability: Floats, label: Ints) -> Calibrator:
    """Fit an increasing curve through the blocks of an isotonic regression.

    An isotonic regression is a step function, which ties all pairs of a block and loses their
    ranks. Here each block becomes one point, its mean prediction against its mean label, and
    straight lines in log-odds connect the points (centred isotonic regression, Oron, Flournoy
    2017). Beyond the outermost blocks, their shift is kept. Half a positive and half a negative
    label at each end keep the outermost blocks away from 0 and 1.
    """
    ends = [probability.min(), probability.max()]
    p = np.concatenate([probability, np.repeat(ends, 2)])
    y = np.concatenate([label, [0, 1, 0, 1]])
    weight = np.concatenate([np.ones(len(label)), np.full(4, 0.5)])
    steps = IsotonicRegression().fit_transform(p, y, sample_weight=weight)
    observed, block = np.unique(steps, return_inverse=True)
    predicted = np.bincount(block, weight * p) / np.bincount(block, weight)
    knots = _logit(predicted)
    return Calibrator("isotonic", knots=knots, shifts=_logit(observed) - knots)


METHODS: dict[str, Callable[[Floats, Ints], Calibrator]] = {
    "none": fit_none,
    "platt": fit_platt,
    "isotonic": fit_isotonic,
}  # simplest first


def fit(
    probability: Floats, label: Ints, offsets: Ints, *, folds: int = 5, seed: int = 0
) -> Calibrator:
    """Choose a method by cross-validation over shoppers, then fit it on all of them.

    A method replaces a simpler one only if it lowers the held-out log-loss by more than one
    standard error of the difference across shoppers (after Breiman et al. 1984, "CART").

    Args:
        probability: for shoppers that the model was not trained on, shape (n_pairs,).
        label: 0 or 1, shape (n_pairs,).
        offsets: shape (n_users + 1,).
        folds: number of folds of shoppers.
        seed: assigns shoppers to folds.

    Returns:
        The fitted calibrator; ``none`` if the labels outside some fold are all the same.
    """
    held_out = _held_out(offsets, folds, seed)
    if any(len(np.unique(label[~rows])) < 2 for rows in held_out):
        return Calibrator()
    losses = {
        name: held_out_loss(name, probability, label, offsets, folds=folds, seed=seed)
        for name in METHODS
    }
    best = "none"
    for name in losses:
        if is_lower(losses[name], losses[best]):
            best = name
    chosen = METHODS[best](probability, label)
    figures = {name: float(loss.sum() / len(label)) for name, loss in losses.items()}
    return replace(chosen, log_loss=figures)


def held_out_loss(
    method: str, probability: Floats, label: Ints, offsets: Ints, *, folds: int = 5, seed: int = 0
) -> Floats:
    """Return the log-loss of each shopper under a calibrator fitted on the other folds.

    The arguments are those of `fit`, which uses the same folds. The shape is (n_users,).
    """
    loss = np.empty(len(label))
    for rows in _held_out(offsets, folds, seed):
        p = METHODS[method](probability[~rows], label[~rows]).transform(probability[rows])
        loss[rows] = -np.log(np.where(label[rows] == 1, p, 1 - p))
    return np.bincount(user_of_pair(offsets), loss, minlength=len(offsets) - 1).astype(float)


def is_lower(loss: Floats, other: Floats, errors: float = 1) -> bool:
    """Return whether a loss is lower than another by more than so many standard errors.

    Both have one entry per shopper, and the standard error is that of the paired difference. One
    shopper alone has none.
    """
    gain = other - loss
    return len(gain) > 1 and bool(gain.sum() > errors * np.sqrt(len(gain)) * gain.std(ddof=1) > 0)


def _held_out(offsets: Ints, folds: int, seed: int) -> list[Bools]:
    """Return the rows of each fold of shoppers, as masks."""
    shoppers = len(offsets) - 1
    fold = (np.random.default_rng(seed).permutation(shoppers) % folds)[user_of_pair(offsets)]
    return [fold == f for f in range(folds)]
