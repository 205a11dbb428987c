"""The context indexes of the families of a store, loaded when they are first used and kept up to date.

Shapes: D embedding width.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from memory.records import ContextKey, StoredContextKey
from memory.retrieval.index import ContextIndex, Floats
from memory.tables.context_keys import ContextKeyTable, KeyExtent

_KEYS_AT_ONCE = 10_000


@dataclass
class _FamilyIndex:
    """The index of one family.

    Attributes:
        index: its keys.
        extent: the keys of the table when the index was last brought up to date.
    """

    index: ContextIndex
    extent: KeyExtent = field(default_factory=lambda: KeyExtent(family_id=0, num_keys=0, newest_trial=0))


class FamilyIndexes:
    """One context index per family.

    Args:
        contexts: the context keys of the store.
        width: D of the encoder's embeddings.
        generation: the encoder's generation. Embeddings of other generations count as absent.
    """

    def __init__(self, contexts: ContextKeyTable, *, width: int, generation: int) -> None:
        self._contexts = contexts
        self._width = width
        self.generation = generation
        self._families: dict[str, _FamilyIndex] = {}

    def of(self, family: str) -> ContextIndex:
        """Return a family's index, brought up to date with the store: once per slice, not once per query.

        Keys that were added or removed since the last call are found by their number and the newest id. Keys that were
        replaced are found only if they were replaced by :meth:`put`.

        Raises:
            FamilyNotFoundError: there is no family of that name.
        """
        extent = self._contexts.extent(family)
        held = self._families.get(family)
        if held is None or held.extent.family_id != extent.family_id:
            held = self._families[family] = _FamilyIndex(ContextIndex(self._width))
        if extent != held.extent:
            self._add(held.index, family, after=held.extent.newest_trial)
            if len(held.index) != extent.num_keys:
                self._synchronise(held.index, family)
            held.extent = extent
        return held.index

    def put(self, family: str, keys: Mapping[int, ContextKey]) -> None:
        """Record keys in the store and in the family's index.

        Args:
            family: name of the family of all these trials.
            keys: trial id → key.
        """
        self._contexts.put(keys)
        held = self._families.get(family)
        if held is not None:
            present = [StoredContextKey(trial_id=trial_id, key=key) for trial_id, key in sorted(keys.items())]
            self._take(held.index, present)
            self._synchronise(held.index, family)
            held.extent = self._contexts.extent(family)

    def keep_only(self, families: Collection[str]) -> None:
        """Release the indexes of other families."""
        self._families = {name: held for name, held in self._families.items() if name in families}

    def _add(self, index: ContextIndex, family: str, *, after: int) -> None:
        while batch := self._contexts.of_family(family, after=after, limit=_KEYS_AT_ONCE):
            self._take(index, batch)
            after = batch[-1].trial_id

    def _take(self, index: ContextIndex, keys: Sequence[StoredContextKey]) -> None:
        embeddings = np.full((len(keys), self._width), np.nan, np.float32)
        for row, stored in enumerate(keys):
            embedding = self._embedding(stored.key)
            if embedding is not None:
                embeddings[row] = embedding
        index.add([stored.trial_id for stored in keys], [stored.key.digest for stored in keys], embeddings)

    def _embedding(self, key: ContextKey) -> Floats | None:
        """Return the embedding of a key; None if it is absent, of another generation or of another width."""
        if key.embedding is None or key.generation != self.generation or len(key.embedding) != self._width:
            return None
        return key.embedding

    def _synchronise(self, index: ContextIndex, family: str) -> None:
        """Remove from the index the trials that the store no longer has, and add those that it misses."""
        stored = np.array(self._contexts.trial_ids(family), np.int64)
        index.remove(np.setdiff1d(index.trial_ids, stored))
        missing = np.setdiff1d(stored, index.trial_ids)
        if len(missing):
            self._add(index, family, after=int(missing[0]) - 1)
