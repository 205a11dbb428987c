"""One process that measures a reference return, from its start to its end, supervised by the daemon."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from agent.clock import Clock
from agent.config.units import format_duration
from agent.daemon.processes.child_process import (
    cancel_tasks,
    forward_output,
    kill_group,
    signal_text,
    spawn_with_channel,
)
from agent.daemon.processes.exit_output import telling_line
from agent.errors import ChannelError
from agent.messages import MAX_LINE_BYTES, Finished, Progress, parse_line
from agent.reference_requests import ReferenceRequest
from memory.records import JobOutcome

log = structlog.get_logger(__name__)

CHECK_PERIOD_S = 1.0
STALL_TIMEOUT_S = 1800.0
"""Time without progress after which the process is killed. It is long, because the process has the lowest priority."""

Check = Callable[[Progress | None], Awaitable[str]]
"""Takes the newest progress; returns why the measurement must end, in words for users, or an empty text to go on."""


class ReferenceProcess:
    """A process that measures one reference return.

    Args:
        command: its command line; ``--channel-fd N`` is appended.
        environment: its environment variables.
        clock: the clock for durations.
    """

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], clock: Clock) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._clock = clock
        self._last_lines: deque[str] = deque(maxlen=20)
        self._finished: Finished | None = None
        self._progress: Progress | None = None
        self._advanced_at = clock.monotonic()
        self._process: asyncio.subprocess.Process | None = None
        self._abandoned = ""

    def abandon(self, reason: str) -> None:
        """End the measurement by killing the process and its group.

        The supervisor process of its worker then ends the worker.
        """
        self._abandoned = self._abandoned or reason
        self._kill()

    async def measure(self, request: ReferenceRequest, *, check: Check) -> Finished:
        """Start the process, wait for its result and return it. A process that ends without a result has failed.

        Args:
            request: the measurement.
            check: awaited about once a second.
        """
        parent, child = socket.socketpair()
        try:
            process = await spawn_with_channel(self._command, child, self._environment)
        except OSError as error:
            parent.close()
            return _ended(request, JobOutcome.FAILED, f"the process could not be started: {error}")
        finally:
            child.close()
        self._process = process
        reader, writer = await asyncio.open_connection(sock=parent, limit=MAX_LINE_BYTES)
        listening = [
            asyncio.create_task(self._listen(reader)),
            asyncio.create_task(forward_output(process, self._keep)),
        ]
        try:
            writer.write(request.to_line())
            stalled = await self._until_exit(process, check)
            await asyncio.wait(listening, timeout=0.5)
        finally:
            self._kill()
            await process.wait()
            await cancel_tasks(listening)
            writer.close()
        if self._abandoned:
            return _ended(request, JobOutcome.INTERRUPTED, self._abandoned)
        return self._finished or _ended(request, JobOutcome.FAILED, stalled or self._exit_of(process))

    async def _until_exit(self, process: asyncio.subprocess.Process, check: Check) -> str:
        """Wait until the process exits. Kill it if it must end or makes no progress; return why it made none."""
        exiting = asyncio.create_task(process.wait())
        try:
            while not (await asyncio.wait([exiting], timeout=CHECK_PERIOD_S))[0]:
                if self._clock.monotonic() - self._advanced_at > STALL_TIMEOUT_S:
                    self._kill()
                    return f"no progress for {format_duration(STALL_TIMEOUT_S)}"
                if reason := self._abandoned or await check(self._progress):
                    self.abandon(reason)
        finally:
            exiting.cancel()
        return ""

    def _kill(self) -> None:
        kill_group(self._process)

    def _keep(self, line: str) -> None:
        self._last_lines.append(line)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Keep the newest progress and the result that the process sends."""
        try:
            while line := await reader.readline():
                match parse_line(line):
                    case Progress() as progress:
                        self._progress, self._advanced_at = progress, self._clock.monotonic()
                    case Finished() as finished:
                        self._finished = finished
                    case other:
                        log.warning("measuring process sent an unexpected message", found=str(other)[:200])
        except (ConnectionError, ChannelError, ValueError):
            log.exception("the channel of the process that measures a reference is broken")

    def _exit_of(self, process: asyncio.subprocess.Process) -> str:
        status = process.returncode or 0
        how = signal_text(status) if status < 0 else f"exit status {status}"
        told = telling_line(self._last_lines, is_killed=status < 0)
        last_line = f"; last error in its output: {told}" if told else ""
        return f"the measuring process ended by {how} without a result{last_line}"


def _ended(request: ReferenceRequest, outcome: JobOutcome, error: str) -> Finished:
    return Finished(run_id=request.run_id, outcome=outcome, detail={}, error=error)
