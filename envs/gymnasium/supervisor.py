"""The parent process of a worker: it starts the host program and ends every process that the worker leaves behind.

The family's interpreter runs it as ``supervisor.py PLAN HOST_PROGRAM CONTROL_FD FD…``. It is self-contained (standard
library only) and small: it forks the worker before anything large is imported. The worker confines itself by the plan
(:mod:`envs.gymnasium.isolation`) before it imports anything of a user; the supervisor is not confined.

The supervisor is the child subreaper of the worker (``PR_SET_CHILD_SUBREAPER``): a descendant whose parent has exited
becomes the supervisor's child, whatever its session, group or variables. So every process that an environment starts
remains a descendant, and when the supervisor has no child left, no descendant is left.

The control socket carries one byte per command from the trainer: ``i`` interrupts the worker, ``n`` notes the named
shared memory that it uses (:mod:`envs.gymnasium.named_memory`), ``c`` does so and confirms it, ``k`` ends everything
now. It carries back ``c`` for each ``c``, and one line, the worker's exit status. End of file on the socket means that
the trainer has exited.
"""

from __future__ import annotations

import sys
from pathlib import Path

# This comes before all other imports: this folder's modules must not hide a user's modules of the same names.
if sys.path and sys.path[0] and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    del sys.path[0]

import contextlib
import ctypes
import json
import os
import runpy
import select
import signal
import time
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

ORPHAN_GRACE_S = 2.0
"""Time in which a worker whose trainer has exited may close its environments."""

TERMINATE_GRACE_S = 1.0
"""Time between SIGTERM and SIGKILL for the processes that a worker left behind."""

KILL_LIMIT_S = 30.0
"""Time after which the supervisor exits although SIGKILL has not ended some processes (in uninterruptible sleep)."""

MAX_TERMINATED = 256
"""With more descendants than this (a fork bomb) they are killed without SIGTERM and grace time."""

MAX_STOP_ROUNDS = 100
POLL_S = 0.05

NOTE_S = 2.0
"""Time between two looks at the named shared memory that the worker uses."""

FAULT_SIGNALS = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP})
"""Signals that report an error of this process itself; they are not ignored."""


class Supervisor:
    """A supervisor of one worker and all its descendants.

    Args:
        worker_pid: the process that runs the host program.
        parent_pid: the parent of this process.
        control_fd: the control socket.
        memory: the named shared memory of the worker, which is removed at the end.
        cores: what keeps the worker to its share of the cores.
    """

    def __init__(self, *, worker_pid: int, parent_pid: int, control_fd: int, memory: Any, cores: Any) -> None:
        self._memory = memory
        self._cores = cores
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
        """Wait until the worker or the trainer exits or the trainer commands it; then end all descendants."""
        command = b"-"
        while command not in (b"k", b""):
            self._reap()
            if not self._is_worker_alive or os.getppid() != self._parent_pid:
                break
            ready = self._wait(NOTE_S)
            command = os.read(self._control_fd, 1) if self._control_fd in ready else b"-"
            if command == b"i":
                kill(self._worker_pid, signal.SIGINT)
            elif command in (b"n", b"c") or not ready:
                self._look_at_worker()
            if command == b"c":
                with contextlib.suppress(OSError):
                    os.write(self._control_fd, b"c")
        self._look_at_worker()
        self._events.unregister(self._control_fd)
        if command != b"k":
            self._reap_until(time.monotonic() + ORPHAN_GRACE_S, is_worker_enough=True)
        self._end_descendants()
        self._memory.remove()

    def _look_at_worker(self) -> None:
        """Note the named shared memory of the worker and of what it started, and keep it to its share of the cores.

        With a fork bomb, only some of the processes are looked at.
        """
        found = descendants(os.getpid())[:MAX_TERMINATED]
        self._memory.note(found)
        self._cores.keep(found, time.monotonic())

    def _wait(self, timeout_s: float | None) -> set[int]:
        """Return the readable descriptors. Bytes that signals wrote into the wake-up pipe are discarded."""
        timeout_ms = None if timeout_s is None else max(0.0, 1000 * timeout_s)
        ready = {fd for fd, _ in self._events.poll(timeout_ms)}
        if self._wakeup_fd in ready:
            os.read(self._wakeup_fd, 4096)
        return ready

    def _reap(self) -> None:
        """Collect the status of every exited child, and report the worker's status to the trainer."""
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
        """Send SIGTERM, then SIGKILL, until no child is left; then no descendant is left either."""
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
        """Reap until no child is left, but at most until the deadline.

        Args:
            deadline: in seconds of the monotonic clock.
            is_worker_enough: return when the worker has exited, even if other children are left.
        """
        self._reap()
        while self._has_children and (left_s := deadline - time.monotonic()) > 0:
            if is_worker_enough and not self._is_worker_alive:
                return
            self._wait(left_s)
            self._reap()


