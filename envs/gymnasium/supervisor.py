"""The parent process of a worker: it starts the host program, and ends every process that the worker leaves behind.

Run as ``supervisor.py HOST_PROGRAM CONTROL_FD FD…`` by the family's interpreter. Self-contained
(standard library), and small: it forks the worker before anything large is imported.

It is the child subreaper of the worker (``PR_SET_CHILD_SUBREAPER``): a process whose parent has ended becomes its
child, whatever session, group or variables that process has. So every process that an environment starts is a
descendant, and none is left when it has no child any more.

The control socket carries one byte per command from the learner, ``i`` (interrupt the worker) or ``k`` (end everything
now), and one line back, the status with which the worker ended. Its end of file means that the learner is gone.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Before anything else is imported: this folder's modules must not hide a user's modules of the same names.
if sys.path and sys.path[0] and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    del sys.path[0]

import contextlib
import ctypes
import os
import select
import signal
import time
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

ORPHAN_GRACE_S = 2.0
"""How long a worker whose learner is gone may close its environments."""

TERMINATE_GRACE_S = 1.0
"""Time between SIGTERM and SIGKILL for the processes that a worker left behind."""

KILL_LIMIT_S = 30.0
"""After this long, processes that SIGKILL does not end (in the kernel's uninterruptible sleep) are given up."""

MAX_TERMINATED = 256
"""With more descendants than this (a fork bomb) there is no SIGTERM and no grace."""

MAX_STOP_ROUNDS = 100
POLL_S = 0.05

FAULT_SIGNALS = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP})
"""Signals that report an error of this process itself, so they are not ignored."""


class Supervisor:
    """One worker and all its descendants.

    Args:
        worker_pid: the process that runs the host program.
        parent_pid: the parent of this process.
        control_fd: the control socket.
    """

    def __init__(self, *, worker_pid: int, parent_pid: int, control_fd: int) -> None:
        self._worker_pid = worker_pid
        self._parent_pid = parent_pid
        self._control_fd = control_fd
        self._is_worker_alive = True
        self._has_children = True
        self._wakeup_fd = wake_up_on_signals()
        self._events = select.poll()
        self._events.register(control_fd, select.POLLIN)
        self._events.register(self._wakeup_fd, select.POLLIN)

    def run(self) -> None:
        """Wait for the end of the worker, of the learner, or for a command; then end all descendants."""
        command = b"-"
        while command not in (b"k", b""):
            self._reap()
            if not self._is_worker_alive or os.getppid() != self._parent_pid:
                break
            ready = self._wait(None)
            command = os.read(self._control_fd, 1) if self._control_fd in ready else b"-"
            if command == b"i":
                kill(self._worker_pid, signal.SIGINT)
        self._events.unregister(self._control_fd)
        if command != b"k":
            self._reap_until(time.monotonic() + ORPHAN_GRACE_S, is_worker_enough=True)
        self._end_descendants()

    def _wait(self, timeout_s: float | None) -> set[int]:
        """Return the descriptors that can be read; a signal empties its pipe."""
        timeout_ms = None if timeout_s is None else max(0.0, 1000 * timeout_s)
        ready = {fd for fd, _ in self._events.poll(timeout_ms)}
        if self._wakeup_fd in ready:
            os.read(self._wakeup_fd, 4096)
        return ready

    def _reap(self) -> None:
        """Take the status of every child that has ended, and report the worker's."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._has_children = False
                return
            if pid == 0:
                return
            if pid == self._worker_pid:
                self._is_worker_alive = False
                code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                with contextlib.suppress(OSError):
                    os.write(self._control_fd, b"%d\n" % code)

    def _end_descendants(self) -> None:
        """Terminate, then kill, until no child is left: then no descendant is left either."""
        self._reap()
        found = descendants(os.getpid()) if self._has_children else []
        if len(found) <= MAX_TERMINATED:
            for pid in found:
                kill(pid, signal.SIGTERM)
            self._reap_until(time.monotonic() + TERMINATE_GRACE_S)
        give_up_at = time.monotonic() + KILL_LIMIT_S
        while self._has_children and time.monotonic() < give_up_at:
            kill_stopped(os.getpid())
            self._reap_until(time.monotonic() + POLL_S)

    def _reap_until(self, deadline: float, *, is_worker_enough: bool = False) -> None:
        """Reap until no child is left (or the worker has ended, where that is enough), until the deadline at most."""
        self._reap()
        while self._has_children and (left_s := deadline - time.monotonic()) > 0:
            if is_worker_enough and not self._is_worker_alive:
                return
            self._wait(left_s)
            self._reap()


def kill_stopped(root: int) -> None:
    """Stop all descendants of a process, so that they start no more of them, and then kill them.

    Each round reads only the processes that are new since the first, so that it overtakes a fork bomb.
    """
    stopped = set(descendants(root))
    for pid in stopped:
        kill(pid, signal.SIGSTOP)
    strangers = set(running()) - stopped
    for _ in range(MAX_STOP_ROUNDS):
        found = {pid for pid in running() - strangers - stopped if parent_of(pid) in stopped | {root}}
        for pid in found:
            kill(pid, signal.SIGSTOP)
        stopped |= found
        if not found:
            break
    for pid in stopped:
        kill(pid, signal.SIGKILL)


def kill(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended or changed its user."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def descendants(root: int) -> list[int]:
    """Return the living processes below ``root``, zombies included, parents before their children."""
    children: dict[int, list[int]] = {}
    for pid in running():
        children.setdefault(parent_of(pid), []).append(pid)
    found, to_visit = [], [root]
    while to_visit:
        below = children.get(to_visit.pop(), [])
        found += below
        to_visit += below
    return found


def running() -> set[int]:
    """Return all processes of this machine."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208  (a fork bomb is outrun by it)


