"""The share of the machine's cores that a worker keeps to.

A worker that wants more by threads or processes is moved to as many cores as its share has, and to the lowest priority.
It can go on, more slowly; the processes of learnd and other workers keep the other cores.

What a thread wants is the time that it ran and the time that it waited for a core, so the measure does not depend on
how busy the machine is (``/proc/PID/task/TID/schedstat``). One thread wants at most one core.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

LOWEST_PRIORITY = 19

OVER = 1.25
"""A worker may want this multiple of its share, because one that uses its share has threads that do little too."""

WINDOW_S = 1.0
"""Shortest time over which the use of cores is measured."""

_NS = 1e-9


class CoreShare:
    """The limit of a worker's use of cores.

    Args:
        num_cores: the share; 0 for no limit.
    """

    def __init__(self, num_cores: int) -> None:
        self._num_cores = num_cores
        allowed = sorted(os.sched_getaffinity(0))
        self._has_limit = 0 < num_cores < len(allowed)
        first = os.getpid() % len(allowed)
        self._cores = {allowed[(first + place) % len(allowed)] for place in range(max(1, num_cores))}
        self._wanted: dict[int, float] = {}
        self._measured_at: float | None = None
        self.is_restricted = False

    def keep(self, pids: Sequence[int], now_s: float) -> None:
        """Measure what processes wanted since the last measurement, and restrict them from now on if it was too much.

        Args:
            pids: the worker and its descendants.
            now_s: the present time of the monotonic clock.
        """
        if not self._has_limit:
            return
        since_s = None if self._measured_at is None else now_s - self._measured_at
        if since_s is not None and since_s < WINDOW_S:
            return
        wanted: dict[int, float] = {}
        for pid in pids:
            wanted |= wanted_s(pid)
        if since_s is not None:
            more_s = sum(total - self._wanted.get(thread, 0.0) for thread, total in wanted.items())
            self.is_restricted |= more_s > OVER * self._num_cores * since_s
        self._wanted, self._measured_at = wanted, now_s
        if self.is_restricted:
            for pid in pids:
                self._restrict(pid)

    def _restrict(self, pid: int) -> None:
        """Restrict all threads of a process. A process that has ended, or has another user, is left out."""
        with contextlib.suppress(OSError):
            for thread in map(int, os.listdir(f"/proc/{pid}/task")):  # noqa: PTH208
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(thread, self._cores)
                    os.setpriority(os.PRIO_PROCESS, thread, LOWEST_PRIORITY)


def wanted_s(pid: int) -> dict[int, float]:
    """Return the seconds that each thread of a process ran or waited for a core; empty if the process has ended."""
    wanted: dict[int, float] = {}
    with contextlib.suppress(OSError):
        for thread in map(int, os.listdir(f"/proc/{pid}/task")):  # noqa: PTH208
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/schedstat", "rb") as file:  # noqa: PTH123
                ran, waited, _ = file.read().split()
                wanted[thread] = _NS * (int(ran) + int(waited))
    return wanted
