"""Which part of the shoppers trains, validates and tests in each fold of a cross-validation."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml.modelling.basket import Floats

Strings = npt.NDArray[np.str_]

VALIDATION_SHARE = 0.1
"""Of all shoppers, in each fold; as in the standing split."""


def place(user_id: npt.NDArray[Any] | pa.Array, digit: int = 0) -> Floats:
    """Return where on the circle from 0 to 1 the hash puts each shopper, the same everywhere.

    With ``digit`` 0 these are the digits that the standing split of ``targets`` goes by.
    """
    distinct, code = np.unique(np.asarray(user_id), return_inverse=True)
    digests = (hashlib.md5(str(user).encode()).hexdigest() for user in distinct)
    return np.array([int(digest[digit : digit + 4], 16) / 16**4 for digest in digests])[code]


def part_in_fold(place: Floats, fold: int, folds: int) -> Strings:
    """Name the part that shoppers have in a fold.

    Test shoppers are an arc of the circle, validation shoppers the tenth that follows: the first
    of five folds is the standing split, and each further one turns it by a fifth.
    """
    after = (place - (fold + 1) / folds) % 1
    part = np.where(after < VALIDATION_SHARE, "validation", "train")
    return np.where(np.floor(place * folds) == fold, "test", part)
