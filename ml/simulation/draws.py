"""Counter-based random numbers in NumPy: each draw is a hash of what it is drawn for.

A draw depends on the seed, the quantity drawn and the keys (a shopper, a day, ...), and on no
earlier draw. So the numbers do not change with the size of the blocks or the order of the calls.
"""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Draws:
    """Random numbers in arrays, the same for the same seed, purpose and keys."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def uniform(self, purpose: str, *keys: npt.NDArray[Any]) -> Floats:
        """Uniform in [0, 1). The keys are whole numbers that broadcast; the first is an array."""
        digest = hashlib.blake2b(f"{self.seed} {purpose}".encode(), digest_size=8).digest()
        state: npt.NDArray[np.uint64] = np.array([int.from_bytes(digest, "little")], np.uint64)
        for key in keys:
            state = _mix(state + np.asarray(key).astype(np.uint64) * _STEP)
        return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def exponential(self, purpose: str, *keys: npt.NDArray[Any]) -> Floats:
        """Exponential with mean 1."""
        return -np.log1p(-self.uniform(purpose, *keys))

    def logistic(self, purpose: str, *keys: npt.NDArray[Any]) -> Floats:
        """Logistic: bell-shaped around 0, with a standard deviation of 1.8."""
        u = self.uniform(purpose, *keys)
        return np.log((u + 1e-16) / (1 - u))


_STEP = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scramble 64 bits: the finalizer of SplitMix64 (Steele, Lea and Flood 2014, OOPSLA)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
