"""The watch of the memory that a worker and all its descendants hold, without that of their supervisor."""

from __future__ import annotations

import time

from envs.gymnasium.process_tree import ProcessState, descendants, held_bytes
from envs.limits import WorkerLimits

MIB = 1 << 20

CLOSING_FACTOR = 1.5
"""A worker whose memory exceeds this multiple of its limit while it closes its environments is killed at once."""


class MemoryWatch:
    """A watch of a worker's memory.

    Args:
        supervisor_pid: the supervisor, whose descendants are the worker and what it started.
        limits: the limit of memory, and the time between two looks.
    """

    def __init__(self, supervisor_pid: int, limits: WorkerLimits) -> None:
        self._pid = supervisor_pid
        self._limits = limits
        self._looked_at = time.monotonic()
        self.seen: list[ProcessState] = []
        """The processes that the last look found."""

    def is_due(self, now: float) -> bool:
        """Return whether to look at ``now``, in monotonic seconds."""
        return now - self._looked_at > self._limits.watch_interval_s

    def excess(self, now: float) -> str:
        """Look, and return what is held above the limit, in words; empty if nothing is.

        Args:
            now: monotonic seconds.
        """
        self._looked_at = now
        bound = self._limits.memory_mib * MIB
        held = self._held_bytes(bound)
        if held <= bound:
            return ""
        return f"it holds {held // MIB} MiB of memory and may hold {self._limits.memory_mib} MiB."

    def is_too_much_to_close(self) -> bool:
        """Look, and return whether a worker that closes its environments holds so much that it has to be killed."""
        bound = int(CLOSING_FACTOR * self._limits.memory_mib * MIB)
        return self._held_bytes(bound) > bound

    def _held_bytes(self, enough: int) -> int:
        """Return the memory of the worker and all its descendants if it is over ``enough``."""
        found = descendants(self._pid)
        self.seen = found or self.seen  # None is found if the supervisor was killed.
        return held_bytes(found, enough=enough)
