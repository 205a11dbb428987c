"""The store's clock: a count of elapsed time that does not follow jumps of the wall clock.

The age of an episode is the time counted since it was recorded. Each commit of the trainer and each prune adds the time
that the wall clock has advanced since the previous one. A step backwards, or forwards by more than
``MAX_COUNTED_GAP_S``, adds nothing: it means that the clock was set, or that learnd was stopped for long.
"""

from __future__ import annotations

from memory.connection import StoreConnection

MAX_COUNTED_GAP_S = 86_400.0
"""The longest step of the wall clock that counts as elapsed time."""


def counted(gap_s: float) -> float:
    """Return the part of a step of the wall clock that counts as elapsed time: all of it or nothing."""
    return gap_s if 0.0 <= gap_s <= MAX_COUNTED_GAP_S else 0.0


def advance(connection: StoreConnection, at: float) -> float:
    """Count the time since the last call, inside the caller's transaction; return the total counted time.

    Args:
        connection: a connection with an open transaction.
        at: present time of the wall clock, in seconds since the epoch.
    """
    row = connection.row("SELECT counted_s, last_at FROM store_clock WHERE id = 1")
    counted_s = 0.0 if row is None else float(row["counted_s"])
    last_at = None if row is None else row["last_at"]
    counted_s += 0.0 if last_at is None else counted(at - last_at)
    connection.execute(
        "INSERT INTO store_clock (id, counted_s, last_at) VALUES (1, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET counted_s = excluded.counted_s, last_at = excluded.last_at",
        (counted_s, at),
    )
    return counted_s
