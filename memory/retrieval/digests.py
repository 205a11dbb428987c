"""Digests of first observations: equal for observations that are equal up to rounding.

An observation is rounded to 16 significant binary digits (a relative error of at most 2⁻¹⁷), so that the last bits of a
computation on another machine do not matter. A number below 2⁻²⁰ of the observation's largest magnitude counts as 0.
The bytes of observations with images are taken as they are.

Shapes: B trials, D observation width.
"""

from __future__ import annotations

from _blake2 import blake2b  # not hashlib, which loads OpenSSL
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memory.records import DIGEST_BYTES

_DROPPED_BITS = 8
"""Of the 24 significant bits of a float32."""

_SMALLEST_SHARE = np.float32(2.0**-20)


def observation_digests(observations: NDArray[np.float32] | NDArray[np.uint8]) -> list[bytes]:
    """Return the digest of each of [B, D] first observations."""
    rounded: NDArray[np.float32] | NDArray[np.uint8]
    if observations.dtype == np.uint8:
        rounded = np.ascontiguousarray(observations, dtype=np.uint8)
    else:
        rounded = _rounded(np.ascontiguousarray(observations, dtype=np.float32))
    return [blake2b(row.tobytes(), digest_size=DIGEST_BYTES, person=b"observation").digest() for row in rounded]


def context_digests(
    observations: NDArray[np.float32] | NDArray[np.uint8], given: Sequence[bytes | None] | None = None
) -> list[bytes]:
    """Return the digest of each of B trials.

    Args:
        observations: [B, D] first observations.
        given: [B] digests of ``info["context"]``, or None in the rows whose environment gave none
            (:func:`envs.task_batch.given_contexts`); None without any.
    """
    seen = observation_digests(observations)
    if given is None:
        return seen
    return [context or observation for context, observation in zip(given, seen, strict=True)]


def _rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values with the last bits of their significands rounded away, and negligible values set to 0."""
    bits = values.view(np.uint32)
    half = np.uint32(1 << (_DROPPED_BITS - 1))
    kept = np.uint32((0xFFFFFFFF << _DROPPED_BITS) & 0xFFFFFFFF)
    rounded = ((bits + half) & kept).view(np.float32)
    largest = np.abs(values).max(axis=1, keepdims=True, initial=0.0)
    return np.where(np.abs(values) > largest * _SMALLEST_SHARE, rounded, np.float32(0.0))
