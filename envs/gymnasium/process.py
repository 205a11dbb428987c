"""A worker process, seen from the process that starts it: start it, send requests, watch it, and end all it started.

The trainer exchanges messages with :mod:`envs.gymnasium.host` through two pipes and anonymous shared memory. The worker
inherits all three, so there is no named file that could be left behind. The worker's parent process runs
:mod:`envs.gymnasium.supervisor`, which ends all descendants of the worker; the trainer controls it through a socket.
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
import time
from collections.abc import Callable
from typing import Any, NoReturn

from numpy.typing import NDArray

from envs.errors import FamilySpecError, FaultReason, UnsupportedSpaceError, WorkerFaultError
from envs.family import FamilySpec
from envs.gymnasium.answers import STEP_ANSWERS, json_object, missing_key
from envs.gymnasium.control_socket import ControlSocket
from envs.gymnasium.host_start import MARK_VARIABLE, interpreter, start_host
from envs.gymnasium.interpreter_fault import interpreter_fault
from envs.gymnasium.isolation_plan import isolation_plan
from envs.gymnasium.last_words import last_words
from envs.gymnasium.memory_watch import MIB, MemoryWatch
from envs.gymnasium.process_tree import kill_marked, kill_seen
from envs.gymnasium.progress import AnswerDeadline
from envs.gymnasium.stderr_tail import StderrTail
from envs.gymnasium.worker_bounds import WorkerBounds
from envs.gymnasium.working_folder import WorkingFolder
from envs.limits import WorkerLimits
from envs.pace import Pace

DATA_LIMIT_SLACK = 1 << 30
"""Address space allowed beyond the resident limit, for stacks and arenas that are mapped but never touched."""

SETTLE_S = 0.5
"""When the worker is closed, time to wait for the answer to a pending request."""

REACTION_S = 1.0
"""Time in which an interrupted worker must answer or exit; otherwise it is killed."""

SUPERVISOR_LIMIT_S = 15.0
"""Time to wait for the supervisor to exit; processes in uninterruptible sleep may delay it further."""

MAKING_REQUESTS = frozenset({"configure", "begin"})
"""The requests that make or reset many environments, which then may have made named shared memory."""
SILENT_DEATHS = frozenset({FaultReason.EXITED, FaultReason.KILLED})
"""Reasons of faults that a worker cannot report itself, unless it called ``sys.exit``."""


class WorkerProcess:
    """A running host program with its supervisor.

    Both exit when the process that started them exits or is killed.

    Args:
        spec: the family whose environments the worker runs.
        limits: memory and time limits of the worker.
        folder: the worker's folders.
        on_wait: called repeatedly while waiting for an answer; an exception from it ends the wait.
    """

    def __init__(
        self,
        spec: FamilySpec,
        limits: WorkerLimits,
        *,
        folder: WorkingFolder,
        on_wait: Callable[[], None] | None = None,
    ) -> None:
        self._spec = spec
        self._limits = limits
        self._on_wait = on_wait
        self._deadline = AnswerDeadline(limits)
        self._bounds = WorkerBounds(limits, folder.base)
        self._slice_ms = 1000 * min(limits.watch_interval_s, limits.step_timeout_s / 4, limits.start_timeout_s / 4)
        self.is_closed = False
        self._is_busy = False
        self._late_answer = b""
        self._memory: mmap.mmap | None = None
        self._mark = secrets.token_hex(16)
        self._memory_fd = os.memfd_create("learnd-worker", os.MFD_CLOEXEC)
        request_out, self._request_fd = os.pipe2(os.O_CLOEXEC)
        self._answer_fd, answer_in = os.pipe2(os.O_CLOEXEC)
        stderr_out, stderr_in = os.pipe2(os.O_CLOEXEC)
        self._control = ControlSocket()
        os.set_blocking(self._request_fd, False)
        try:
            fds = (request_out, answer_in, self._memory_fd)
            self._process = start_host(
                spec,
                self._mark,
                plan=isolation_plan(spec, limits, folder),
                control_fd=self._control.supervisor_end.fileno(),
                fds=fds,
                stderr_fd=stderr_in,
            )
        except OSError as error:
            for fd in (self._memory_fd, self._request_fd, self._answer_fd, stderr_out):
                os.close(fd)
            self._control.close()
            self.is_closed = True
            found = f"the interpreter {interpreter(spec)!r} could not be started: {error}."
            raise WorkerFaultError(subject=spec.name, reason=FaultReason.START_FAILED, found=found) from error
        finally:
            self._control.supervisor_end.close()
            for fd in (request_out, answer_in, stderr_in):
                os.close(fd)
        self._pid = self._process.pid
        self._stderr = StderrTail(stderr_out)
        # poll returns the answer pipe first, so an answer is not lost if the worker exits right after it.
        self._events = select.poll()
        self._events.register(self._answer_fd, select.POLLIN)
        self._events.register(self._control, select.POLLIN)
        self._watch = MemoryWatch(self._process.pid, limits)

    @property
    def pid(self) -> int:
        """The process id of the worker, which is also the id of its process group and session."""
        return self._pid

    def configure(self, configuration: dict[str, Any], first_task: dict[str, Any]) -> dict[str, Any]:
        """Have the worker make its first environment, and return the worker's description of it."""
        values = {
            **configuration,
            "nice": self._limits.nice,
            "data_limit_bytes": self._limits.memory_mib * MIB + DATA_LIMIT_SLACK,
        }
        try:
            described = self.ask({"type": "configure", "configuration": values, "first_task": first_task})
        except WorkerFaultError as error:
            found, python = error.found, self._spec.python
            if python is not None and error.reason in SILENT_DEATHS:
                found = interpreter_fault(python, found)
            found = f"it did not start: {found}"
            raise WorkerFaultError(
                subject=self._spec.name, reason=FaultReason.START_FAILED, found=found, detail=error.detail
            ) from error
        self._pid = int(described["pid"])
        return described

    def share_memory(self, size_bytes: int) -> mmap.mmap:
        """Resize the memory that is shared with the worker, and return it mapped."""
        os.ftruncate(self._memory_fd, size_bytes)
        self._memory = mmap.mmap(self._memory_fd, size_bytes)
        return self._memory

    def follow_progress(self, cells: NDArray[Any], num_copies: int) -> None:
        """Apply time-outs to each copy from now on; see :meth:`envs.gymnasium.progress.AnswerDeadline.follow`."""
        self._deadline.follow(cells, num_copies)

    @property
    def pace(self) -> Pace:
        """The usual speed of the environment, as far as it is known."""
        return self._deadline.pace

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request, wait for its answer and return it; see :meth:`answer`."""
        self.send(request)
        return self.answer(request["type"])

    def send(self, request: dict[str, Any]) -> None:
        """Send a request. A call of :meth:`answer` must follow."""
        self._is_busy = True
        self._send(json.dumps(request).encode() + b"\n")

    def answer(self, kind: str) -> dict[str, Any]:
        """Wait for the answer to the request of this kind that was sent, and return it.

        Raises:
            WorkerFaultError: the worker failed; it is closed.
            FamilySpecError: the family's description does not fit its environment; the worker is closed.
            UnsupportedSpaceError: a space is not supported; the worker is closed.
        """
        line = b""
        while not line.endswith(b"\n"):
            line += self._receive()
        answer = self._parsed(line)
        if (lacking := missing_key(kind, answer)) is not None:
            self._fail_with(FaultReason.NONSENSE, f"its answer to {kind!r} has no {lacking!r}.")
        if "fault" in answer:
            self._fail(answer)
        if kind in MAKING_REQUESTS:
            self._control.confirm_memory()
        elif kind == "begin_row":  # begun once per episode by some callers: waiting would cost them 1.4 ms
            self._control.note_memory()
        return answer

    def step_begin(self) -> None:
        """Have the worker step the active rows with the actions in shared memory; do not wait."""
        self._is_busy = True
        try:
            os.write(self._request_fd, b"s")
        except OSError:
            self._fail_ended()

    def step_end(self) -> bool:
        """Wait for the step and return whether it ended an episode.

        Raises:
            WorkerFaultError: the worker failed; it is closed.
        """
        now = time.monotonic()
        if self._watch.is_due(now):
            self._check_bounds(now)
        answer = self._receive()
        if answer not in STEP_ANSWERS:
            while not answer.endswith(b"\n"):
                answer += self._receive()
            self._fail(self._parsed(answer))
        self._is_busy = False
        return STEP_ANSWERS[answer]

    def _parsed(self, line: bytes) -> dict[str, Any]:
        """Return an answer's JSON object. Anything else is a fault, for example an environment's output to the pipe."""
        answer = json_object(line)
        if answer is None:
            self._fail_with(FaultReason.NONSENSE, f"it answered {line[:80]!r}, which is not a valid answer.")
        self._is_busy = False
        return answer

    def close(self) -> None:
        """End the worker and all its descendants, and release pipes and memory; safe to call twice."""
        if not self.is_closed:
            self._end(settle_s=SETTLE_S)
        self._close_memory()

    def _end(self, *, settle_s: float = 0.0) -> None:
        """Have the worker close its environments, then end the worker and all its descendants.

        A worker that is working on a request is interrupted first, as by Ctrl-C. A worker that does not react is
        killed.

        Args:
            settle_s: time to wait for the answer to a pending request before the worker is interrupted.
        """
        self.is_closed = True
        if not self._is_busy:
            self._control.confirm_memory()
        os.close(self._request_fd)
        if not self._is_busy or self._answers_within(settle_s) or self._interrupt():
            self._await_worker_end()
        self._release()

    def _interrupt(self) -> bool:
        """Interrupt the worker and return whether it answers or exits in time."""
        self._control.interrupt()
        return self._answers_within(REACTION_S)

    def _answers_within(self, timeout_s: float) -> bool:
        """Return whether the worker answers or exits within the time; store the answer."""
        ready = self._events.poll(1000 * timeout_s)
        if ready and ready[0][0] == self._answer_fd:
            self._late_answer = os.read(self._answer_fd, 65536)
        return bool(ready)

    def _await_worker_end(self) -> None:
        """Wait until the worker has closed its environments and exited, or exceeds its limits of time or memory."""
        end = time.monotonic() + self._limits.close_timeout_s
        while (left_s := end - time.monotonic()) > 0:
            ready = self._events.poll(min(1000 * left_s, 1000 * self._limits.watch_interval_s))
            if not ready and self._watch.is_too_much_to_close():
                return
            if ready and ready[0][0] != self._answer_fd:
                return
            if ready and not os.read(self._answer_fd, 65536):
                self._events.unregister(self._answer_fd)

    def _release(self) -> None:
        self._control.end()
        # A slower supervisor is not killed: that would release the processes that it is about to end.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=SUPERVISOR_LIMIT_S)
        if self._process.returncode not in {0, None}:
            # The supervisor was killed. Find the worker's processes from the last memory check and by their mark.
            kill_seen(self._watch.seen)
            kill_marked(f"{MARK_VARIABLE}={self._mark}")
        self._stderr.close()
        self._control.close()
        os.close(self._answer_fd)
        os.close(self._memory_fd)
        self._close_memory()

    def _close_memory(self) -> None:
        """Unmap the memory. While the caller has arrays over it, do nothing; a later close unmaps it."""
        self._deadline.forget()
        if self._memory is not None:
            with contextlib.suppress(BufferError):
                self._memory.close()

    def _send(self, line: bytes) -> None:
        writable = select.poll()
        writable.register(self._request_fd, select.POLLOUT)
        self._deadline.start(time.monotonic())
        while line:
            try:
                if writable.poll(self._slice_ms):
                    line = line[os.write(self._request_fd, line) :]
            except BlockingIOError:
                pass
            except OSError:
                self._fail_ended()
            if line:
                self._check()

    def _receive(self) -> bytes:
        is_waiting = False
        while True:
            ready = self._events.poll(self._slice_ms)
            if ready:
                answer = os.read(self._answer_fd, 65536) if ready[0][0] == self._answer_fd else b""
                if not answer:
                    self._fail_ended()
                if is_waiting:
                    self._deadline.end()
                self._deadline.num_answers += 1
                return answer
            if not is_waiting:
                self._deadline.start(time.monotonic())
                is_waiting = True
            self._check()

    def _check(self) -> None:
        """Check the bounds and the progress of a working worker."""
        now = time.monotonic()
        if self._watch.is_due(now):
            self._check_bounds(now)
        if self._on_wait is not None:
            self._on_wait()
        if self._deadline.has_passed(now):
            self._fail_with(FaultReason.HUNG, self._deadline.describe())

    def _check_bounds(self, now: float) -> None:
        """Check the memory, the number of processes and the folder of the worker."""
        if found := self._watch.excess(now):
            self._fail_with(FaultReason.OVER_MEMORY, found)
        if (exceeded := self._bounds.exceeded(len(self._watch.seen), now)) is not None:
            self._fail_with(*exceeded)

    def _fail(self, answer: dict[str, Any]) -> NoReturn:
        found, hint, detail = answer["found"], answer.get("hint", ""), answer.get("detail", "")
        if answer["fault"] == "spec":
            self._end()
            raise FamilySpecError(operation="opening family", subject=self._spec.name, found=found, hint=hint)
        if answer["fault"] == "unsupported":
            self._end()
            raise UnsupportedSpaceError(operation="opening family", subject=self._spec.name, found=found, hint=hint)
        self._fail_with(FaultReason(answer["fault"]), found, detail)

    def _fail_ended(self) -> NoReturn:
        """Raise the fault of a worker whose end of a pipe is closed, by its exit status."""
        where = f" while {work}" if self._is_busy and (work := self._deadline.work()) else ""
        status = self._status()
        if status is None:
            self._fail_with(FaultReason.EXITED, f"it closed its pipe{where}.")
        if status < 0:
            self._fail_with(FaultReason.KILLED, f"it was killed by {_signal_name(-status)}{where}.")
        self._fail_with(FaultReason.EXITED, f"it exited with status {status}{where}.")

    def _status(self) -> int | None:
        """Return the worker's exit status in the form of ``Popen.returncode``; None if it has not exited."""
        line = self._control.status_line()
        if line is None:
            return None
        self._is_busy = False
        return int(line) if line else self._process.wait()

    def _fail_with(self, reason: FaultReason, found: str, detail: str = "") -> NoReturn:
        """Close the worker and raise. If it was interrupted, name the place and include its traceback in the detail.

        The message of a worker that died without an answer ends with its last words.
        """
        if not self.is_closed:
            self._end()
        interrupted = json_object(self._late_answer) or {}
        stderr = self._stderr.text()
        if interrupted.get("place"):
            found = f"{found} It was in {interrupted['place']}."
        elif reason in SILENT_DEATHS and not detail and (words := last_words(stderr)):
            found = f"{found} Its last words: {words}"
        parts = (detail, interrupted.get("detail", ""), stderr)
        raise WorkerFaultError(
            subject=self._spec.name, reason=reason, found=found, detail="\n".join(part for part in parts if part)
        )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
