"""A worker as a process: started, asked, watched, and ended with everything it started.

The learner talks to :mod:`envs.worker_host` through two pipes and a piece of anonymous shared memory, all inherited, so
that nothing has a name that could be left behind.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import secrets
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn, cast

from envs.errors import FamilySpecError, FaultReason, UnsupportedSpaceError, WorkerFaultError
from envs.family import FamilySpec
from envs.limits import WorkerLimits

HOST_PROGRAM = Path(__file__).with_name("worker_host.py")
MIB = 1 << 20
MAX_STDERR = 16_000
MAX_SWEEPS = 10
DATA_LIMIT_SLACK = 1 << 30
"""Address space beyond the resident limit: stacks and arenas that are mapped and never touched."""

STEP_ANSWERS = {b"s": False, b"e": True}
"""What answers a step: whether it ended an episode."""

PRIVATE_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""What systemd gives the service, and a user's environment must not answer."""

MARK_VARIABLE = "_LEARND_WORKER"
"""Marks a worker and all it starts, so that what leaves its session and its process group is found too."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


class WorkerProcess:
    """One running host program.

    The worker dies with the thread that starts it (``PR_SET_PDEATHSIG``), so start it from one that lives on.

    Args:
        spec: the family whose environments it runs.
        limits: what it may use.
    """

    def __init__(self, spec: FamilySpec, limits: WorkerLimits) -> None:
        self._spec = spec
        self._limits = limits
        self.is_closed = False
        self._memory: mmap.mmap | None = None
        self._mark = secrets.token_hex(16)
        self._memory_fd = os.memfd_create("learnd-worker", os.MFD_CLOEXEC)
        request_out, self._request_fd = os.pipe2(os.O_CLOEXEC)
        self._answer_fd, answer_in = os.pipe2(os.O_CLOEXEC)
        stderr_out, stderr_in = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._request_fd, False)
        try:
            self._process = self._start(request_out, answer_in, stderr_in)
        except OSError as error:
            for fd in (self._memory_fd, self._request_fd, self._answer_fd, stderr_out):
                os.close(fd)
            self.is_closed = True
            found = f"the interpreter {self._interpreter()!r} could not be started: {error}."
            raise WorkerFaultError(subject=spec.name, reason=FaultReason.START_FAILED, found=found) from error
        finally:
            for fd in (request_out, answer_in, stderr_in):
                os.close(fd)
        self._stderr = StderrTail(stderr_out)
        self._answers = select.poll()
        self._answers.register(self._answer_fd, select.POLLIN)
        self._last_look = time.monotonic()

    @property
    def pid(self) -> int:
        """The worker's process id, which is also its process group's."""
        return self._process.pid

    def configure(self, configuration: dict[str, Any], first_task: dict[str, Any]) -> dict[str, Any]:
        """Have the worker make its first environment and describe it."""
        values = {
            **configuration,
            "parent_pid": os.getpid(),
            "nice": self._limits.nice,
            "data_limit_bytes": self._limits.memory_mib * MIB + DATA_LIMIT_SLACK,
        }
        request = {"type": "configure", "configuration": values, "first_task": first_task}
        try:
            return self.ask(request, timeout_s=self._limits.start_timeout_s)
        except WorkerFaultError as error:
            found = f"it did not start: {error.found}"
            raise WorkerFaultError(
                subject=self._spec.name, reason=FaultReason.START_FAILED, found=found, detail=error.detail
            ) from error

    def share_memory(self, size_bytes: int) -> mmap.mmap:
        """The memory that both sides see, made as large as asked."""
        os.ftruncate(self._memory_fd, size_bytes)
        self._memory = mmap.mmap(self._memory_fd, size_bytes)
        return self._memory

    def ask(self, request: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            WorkerFaultError: the worker failed; it is closed.
            FamilySpecError: the family's description does not fit its environment; the worker is closed.
            UnsupportedSpaceError: a space is not supported; the worker is closed.
        """
        deadline = time.monotonic() + timeout_s
        self._send(json.dumps(request).encode() + b"\n", deadline, timeout_s)
        line = b""
        while not line.endswith(b"\n"):
            line += self._receive(deadline, timeout_s)
        answer = self._parsed(line)
        if "fault" in answer:
            self._fail(answer)
        return answer

    def step_begin(self) -> None:
        """Have the worker step what the shared memory says."""
        try:
            os.write(self._request_fd, b"s")
        except OSError:
            self._fail_ended()

    def step_end(self) -> bool:
        """Wait for the step, and say whether it ended an episode.

        Raises:
            WorkerFaultError: the worker failed; it is closed.
        """
        now = time.monotonic()
        if now - self._last_look > self._limits.watch_interval_s:
            self._watch(now)
        answer = self._receive(now + self._limits.step_timeout_s, self._limits.step_timeout_s)
        if answer not in STEP_ANSWERS:
            while not answer.endswith(b"\n"):
                answer += self._receive(now + self._limits.step_timeout_s, self._limits.step_timeout_s)
            self._fail(self._parsed(answer))
        return STEP_ANSWERS[answer]

    def _parsed(self, line: bytes) -> dict[str, Any]:
        """An answer's JSON object; anything else, as from an environment that wrote into the pipe, is a fault."""
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self._fail(
                {"fault": FaultReason.NONSENSE.value, "found": f"it answered {line[:80]!r}, which is no answer."}
            )
        return cast("dict[str, Any]", answer)

    def close(self) -> None:
        """End the worker and all it started, and release pipes and memory; safe to call twice."""
        if self.is_closed:
            self._close_memory()
            return
        os.close(self._request_fd)
        # It closes its environments when its requests end; what takes longer than this is not waited for.
        end = time.monotonic() + 1.0
        with contextlib.suppress(OSError):
            while time.monotonic() < end and self._answers.poll(1000 * max(0.0, end - time.monotonic())):
                if not os.read(self._answer_fd, 65536):
                    break
        self._release()

    def _release(self) -> None:
        self.is_closed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        kill_marked(f"{MARK_VARIABLE}={self._mark}")
        self._process.wait()
        self._stderr.close()
        os.close(self._answer_fd)
        os.close(self._memory_fd)
        self._close_memory()

    def _close_memory(self) -> None:
        """Unmap the memory; while the caller has arrays over it, that is left to its next close."""
        if self._memory is not None:
            with contextlib.suppress(BufferError):
                self._memory.close()

    def _start(self, request_fd: int, answer_fd: int, stderr_fd: int) -> subprocess.Popen[bytes]:
        fds = (request_fd, answer_fd, self._memory_fd)
        return subprocess.Popen(
            [self._interpreter(), str(HOST_PROGRAM), *map(str, fds)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr_fd,
            pass_fds=fds,
            start_new_session=True,
            env=self._variables(),
        )

    def _interpreter(self) -> str:
        return self._spec.python or sys.executable

    def _variables(self) -> dict[str, str]:
        variables = {name: value for name, value in os.environ.items() if name not in PRIVATE_VARIABLES}
        if self._spec.python is not None:
            for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
                variables.pop(name, None)
        variables |= ONE_THREAD
        variables.setdefault("SDL_VIDEODRIVER", "dummy")
        variables["PYTHONHASHSEED"] = "0"
        variables[MARK_VARIABLE] = self._mark
        return variables

    def _send(self, line: bytes, deadline: float, timeout_s: float) -> None:
        room = select.poll()
        room.register(self._request_fd, select.POLLOUT)
        while line:
            if time.monotonic() > deadline:
                self._fail_hung(timeout_s)
            try:
                if room.poll(200):
                    line = line[os.write(self._request_fd, line) :]
            except BlockingIOError:
                continue
            except OSError:
                self._fail_ended()

    def _receive(self, deadline: float, timeout_s: float) -> bytes:
        while True:
            now = time.monotonic()
            if self._answers.poll(1000 * min(self._limits.watch_interval_s, max(0.0, deadline - now))):
                answer = os.read(self._answer_fd, 65536)
                if not answer:
                    self._fail_ended()
                return answer
            now = time.monotonic()
            self._watch(now)
            # A process that the worker started may hold the pipe open after the worker ended.
            if _ended(self._process.pid) is not None and not self._answers.poll(0):
                self._fail_ended()
            if now >= deadline:
                self._fail_hung(timeout_s)

    def _watch(self, now: float) -> None:
        self._last_look = now
        resident = sum(resident_bytes(pid) for pid in process_tree(self._process.pid))
        if resident > self._limits.memory_mib * MIB:
            found = f"it holds {resident // MIB} MiB of memory and may hold {self._limits.memory_mib} MiB."
            self._fail_with(FaultReason.OVER_MEMORY, found)

    def _fail(self, answer: dict[str, Any]) -> NoReturn:
        found, hint, detail = answer["found"], answer.get("hint", ""), answer.get("detail", "")
        if answer["fault"] == "spec":
            self._end_now()
            raise FamilySpecError(operation="opening family", subject=self._spec.name, found=found, hint=hint)
        if answer["fault"] == "unsupported":
            self._end_now()
            raise UnsupportedSpaceError(operation="opening family", subject=self._spec.name, found=found, hint=hint)
        self._fail_with(FaultReason(answer["fault"]), found, detail)

    def _fail_hung(self, timeout_s: float) -> NoReturn:
        self._fail_with(FaultReason.HUNG, f"it did not answer within {timeout_s:g} s.")

    def _fail_ended(self) -> NoReturn:
        """The worker's end of a pipe is closed: find out how it ended."""
        end = time.monotonic() + 2.0
        status = _ended(self._process.pid)
        while status is None and time.monotonic() < end:
            time.sleep(0.01)
            status = _ended(self._process.pid)
        if status is None:
            self._fail_with(FaultReason.EXITED, "it closed its pipe.")
        if status < 0:
            self._fail_with(FaultReason.KILLED, f"it was ended by {_signal_name(-status)}.")
        self._fail_with(FaultReason.EXITED, f"it exited with status {status}.")

    def _fail_with(self, reason: FaultReason, found: str, detail: str = "") -> NoReturn:
        self._end_now()
        printed = self._stderr.text()
        detail = "\n".join(part for part in (detail, printed) if part)
        raise WorkerFaultError(subject=self._spec.name, reason=reason, found=found, detail=detail)

    def _end_now(self) -> None:
        if not self.is_closed:
            os.close(self._request_fd)
            self._release()


class StderrTail:
    """Reads what a worker prints to stderr, so that it never blocks, and keeps the last of it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._tail = b""
        self._is_closing = False
        self._thread = threading.Thread(target=self._read, name="worker-stderr", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """The last of what was printed."""
        return self._tail.decode(errors="replace").strip()

    def close(self) -> None:
        """Wait for the rest, which ends with the worker, and stop reading."""
        self._thread.join(timeout=0.3)
        self._is_closing = True
        self._thread.join()
        os.close(self._fd)

    def _read(self) -> None:
        ready = select.poll()
        ready.register(self._fd, select.POLLIN)
        while not self._is_closing:
            if ready.poll(250):
                printed = os.read(self._fd, 1 << 16)
                if not printed:
                    return
                self._tail = (self._tail + printed)[-MAX_STDERR:]


def kill_marked(mark: str) -> None:
    """Kill every process of ours whose environment holds ``mark``, until there is none left."""
    for _ in range(MAX_SWEEPS):
        marked = [pid for pid in _readable_processes() if mark.encode() in _environment_of(pid)]
        if not marked:
            return
        for pid in marked:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _readable_processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _environment_of(pid: int) -> list[bytes]:
    """A process's variables; none where it has ended (a zombie too) or is not ours to read."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def process_tree(pid: int) -> list[int]:
    """A process and its living descendants."""
    found, to_visit = [], [pid]
    while to_visit:
        visited = to_visit.pop()
        found.append(visited)
        for children in Path(f"/proc/{visited}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                to_visit += map(int, children.read_text().split())
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * mmap.PAGESIZE
    except (OSError, IndexError):
        return 0


def _ended(pid: int) -> int | None:
    """How a child ended, as ``Popen.returncode`` has it, without reaping it; None while it lives."""
    result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
