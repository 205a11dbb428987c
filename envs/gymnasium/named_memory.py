"""Named shared memory (``/dev/shm``) that a worker made: it outlives processes, so whoever ends the worker removes it.

A worker with a ``/dev/shm`` of its own (:mod:`envs.gymnasium.isolation`) leaves nothing, and is passed over.

A name counts as the worker's own if it did not exist when the worker was started, and a process of the worker has it
mapped or open. It is not removed while a process outside of the worker uses it.

The worker's supervisor loads this module by its path, so it needs the standard library only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path("/dev/shm")  # noqa: S108 -- the place of POSIX shared memory
_PREFIX = f"{FOLDER}/"
_REMOVED = " (deleted)"


class NamedMemory:
    """The names of shared memory that the processes of one worker use.

    Create it before the worker is started.
    """

    def __init__(self) -> None:
        self._before = _present()
        self._found: set[str] = set()

    def note(self, pids: Iterable[int]) -> None:
        """Note the new names that processes use at present."""
        for pid in pids:
            if not _has_own_memory(pid):
                self._found |= _used_by(pid) - self._before

    def remove(self) -> None:
        """Remove the noted names, after the worker's processes have ended. Those that others use stay."""
        left = {name for name in self._found if (FOLDER / name).exists()}
        self._found = set()
        if not left:
            return
        for name in left - _used_by_any():
            with contextlib.suppress(OSError):
                (FOLDER / name).unlink()


def _present() -> set[str]:
    try:
        return set(os.listdir(FOLDER))  # noqa: PTH208 -- names alone are needed, for every worker that starts
    except OSError:
        return set()


def _used_by_any() -> set[str]:
    used: set[str] = set()
    for path in Path("/proc").glob("[0-9]*"):
        used |= _used_by(int(path.name))
    return used


def _has_own_memory(pid: int) -> bool:
    """Return whether a process sees another ``/dev/shm`` than this process."""
    try:
        return os.stat(f"/proc/{pid}/root{FOLDER}").st_dev != FOLDER.stat().st_dev  # noqa: PTH116
    except OSError:
        return False


def _used_by(pid: int) -> set[str]:
    """Return the names that a process has mapped or open; an empty set if it has exited or is another user's."""
    found: set[str] = set()
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
            found |= _named(line[line.find("/") :] if "/" in line else "")
    with contextlib.suppress(OSError):
        for fd in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found |= _named(str(Path(fd.path).readlink()))
    return found


def _named(path: str) -> set[str]:
    """Return the name of shared memory that a path is; an empty set for other files and for memory without a name."""
    return {path.removeprefix(_PREFIX)} if path.startswith(_PREFIX) and not path.endswith(_REMOVED) else set()
