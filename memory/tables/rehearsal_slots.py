"""Changes of the reservoirs of rehearsal, inside the transactions of the tables that make them."""

from __future__ import annotations

from memory.connection import StoreConnection
from memory.records import NUM_SLOTS
from memory.row_checksums import checksum_of


def require_slot(slot: int | None) -> None:
    """Check that a slot is one of a reservoir, or None.

    Raises:
        ValueError: no reservoir has this slot.
    """
    if slot is not None and not 0 <= slot < NUM_SLOTS:
        raise ValueError(f"a rehearsal reservoir has the slots 0 to {NUM_SLOTS - 1}, not {slot}")


def take_slot(connection: StoreConnection, *, family_id: int, slot: int, trial_id: int) -> None:
    """Put a trial into a slot. The trial that had the slot becomes one that prune may remove."""
    connection.execute(
        "INSERT OR REPLACE INTO rehearsal_trials (family_id, slot, trial_id) VALUES (?, ?, ?)",
        (family_id, slot, trial_id),
    )


def set_teacher(connection: StoreConnection, *, family_id: int, learner_step: int, parameters: bytes) -> None:
    """Record a family's teacher in place of the one before."""
    connection.execute(
        "INSERT OR REPLACE INTO rehearsal_teachers (id, learner_step, parameters, checksum) VALUES (?, ?, ?, ?)",
        (family_id, learner_step, parameters, checksum_of((learner_step, parameters))),
    )


def free_slots(connection: StoreConnection, family_id: int) -> int:
    """Empty a family's reservoir; return the number of trials that were in it. Prune may then remove them.

    The family's teacher goes with them.
    """
    connection.execute("DELETE FROM rehearsal_teachers WHERE id = ?", (family_id,))
    return connection.execute("DELETE FROM rehearsal_trials WHERE family_id = ?", (family_id,))
