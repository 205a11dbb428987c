"""The values of the newest quarantines of families."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memory.store import Store


def quarantine_values(store: Store, *, limit: int) -> dict[str, Any]:
    """Return the JSON values of the newest quarantines, newest first.

    Args:
        store: the store.
        limit: largest number of quarantines.
    """
    return {"quarantines": [asdict(quarantine) for quarantine in store.quarantines.newest(limit)]}
