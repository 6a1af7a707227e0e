"""Divide shoppers into training, validation and test parts for each fold of a cross-validation."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml.modelling.basket import Floats

Strings = npt.NDArray[np.str_]

VALIDATION_SHARE = 0.1
"""Share of all shoppers in each fold, the same as in the fixed split of ``targets``."""


def place(user_id: npt.NDArray[Any] | pa.Array, digit: int = 0) -> Floats:
    """Return each shopper's place on a circle from 0 to 1, shape (n_users,).

    The place is four hexadecimal digits of the MD5 hash of the id, starting at ``digit``, so it is
    the same on every machine. Digit 0 gives the places that the fixed split of ``targets`` uses.
    """
    distinct, code = np.unique(np.asarray(user_id), return_inverse=True)
    digests = (hashlib.md5(str(user).encode()).hexdigest() for user in distinct)
    return np.array([int(digest[digit : digit + 4], 16) / 16**4 for digest in digests])[code]


def spaced(user_id: npt.NDArray[Any] | pa.Array, everyone: npt.NDArray[Any] | pa.Array) -> Floats:
    """Return each shopper's place if ``everyone`` is evenly spaced, in the order of `place`.

    With few shoppers, some arcs of the circle would have none. Evenly spaced, ten shoppers are
    enough for each of five folds to have test, validation and training shoppers.
    """
    distinct = np.unique(place(everyone))
    return (np.searchsorted(distinct, place(user_id)) + 0.5) / len(distinct)


def part_in_fold(place: Floats, fold: int, folds: int) -> Strings:
    """Return each shopper's part in a fold, ``train``, ``validation`` or ``test``.

    Test shoppers are an arc of the circle; validation shoppers are the tenth after it. The first
    of five folds is the fixed split, and each later fold rotates it by a fifth.
    """
    after = (place - (fold + 1) / folds) % 1
    part = np.where(after < VALIDATION_SHARE, "validation", "train")
    return np.where(np.floor(place * folds) == fold, "test", part)
