"""A control group that limits the number of a worker's processes and threads, where one may be made.

Root is not subject to ``RLIMIT_NPROC``, so its workers need one. A group of version 1 of the ``pids`` controller can be
made below any group; one of version 2 only below a group whose own processes were moved away.
"""

from __future__ import annotations

import contextlib
import os

ROOTS = ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")
PREFIX = "learnd-worker-"


def put_into_group(pid: int, limit: int) -> bool:
    """Put a process into a new group with a limit of processes and threads; return whether that was done.

    Only root needs it, and the kernel may take some 10 ms for it, which the process need not wait for.
    """
    if os.geteuid() != 0:
        return False
    for parent in _parents():
        _remove_old(parent)
        group = f"{parent}/{PREFIX}{pid}"
        try:
            os.mkdir(group)  # noqa: PTH102
        except OSError:
            continue
        try:
            _write(f"{group}/pids.max", str(limit))
            _write(f"{group}/cgroup.procs", str(pid))
        except OSError:
            with contextlib.suppress(OSError):
                os.rmdir(group)  # noqa: PTH106
        else:
            return True
    return False


def remove_group(pid: int) -> None:
    """Remove the group of a process that has ended, if it had one."""
    for parent in _parents():
        with contextlib.suppress(OSError):
            os.rmdir(f"{parent}/{PREFIX}{pid}")  # noqa: PTH106


def _parents() -> list[str]:
    """Return the groups below which a group with the ``pids`` controller can be made."""
    try:
        with open("/proc/self/cgroup") as file:  # noqa: PTH123
            lines = [line.strip().split(":", 2) for line in file]
    except OSError:
        return []
    first, second = ROOTS
    named = [f"{first}{path.rstrip('/')}" for _, controllers, path in lines if "pids" in controllers.split(",")]
    unified = [f"{second}{path.rstrip('/')}" for _, controllers, path in lines if not controllers]
    enabled = [path for path in unified if "pids" in _read(f"{path}/cgroup.subtree_control").split()]
    return [path for path in named + enabled if os.access(path, os.W_OK)]


def _remove_old(parent: str) -> None:
    """Remove the empty groups of processes that have ended, whose supervisor was killed."""
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):  # noqa: PTH208
            pid = name.removeprefix(PREFIX)
            if name.startswith(PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):  # noqa: PTH110
                with contextlib.suppress(OSError):
                    os.rmdir(f"{parent}/{name}")  # noqa: PTH106


def _read(path: str) -> str:
    try:
        with open(path) as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123
        file.write(text)
