"""Find what is left of a hostile environment: processes, descriptors, threads, temporary folders and shared memory."""

from __future__ import annotations

import gc
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """A count of everything that a worker could leave.

    Attributes:
        descriptors: open descriptors of this process.
        threads: threads of this process.
        children: descendants of this process.
        folders: temporary folders of workers.
    """

    descriptors: int
    threads: int
    children: int
    folders: int


def count(temporary: Path) -> Leftovers:
    """Count what this process and the temporary folder hold."""
    gc.collect()
    return Leftovers(
        descriptors=sum(1 for _ in Path("/proc/self/fd").iterdir()),
        threads=threading.active_count(),
        children=len(psutil.Process().children(recursive=True)),
        folders=sum(1 for _ in temporary.glob("learnd-worker-*")),
    )


def processes_of(token: str) -> list[int]:
    """Return the processes, of any parent, whose arguments or variables hold a token."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        if int(path.name) == os.getpid():
            continue
        try:
            told = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
        except OSError:
            continue
        if token.encode() in told:
            found.append(int(path.name))
    return found


def shared_memory_of(token: str) -> list[Path]:
    """Return the shared memory whose name holds a token."""
    return [path for path in SHARED_MEMORY.iterdir() if token in path.name]


def await_no_process(token: str, *, timeout_s: float = 20.0) -> list[int]:
    """Wait until no process holds the token, and return those that still do."""
    deadline = time.monotonic() + timeout_s
    while (left := processes_of(token)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
