"""Context keys of the stored trials. They are derived data: a lost or damaged key is computed again from its trial.

Therefore the rows have no checksum. An embedding that cannot be read counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from memory.connection import Row, StoreConnection
from memory.records import DIGEST_BYTES, MAX_EMBEDDING, NO_GENERATION, ContextKey, StoredContextKey
from memory.tables.families import FamilyTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_UPSERT = (
    "INSERT INTO context_keys (trial_id, family_id, digest, embedding, generation)"
    " SELECT id, family_id, ?, ?, ? FROM trials WHERE id = ?"
    " ON CONFLICT (trial_id) DO UPDATE SET digest = excluded.digest, embedding = excluded.embedding,"
    " generation = excluded.generation"
)
_OUTDATED = """
SELECT trials.id FROM trials LEFT JOIN context_keys ON context_keys.trial_id = trials.id
WHERE trials.family_id = ? AND (context_keys.trial_id IS NULL OR context_keys.generation <> ?)
ORDER BY trials.id DESC LIMIT ?
"""


class ContextKeyTable:
    """The context keys of a store. Prune and repair remove a key together with its trial."""

    def __init__(self, connection: StoreConnection, families: FamilyTable) -> None:
        self._connection = connection
        self._families = families

    def add(self, trial_id: int, key: ContextKey) -> None:
        """Record the key of a trial inside the caller's transaction; replace the key that the trial has.

        Raises:
            ValueError: the digest or the embedding has a wrong size, or the generation does not fit.
        """
        self._connection.execute(_UPSERT, (*_columns(key), trial_id))

    def put(self, keys: Mapping[int, ContextKey]) -> int:
        """Record the keys of trials in one transaction; leave out trials that were pruned in the meantime.

        Args:
            keys: trial id → key. A key replaces the one that the trial has.

        Returns:
            The number of recorded keys.

        Raises:
            ValueError: a digest or an embedding has a wrong size, or a generation does not fit.
        """
        columns = {trial_id: _columns(key) for trial_id, key in keys.items()}
        # Not durable: a key that a power cut loses is computed again.
        with self._connection.transaction("recording context keys", is_durable=False):
            return sum(self._connection.execute(_UPSERT, (*values, trial_id)) for trial_id, values in columns.items())

    def get(self, trial_id: int) -> ContextKey | None:
        """Return the key of a trial; None if it has none."""
        row = self._connection.row("SELECT * FROM context_keys WHERE trial_id = ?", (trial_id,))
        return None if row is None else _key(row)

    def of_family(self, family: str, *, after: int = 0, limit: int = 10_000) -> list[StoredContextKey]:
        """Return the keys of a family's trials, oldest first.

        Args:
            family: name of the family.
            after: only trials with a greater id, so that a long list is read in parts.
            limit: largest number of keys.

        Raises:
            FamilyNotFoundError: there is no family of that name.
        """
        with self._connection.snapshot():
            family_id = self._families.get(family).id
            rows = self._connection.rows(
                "SELECT * FROM context_keys WHERE family_id = ? AND trial_id > ? ORDER BY trial_id LIMIT ?",
                (family_id, after, limit),
            )
        return [StoredContextKey(trial_id=row["trial_id"], key=_key(row)) for row in rows]

    def outdated(self, family: str, *, generation: int, limit: int) -> list[int]:
        """Return the ids of a family's trials that have no embedding of a generation, newest first.

        Trials without a key are among them: a store of an older learnd has none.

        Raises:
            FamilyNotFoundError: there is no family of that name.
        """
        with self._connection.snapshot():
            family_id = self._families.get(family).id
            rows = self._connection.rows(_OUTDATED, (family_id, generation, limit))
        return [int(row["id"]) for row in rows]


def _columns(key: ContextKey) -> tuple[bytes, bytes | None, int]:
    if len(key.digest) != DIGEST_BYTES:
        raise ValueError(f"a digest has {DIGEST_BYTES} bytes, not {len(key.digest)}")
    if (key.embedding is None) != (key.generation == NO_GENERATION):
        raise ValueError(f"an embedding has a generation of at least 1, and no embedding has 0, not {key.generation}")
    return key.digest, None if key.embedding is None else _packed(key.embedding), key.generation


def _packed(embedding: NDArray[np.float32]) -> bytes:
    if embedding.ndim != 1 or not 1 <= len(embedding) <= MAX_EMBEDDING:
        raise ValueError(f"an embedding has the shape [1 … {MAX_EMBEDDING}], not {list(embedding.shape)}")
    return embedding.astype("<f4", copy=False).tobytes()


def _key(row: Row) -> ContextKey:
    embedding = _embedding(row["embedding"])
    return ContextKey(
        digest=bytes(row["digest"]),
        embedding=embedding,
        generation=NO_GENERATION if embedding is None else int(row["generation"]),
    )


def _embedding(content: bytes | None) -> NDArray[np.float32] | None:
    if content is None or not 4 <= len(content) <= 4 * MAX_EMBEDDING or len(content) % 4:
        return None
    import numpy as np

    embedding = np.frombuffer(content, dtype="<f4").astype(np.float32)
    return embedding if np.isfinite(embedding).all() else None
