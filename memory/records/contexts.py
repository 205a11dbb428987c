"""Context keys: what identifies the task of a stored trial, as far as the environment shows it.

Shapes: D embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Importing numpy takes 80 ms; a reader of states and totals does not need it.
    import numpy as np
    from numpy.typing import NDArray

DIGEST_BYTES = 16
MAX_EMBEDDING = 64
"""Largest D."""

NO_GENERATION = 0
"""Generation of a key without an embedding."""


@dataclass(frozen=True, kw_only=True)
class ContextKey:
    """The keys of a trial, by which later trials of the same task find it.

    Attributes:
        digest: BLAKE2b-128 of ``info["context"]``, or of the trial's first observation where the environment gives
            none (:mod:`memory.retrieval.digests`). It only compares with digests of the same family.
        embedding: [D] float32, D ≤ 64: an encoder's summary of the trial's first steps; None before it is computed.
        generation: number of the encoder's parameters, at least 1; 0 without an embedding. Only embeddings of the same
            generation compare.
    """

    digest: bytes
    embedding: NDArray[np.float32] | None = None
    generation: int = NO_GENERATION


@dataclass(frozen=True, kw_only=True)
class StoredContextKey:
    """A context key in the store.

    Attributes:
        trial_id: the trial; ids grow with time.
        key: its keys.
    """

    trial_id: int
    key: ContextKey
