"""Resident memory and CPU time of the service's processes, by their kind."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass

import psutil

DAEMON, TRAINER, WORKER, REFERENCE = "daemon", "trainer", "worker", "reference"
KINDS = (DAEMON, TRAINER, WORKER, REFERENCE)


@dataclass(frozen=True, kw_only=True)
class ProcessUsage:
    """The use of the processes of one kind.

    Attributes:
        resident_bytes: resident memory of those that run.
        cpu_s: CPU time, user and system, of those that run and of those that have ended.
    """

    resident_bytes: int = 0
    cpu_s: float = 0.0


class ProcessMeter:
    """A meter of this process and its descendants.

    The CPU time that a process used after the last reading before its end is not counted.
    """

    def __init__(self) -> None:
        self._cpu_s = dict.fromkeys(KINDS, 0.0)
        self._seen: dict[tuple[int, float], float] = {}

    def read(self, trainer_pid: int | None) -> dict[str, ProcessUsage]:
        """Return the use of each kind of process.

        Args:
            trainer_pid: the process id of the trainer; None if none runs. Its descendants are the workers. Other
                descendants of this process measure references.
        """
        resident: dict[str, int] = defaultdict(int)
        seen: dict[tuple[int, float], float] = {}
        own = psutil.Process(os.getpid())
        kinds = {own.pid: DAEMON}
        for process in [own, *own.children(recursive=True)]:
            kind = kinds.setdefault(process.pid, _kind_of(process, kinds, trainer_pid))
            try:
                with process.oneshot():
                    times, key = process.cpu_times(), (process.pid, process.create_time())
                    resident[kind] += process.memory_info().rss
            except psutil.Error:
                continue
            seen[key] = times.user + times.system
            self._cpu_s[kind] += max(0.0, seen[key] - self._seen.get(key, 0.0))
        self._seen = seen
        return {kind: ProcessUsage(resident_bytes=resident[kind], cpu_s=self._cpu_s[kind]) for kind in KINDS}


def _kind_of(process: psutil.Process, kinds: dict[int, str], trainer_pid: int | None) -> str:
    """Return the kind of a descendant; the kinds of those above it are known, because they are listed before it."""
    if process.pid == trainer_pid:
        return TRAINER
    try:
        parent = kinds.get(process.ppid(), WORKER)
    except psutil.Error:
        return WORKER
    return {DAEMON: REFERENCE, TRAINER: WORKER}.get(parent, parent)
