"""Reading processes from ``/proc``: their descendants and their resident memory; killing them."""

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
    """The state of one running process.

    Attributes:
        pid: process id.
        started_at: start time in clock ticks since boot. Ids are reused, but id and start time identify one process.
        resident_bytes: resident memory.
    """

    pid: int
    started_at: int
    resident_bytes: int


def process_state(pid: int) -> ProcessState | None:
    """Return the state of a process; None if it no longer exists."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field, the program's name in parentheses, may itself contain spaces and parentheses.
    fields = stat.rpartition(b")")[2].split()
    return ProcessState(pid=pid, started_at=int(fields[19]), resident_bytes=int(fields[21]) * mmap.PAGESIZE)


def descendants(pid: int) -> list[ProcessState]:
    """Return the state of every running descendant of a process."""
    found, to_visit = [], _children(pid)
    while to_visit:
        visited = to_visit.pop()
        state = process_state(visited)
        if state is not None:
            found.append(state)
            to_visit += _children(visited)
    return found


def held_bytes(states: list[ProcessState], *, enough: int) -> int:
    """Return the memory that processes hold together, where it is more than ``enough``; else a number up to that.

    Resident memory counts a page once in each process that shares it, so processes that were forked from one another
    would hold the same pages many times. Only where that sum is too large the pages are counted once, which is slower.
    """
    resident = sum(state.resident_bytes for state in states)
    return resident if resident <= enough else sum(map(_proportional_bytes, states))


def _proportional_bytes(state: ProcessState) -> int:
    """Return a process's resident memory, with each page divided by the number of processes that share it.

    It is 0 for a process that has exited.
    """
    try:
        lines = Path(f"/proc/{state.pid}/smaps_rollup").read_text().splitlines()
    except PermissionError:  # it belongs to another user now
        return state.resident_bytes
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def kill_seen(seen: list[ProcessState]) -> None:
    """Kill the processes that an earlier call of :func:`descendants` returned, unless their ids were reused."""
    for earlier in seen:
        now = process_state(earlier.pid)
        if now is not None and now.started_at == earlier.started_at:
            _kill(earlier.pid)


def kill_marked(mark: str) -> None:
    """Kill every process of this user whose environment contains ``mark`` (NAME=VALUE), until none is left.

    At most ``MAX_SWEEPS`` sweeps are made.
    """
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
    """Return a process's variables; an empty list if it has exited (a zombie too) or belongs to another user."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
