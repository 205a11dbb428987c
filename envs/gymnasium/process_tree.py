"""Processes of this machine as ``/proc`` shows them: who descends from whom, and how much memory they hold."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
from dataclasses import dataclass
from pathlib import Path

MAX_SWEEPS = 10


@dataclass(frozen=True, kw_only=True)
class ProcessState:
    """One living process.

    Attributes:
        pid: its id.
        started_at: start time in clock ticks since boot; with the id it names one process for good.
        resident_bytes: resident memory.
    """

    pid: int
    started_at: int
    resident_bytes: int


def process_state(pid: int) -> ProcessState | None:
    """Return the state of a process; None when it has ended and is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field, the program's name in parentheses, may hold spaces and parentheses itself.
    fields = stat.rpartition(b")")[2].split()
    return ProcessState(pid=pid, started_at=int(fields[19]), resident_bytes=int(fields[21]) * mmap.PAGESIZE)


def descendants(pid: int) -> list[ProcessState]:
    """Return the state of every living descendant of a process."""
    found, to_visit = [], _children(pid)
    while to_visit:
        visited = to_visit.pop()
        state = process_state(visited)
        if state is not None:
            found.append(state)
            to_visit += _children(visited)
    return found


def kill_seen(seen: list[ProcessState]) -> None:
    """Kill the processes of an earlier :func:`descendants` that are still the same."""
    for earlier in seen:
        now = process_state(earlier.pid)
        if now is not None and now.started_at == earlier.started_at:
            _kill(earlier.pid)


def kill_marked(mark: str) -> None:
    """Kill every process of this user whose environment holds the variable ``mark``, until there is none left."""
    for _ in range(MAX_SWEEPS):
        marked = [pid for pid in _all_processes() if mark.encode() in _environment_of(pid)]
        if not marked:
            return
        for pid in marked:
            _kill(pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, children.read_text().split())
    return found


def _all_processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _environment_of(pid: int) -> list[bytes]:
    """Return a process's variables; none where it has ended (a zombie too) or belongs to another user."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
