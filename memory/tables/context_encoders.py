"""The parameters of the families' context encoders. They are derived data: lost ones are fitted again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memory.connection import StoreConnection
from memory.files.episode_codec import checksum
from memory.tables.families import FamilyTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class StoredEncoder:
    """The parameters of a family's encoder.

    Attributes:
        generation: the number of these parameters, at least 1.
        trials_seen: the family's total of trials when they were fitted.
        parameters: the arrays by name; empty if the row is damaged.
    """

    generation: int
    trials_seen: int
    parameters: Mapping[str, NDArray[np.float32]]


class ContextEncoderTable:
    """The encoders of a store, one per family."""

    def __init__(self, connection: StoreConnection, families: FamilyTable) -> None:
        self._connection = connection
        self._families = families

    def get(self, family: str) -> StoredEncoder | None:
        """Return a family's encoder; None if it has none yet.

        Raises:
            FamilyNotFoundError: there is no family of that name.
        """
        with self._connection.snapshot():
            family_id = self._families.get(family).id
            row = self._connection.row("SELECT * FROM context_encoders WHERE family_id = ?", (family_id,))
        if row is None:
            return None
        parameters = {}
        if checksum(row["parameters"]) == row["checksum"]:
            from safetensors.numpy import load

            parameters = load(row["parameters"])
        return StoredEncoder(generation=row["generation"], trials_seen=row["trials_seen"], parameters=parameters)

    def put(self, family: str, parameters: Mapping[str, NDArray[np.float32]], *, trials_seen: int) -> int:
        """Record a family's new parameters; return their generation.

        Raises:
            FamilyNotFoundError: there is no family of that name.
        """
        from safetensors.numpy import save

        content = save(dict(parameters))
        with self._connection.transaction("recording a context encoder"):
            family_id = self._families.get(family).id
            newest = self._connection.value(
                "SELECT max(coalesce((SELECT generation FROM context_encoders WHERE family_id = ?1), 0),"
                " coalesce((SELECT max(generation) FROM context_keys WHERE family_id = ?1), 0))",
                (family_id,),
            )
            self._connection.execute(
                "INSERT OR REPLACE INTO context_encoders (family_id, generation, trials_seen, parameters, checksum)"
                " VALUES (?, ?, ?, ?, ?)",
                (family_id, newest + 1, trials_seen, content, checksum(content)),
            )
        return int(newest) + 1
