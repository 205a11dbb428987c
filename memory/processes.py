"""Queries of ``/proc`` about other processes: their parents, open files and locks."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def parent_of(pid: int) -> int | None:
    """Return the pid of a process's parent; None for a process that has exited."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The format is "pid (name) state parent …"; the name may contain parentheses.
    return int(text.rpartition(")")[2].split()[1])


def has_open(pid: int, path: Path) -> bool:
    """Return whether a process has a file open; False also if this process may not see its open files."""
    try:
        wanted = path.stat()
        links = list((PROC / str(pid) / "fd").iterdir())
    except OSError:
        return False
    return any(_is_same(link, wanted) for link in links)


def _is_same(link: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(link.stat(), wanted)
    except OSError:
        return False


def flock_holder(path: Path) -> int | None:
    """Return the pid of the process that holds an exclusive ``flock`` of a file or directory; None if there is none.

    A line of ``/proc/locks`` is "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF". On a file system whose device number
    there differs from that of ``stat`` (btrfs), no holder is found.
    """
    try:
        found = path.stat()
        lines = (PROC / "locks").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in lines:
        fields = line.split()
        if fields[1:2] == ["FLOCK"] and fields[3:4] == ["WRITE"] and fields[5:6] == [wanted] and fields[4].isdigit():
            return int(fields[4]) or None
    return None
