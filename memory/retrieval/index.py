"""An index of one family's context keys in memory: exact matches of digests, and nearest neighbours of embeddings.

Neighbours are exact (recall 1). The distance is ‖k − q‖, ranked by ‖k‖² − 2 k·q over all keys in one pass, which costs
about as much as reading them; the best are then measured again without cancellation. Keys are stored relative to the
mean of the first ones, so that their squares are small and few digits cancel. ``docs/lab/retrieval.md`` has the
figures, beside those of an approximate index.

Shapes: N keys, Q queries, D embedding width, C neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memory.records import DIGEST_BYTES

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]

NO_TRIAL = -1
"""Id in the place of a neighbour that does not exist; its distance is infinite."""

_FIRST_CAPACITY = 1_024
_ROWS_AT_ONCE = 32_768
"""Keys per part of a pass, so that a part's scores stay in the processor's cache."""

_BLOCK = 128
"""Keys per block of scores. The C best keys are in the C blocks with the best minima."""

_SPARE = 8
"""Neighbours beyond C that are measured again, because rounding may swap nearly equal ones."""


@dataclass(frozen=True, kw_only=True)
class Matches:
    """The trials that an index finds for one query, best first.

    Attributes:
        trial_ids: [C] at most as many as were asked for.
        distances: [C] distances of the embeddings; NaN where either has none.
        is_exact: whether the trials have the digest of the query.
        num_exact: number of all trials with that digest.
    """

    trial_ids: Ids
    distances: Floats
    is_exact: bool
    num_exact: int


class ContextIndex:
    """The context keys of one family, for search.

    Args:
        width: D. Embeddings of another width count as absent.
    """

    def __init__(self, width: int = 64) -> None:
        self.width = width
        self._size = 0
        self._centre: Floats | None = None
        self._allocate(_FIRST_CAPACITY)

    def __len__(self) -> int:
        """Return the number of trials."""
        return self._size

    @property
    def trial_ids(self) -> Ids:
        """[N] the ids of the trials, ascending."""
        return self._ids[: self._size].copy()

    @property
    def size_bytes(self) -> int:
        """The memory that the index takes."""
        return sum(array.nbytes for array in self._arrays)

    @property
    def _arrays(self) -> list[NDArray[Any]]:
        return [self._ids, self._digests, self._embeddings, self._squares]

    # Changes

    def add(self, trial_ids: Sequence[int] | Ids, digests: Sequence[bytes], embeddings: Floats | None = None) -> None:
        """Add trials. A trial that the index has gets the new keys.

        Args:
            trial_ids: [N].
            digests: [N] of ``DIGEST_BYTES`` bytes each.
            embeddings: [N, D]; rows of NaN for trials without an embedding; None if no trial has one.
        """
        ids = np.asarray(trial_ids, dtype=np.int64)
        if len(ids) == 0:
            return
        halves = np.frombuffer(b"".join(digests), dtype=np.uint64).reshape(len(ids), DIGEST_BYTES // 8)
        rows = self._rows_for(ids)
        self._digests[rows] = halves
        self._set_embeddings(rows, embeddings)

    # Search

    def exact(self, digest: bytes) -> Ids:
        """Return the ids of the trials with a digest, newest first."""
        return self._ids[self._exact_rows(digest)][::-1].copy()

    def nearest(self, queries: Floats, count: int) -> tuple[Ids, Floats]:
        """Return the nearest trials of each query, nearest first.

        Args:
            queries: [Q, D].
            count: C.

        Returns:
            Trial ids [Q, C] and distances [Q, C]; ``NO_TRIAL`` and infinity where there are fewer trials with an
            embedding.
        """
        queries = self._centred(queries)
        ids = np.full((len(queries), count), NO_TRIAL, dtype=np.int64)
        distances = np.full((len(queries), count), np.inf, dtype=np.float32)
        if self._size == 0 or count == 0:
            return ids, distances
        for index, (query, rows) in enumerate(zip(queries, self._candidates(queries, count + _SPARE), strict=True)):
            found = self._distances(query, rows)
            best = np.argsort(found, kind="stable")[:count]
            best = best[np.isfinite(found[best])]
            ids[index, : len(best)] = self._ids[rows[best]]
            distances[index, : len(best)] = found[best]
        return ids, distances

    def find(self, digest: bytes | None, embedding: Floats | None, count: int) -> Matches:
        """Return the best matches of one query: the trials with its digest, or else its nearest neighbours.

        Trials with the digest are ranked by distance if there is an embedding (a digest may be common to all tasks),
        and by age otherwise, newest first. Trials without an embedding come last.

        Args:
            digest: the digest of the query; None searches by embedding alone.
            embedding: [D] the embedding of the query; None searches by digest alone.
            count: C.
        """
        rows = np.empty(0, np.int64) if digest is None else self._exact_rows(digest)[::-1]
        if len(rows) == 0:
            return self._near(embedding, count)
        if embedding is None:
            unknown = np.full(min(count, len(rows)), np.nan, np.float32)
            return Matches(trial_ids=self._ids[rows[:count]], distances=unknown, is_exact=True, num_exact=len(rows))
        distances = self._distances(self._centred(embedding), rows)
        best = np.argsort(distances, kind="stable")[:count]
        found = np.where(np.isinf(distances[best]), np.float32(np.nan), distances[best])
        return Matches(trial_ids=self._ids[rows[best]], distances=found, is_exact=True, num_exact=len(rows))

    def _near(self, embedding: Floats | None, count: int) -> Matches:
        """Return the nearest neighbours as matches that are not exact."""
        if embedding is None:
            none = np.empty(0, np.int64), np.empty(0, np.float32)
            return Matches(trial_ids=none[0], distances=none[1], is_exact=False, num_exact=0)
        ids, distances = self.nearest(embedding[None], count)
        is_found = ids[0] != NO_TRIAL
        return Matches(trial_ids=ids[0][is_found], distances=distances[0][is_found], is_exact=False, num_exact=0)

    def _exact_rows(self, digest: bytes) -> Ids:
        """Return the rows with a digest, oldest first."""
        halves = np.frombuffer(digest, dtype=np.uint64)
        rows = np.flatnonzero(self._digests[: self._size, 0] == halves[0])
        same: Ids = rows[self._digests[rows, 1] == halves[1]]
        return same

    def _centred(self, embeddings: Floats) -> Floats:
        """Return embeddings [..., D] relative to the centre."""
        values = np.ascontiguousarray(embeddings, dtype=np.float32)
        return values if self._centre is None else values - self._centre

    def _distances(self, query: Floats, rows: Ids) -> Floats:
        """Return the distances of rows [C] to a centred query [D]; infinite for rows without an embedding."""
        found: Floats = np.sqrt(((self._embeddings[rows] - query) ** 2).sum(1))
        return np.where(np.isfinite(self._squares[rows]), found, np.float32(np.inf))

    def _candidates(self, queries: Floats, count: int) -> list[Ids]:
        """Return for each centred query the rows of its ``count`` best scores, in no order."""
        found: list[list[Ids]] = [[] for _ in queries]
        scores: list[list[Floats]] = [[] for _ in queries]
        doubled = -2.0 * queries.T
        for start in range(0, self._size, _ROWS_AT_ONCE):
            part = slice(start, min(start + _ROWS_AT_ONCE, self._size))
            products = self._embeddings[part] @ doubled
            for index in range(len(queries)):
                score = products[:, index] + self._squares[part]
                best = _smallest(score, count)
                found[index].append(best + start)
                scores[index].append(score[best])
        chosen = (_smallest(np.concatenate(score), count) for score in scores)
        return [np.concatenate(rows)[best] for rows, best in zip(found, chosen, strict=True)]

    # Rows: the trials' arrays, in ascending order of their ids

    def _rows_for(self, ids: Ids) -> Ids:
        """Return the rows of trials, and make rows for those that have none."""
        rows = self._rows_of(ids)
        new = np.unique(ids[rows < 0])
        if len(new):
            self._append(new)
            rows = self._rows_of(ids)
        return rows

    def _rows_of(self, ids: Ids) -> Ids:
        """Return the rows of trials; -1 for ids that the index does not have."""
        known = self._ids[: self._size]
        places = np.minimum(np.searchsorted(known, ids), max(self._size - 1, 0))
        if self._size == 0:
            return np.full(len(ids), -1)
        return np.where(known[places] == ids, places, -1)

    def _append(self, ids: Ids) -> None:
        """Make rows for new trials, in ascending order, without keys."""
        if self._size + len(ids) > len(self._ids):
            self._take(np.arange(self._size), capacity=max(2 * len(self._ids), self._size + len(ids)))
        end = self._size + len(ids)
        is_in_order = self._size == 0 or bool(ids[0] > self._ids[self._size - 1])
        self._ids[self._size : end] = ids
        self._squares[self._size : end] = np.inf
        self._size = end
        if not is_in_order:
            self._take(np.argsort(self._ids[:end], kind="stable"), capacity=len(self._ids))

    def _set_embeddings(self, rows: Ids, embeddings: Floats | None) -> None:
        if embeddings is None or embeddings.shape[1] != self.width:
            self._squares[rows] = np.inf
            return
        is_known = np.isfinite(embeddings.sum(axis=1))
        if self._centre is None and is_known.any():
            self._centre = embeddings[is_known].mean(0, dtype=np.float64).astype(np.float32)
        values = np.where(is_known[:, None], self._centred(embeddings), np.float32(0.0))
        self._embeddings[rows] = values
        self._squares[rows] = np.where(is_known, (values**2).sum(1), np.float32(np.inf))

    def _take(self, rows: Ids, *, capacity: int) -> None:
        """Put the rows into new arrays, in this order."""
        old = self._arrays
        self._allocate(capacity)
        for before, after in zip(old, self._arrays, strict=True):
            before.take(rows, axis=0, out=after[: len(rows)], mode="clip")

    def _allocate(self, capacity: int) -> None:
        self._ids: Ids = np.zeros(capacity, np.int64)
        self._digests: NDArray[np.uint64] = np.zeros((capacity, DIGEST_BYTES // 8), np.uint64)
        self._embeddings: Floats = np.zeros((capacity, self.width), np.float32)
        self._squares: Floats = np.full(capacity, np.inf, np.float32)


def _smallest(values: Floats, count: int) -> Ids:
    """Return the places of the ``count`` smallest values, in no order; of all values if there are fewer.

    Only the ``count`` blocks with the smallest minima are searched, which is much faster than ``argpartition`` over
    everything.
    """
    num_blocks = len(values) // _BLOCK
    if num_blocks <= count:
        places = np.arange(len(values))
    else:
        minima = values[: num_blocks * _BLOCK].reshape(num_blocks, _BLOCK).min(1)
        blocks = np.argpartition(minima, count - 1)[:count]
        inside = (blocks[:, None] * _BLOCK + np.arange(_BLOCK)).ravel()
        places = np.concatenate([inside, np.arange(num_blocks * _BLOCK, len(values))])
    if len(places) <= count:
        return places
    best: Ids = places[np.argpartition(values[places], count - 1)[:count]]
    return best