def parent_of(pid: int) -> int:
    """Return the parent of a process; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123
            # The second field, the program's name in parentheses, may hold spaces and parentheses itself.
            return int(stat.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def wake_up_on_signals() -> int:
    """Ignore what could end this process early; return a descriptor that SIGCHLD and SIGTERM make readable."""
    for number in signal.valid_signals() - FAULT_SIGNALS - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    wakeup_fd, signalled_fd = os.pipe()
    os.set_blocking(signalled_fd, False)
    signal.set_wakeup_fd(signalled_fd, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return wakeup_fd


def restore_signals() -> None:
    """Give every signal the disposition that it has in a Python program started by a shell, and block none.

    A program that this process executes starts with the default disposition of every signal: Python ignores SIGPIPE and
    SIGXFSZ, which would be inherited, so a handler that does nothing stands in for that.
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def run_host(program: str, fds: list[str], *, supervisor_pid: int) -> NoReturn:
    """Become the worker: a session of its own that dies with the supervisor, and the host program as ``__main__``."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor_pid:
        os._exit(1)
    os.setsid()
    sys.argv = [program, *fds]
    import runpy

    runpy.run_path(program, run_name="__main__")
    os._exit(0)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process."""
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def main() -> NoReturn:
    """Start the worker that the arguments describe, and end with it."""
    program, control_fd, fds = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    parent_pid = os.getppid()
    restore_signals()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    supervisor_pid = os.getpid()
    worker_pid = os.fork()
    if worker_pid == 0:
        os.close(control_fd)
        run_host(program, fds, supervisor_pid=supervisor_pid)
    for fd in fds:
        os.close(int(fd))
    supervisor = Supervisor(worker_pid=worker_pid, parent_pid=parent_pid, control_fd=control_fd)
    # The signal of the learner's death only wakes this process up: it looks itself whether its parent has changed.
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    supervisor.run()
    os._exit(0)


if __name__ == "__main__":
    main()