def kill_stopped(root: int) -> None:
    """Stop all descendants of a process, so that they cannot start further processes, and then kill them.

    Each round reads only processes that are newer than the first round, so that it is faster than a fork bomb.
    """
    stopped = set(descendants(root))
    for pid in stopped:
        kill(pid, signal.SIGSTOP)
    others = set(running()) - stopped
    for _ in range(MAX_STOP_ROUNDS):
        found = {pid for pid in running() - others - stopped if parent_of(pid) in stopped | {root}}
        for pid in found:
            kill(pid, signal.SIGSTOP)
        stopped |= found
        if not found:
            break
    for pid in stopped:
        kill(pid, signal.SIGKILL)


def kill(pid: int, number: int) -> None:
    """Send a signal to a process; ignore that it has exited or has changed its user."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def descendants(root: int) -> list[int]:
    """Return the descendants of ``root``, including zombies, parents before their children."""
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
    """Return the ids of all processes of this machine."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208  (faster than a fork bomb)


def parent_of(pid: int) -> int:
    """Return the id of a process's parent; 0 if the process no longer exists."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123
            # The second field, the program's name in parentheses, may itself contain spaces and parentheses.
            return int(stat.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def wake_up_on_signals() -> int:
    """Ignore signals that could end this process early; return a descriptor that SIGCHLD and SIGTERM make readable."""
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
    """Give every signal the disposition that it has in a Python program started by a shell, and unblock all signals.

    Python ignores SIGPIPE and SIGXFSZ, and programs that this process executes would inherit that. So the two get a
    handler that does nothing instead, and executed programs start with the default disposition of every signal.
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def run_host(program: str, fds: list[str], *, supervisor_pid: int, plan: dict[str, Any], isolation: Any) -> NoReturn:
    """Become the worker: run the host program as ``__main__`` in a new session, confined by the plan.

    The kernel kills the worker when the supervisor exits.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor_pid:
        os._exit(1)
    os.setsid()
    isolation.confinement.confine(plan)
    sys.argv = [program, *fds]
    runpy.run_path(program, run_name="__main__")
    os._exit(0)


def end_of(plan: dict[str, Any], worker_pid: int, isolation: Any) -> None:
    """Remove what was made for the worker: its folder and its control group."""
    isolation.process_group.remove_group(worker_pid)
    if plan["folder"]:
        import shutil

        shutil.rmtree(plan["folder"], ignore_errors=True)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process."""
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def main() -> NoReturn:
    """Start the worker that the arguments describe, supervise it, and exit after it."""
    plan, program, control_fd, fds = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]
    parent_pid = os.getppid()
    folder = Path(__file__).resolve().parent
    load_by_path = runpy.run_path(str(folder / "path_loading.py"))["load_by_path"]
    memory = load_by_path(folder / "named_memory.py", "_learnd_named_memory").NamedMemory()
    isolation = load_by_path(folder / "isolation", "_learnd_isolation", "confinement", "cores", "process_group")
    restore_signals()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    supervisor_pid = os.getpid()
    worker_pid = os.fork()
    if worker_pid == 0:
        os.close(control_fd)
        run_host(program, fds, supervisor_pid=supervisor_pid, plan=plan, isolation=isolation)
    isolation.process_group.put_into_group(worker_pid, plan["tasks"])
    for fd in fds:
        os.close(int(fd))
    supervisor = Supervisor(
        worker_pid=worker_pid,
        parent_pid=parent_pid,
        control_fd=control_fd,
        memory=memory,
        cores=isolation.cores.CoreShare(plan["num_cores"]),
    )
    # The signal for the trainer's exit only wakes this process, which then checks whether its parent has changed.
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    supervisor.run()
    end_of(plan, worker_pid, isolation)
    os._exit(0)


if __name__ == "__main__":
    main()
