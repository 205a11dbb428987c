"""Fixed pseudo-random signs of numbers, for projections that keep distances (Johnson & Lindenstrauss 1984)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIGNS = 64
"""D: the signs of one number are the bits of a 64-bit hash."""


def random_signs(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return [n, D]: for each number, D signs times 1/√D. They never change.

    The hash is SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators", fig. 16).
    """
    mixed = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    bits = np.unpackbits(mixed.astype("<u8").view(np.uint8).reshape(len(numbers), 8), axis=1)
    return (bits.astype(np.float32) * 2.0 - 1.0) * np.float32(SIGNS**-0.5)
