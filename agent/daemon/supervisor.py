"""Keeps one learner process alive: starts it, hands it jobs, kills it when it hangs, starts it again when it dies.

The heartbeat is the progress that the learning loop itself reports while a job runs; a thread that merely lives does
not count. Restarts back off: the first is quick, each further one without a finished job between doubles the wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog

from agent.clock import Clock
from agent.config.settings import LearnerSettings
from agent.config.units import format_duration
from agent.errors import AgentError, ChannelError
from agent.logs import forward_line
from agent.messages import MAX_LINE_BYTES, Finished, Job, Message, Progress, Ready, Stop, parse_line, to_line

log = structlog.get_logger(__name__)

WATCH_PERIOD_S = 0.25
CLOSED_CHANNEL_GRACE_S = 5.0
LAST_WORDS_LINES = 20


class TrainerState(StrEnum):
    """What the learner process is doing."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    BACKING_OFF = "backing_off"
    """It died; the next start waits."""

    STOPPED = "stopped"


class RestartReason(StrEnum):
    """Why the learner was restarted; the bounded values of a metric's ``reason`` label."""

    EXITED = "exited"
    KILLED = "killed"
    """By a signal that control did not send."""

    HUNG = "hung"
    START_FAILED = "start_failed"


@dataclass(frozen=True, kw_only=True)
class TrainerExit:
    """How a learner process ended.

    Attributes:
        reason: which kind of end.
        found: what was seen, for people ("signal 9 (SIGKILL)").
        last_words: the last line it wrote.
    """

    reason: RestartReason
    found: str
    last_words: str

    def __str__(self) -> str:
        """The end as one line."""
        return f"{self.reason}: {self.found}" + (f"; last words: {self.last_words}" if self.last_words else "")


class TrainerExitedError(AgentError):
    """The learner died while it had a job."""

    def __init__(self, death: TrainerExit) -> None:
        self.death = death
        super().__init__(operation="running a job in", subject="the learner", found=str(death))


class Supervisor:
    """One learner process at a time.

    Args:
        command: the learner's command line; ``--channel-fd N`` is appended.
        environment: its environment.
        settings: time-outs and back-off.
        clock: for durations.
        on_death: told of every death that is followed by a restart.
        on_change: called whenever the state changes.
        before_start: awaited before each start (another learner may still hold the folder).
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        settings: LearnerSettings,
        clock: Clock,
        on_death: Callable[[TrainerExit], Awaitable[None]],
        on_change: Callable[[], None],
        before_start: Callable[[], Awaitable[None]],
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._settings = settings
        self._clock = clock
        self._on_death = on_death
        self._on_change = on_change
        self._before_start = before_start
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._job: Job | None = None
        self._answer: asyncio.Future[Finished] | None = None
        self._advanced_at = 0.0
        self._progress: Progress | None = None
        self._kill: tuple[RestartReason, str] | None = None
        self._closed_at: float | None = None
        self._words: deque[str] = deque(maxlen=LAST_WORDS_LINES)
        self._deaths: deque[float] = deque()
        self._barren = 0
        self._last_death: TrainerExit | None = None
        self.state = TrainerState.STOPPED
        self.ready: Ready | None = None

    @property
    def pid(self) -> int | None:
        """The learner's pid; None while there is none."""
        return self._process.pid if self._process else None

    @property
    def progress(self) -> Progress | None:
        """The newest progress of the running job."""
        return self._progress

    @property
    def stalled_s(self) -> float:
        """Seconds since the running job (or the start) last advanced; 0 while there is nothing to advance."""
        if self.state not in {TrainerState.STARTING, TrainerState.BUSY}:
            return 0.0
        return self._clock.monotonic() - self._advanced_at

    def crash_loop(self) -> str | None:
        """Why health is red on the learner's account; None while it is not."""
        settings = self._settings
        while self._deaths and self._deaths[0] < self._clock.monotonic() - settings.crash_loop_window_s:
            self._deaths.popleft()
        if max(len(self._deaths), self._barren) < settings.crash_loop_restarts:
            return None
        if len(self._deaths) >= settings.crash_loop_restarts:
            often = f"{len(self._deaths)} times within {format_duration(settings.crash_loop_window_s)}"
        else:
            often = f"{self._barren} times without finishing a job"
        return f"the learner died {often}; the last time {self._last_death}; it is started again and again"

    async def run(self) -> None:
        """Keep a learner alive until :meth:`stop`."""
        while not self._stopping.is_set():
            await self._before_start()
            if self._stopping.is_set():
                break
            death = await self._live()
            if self._stopping.is_set():
                break
            await self._handle_exit(death)
        self._enter(TrainerState.STOPPED)

    async def do(self, job: Job) -> Finished:
        """Hand ``job`` to an idle learner and wait for its end.

        Raises:
            TrainerExitedError: the learner died first.
        """
        if self.state is not TrainerState.IDLE or self._writer is None:
            raise TrainerExitedError(
                TrainerExit(reason=RestartReason.EXITED, found="it was gone before the job began", last_words="")
            )
        self._job, self._progress = job, None
        self._answer = asyncio.get_running_loop().create_future()
        self._advanced_at = self._clock.monotonic()
        self._enter(TrainerState.BUSY)
        self._writer.write(to_line(job))
        try:
            finished = await self._answer
        finally:
            self._job = self._answer = self._progress = None
            self._leave_job()
        self._barren = 0
        return finished

    async def stop(self, *, within_s: float) -> None:
        """Ask the learner to stop, and kill it if it does not within ``within_s`` seconds."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        if self._writer is None or self.state is TrainerState.STARTING:
            self.kill()  # it has nothing yet that could be lost
        else:
            self._writer.write(to_line(Stop()))
        try:
            async with asyncio.timeout(within_s):
                await process.wait()
        except TimeoutError:
            log.warning("learner did not stop and is killed", within_s=within_s, pid=process.pid)
            self.kill()

    def kill(self) -> None:
        """Kill the learner and its process group."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _live(self) -> TrainerExit:
        """One learner's life, from its start to its death."""
        self._kill = self.ready = self._closed_at = None
        self._words.clear()
        self._advanced_at = self._clock.monotonic()
        self._enter(TrainerState.STARTING)
        parent, child = socket.socketpair()
        try:
            process = await self._spawn(child)
        except OSError as error:
            parent.close()
            return TrainerExit(reason=RestartReason.START_FAILED, found=str(error), last_words="")
        finally:
            child.close()
        self._process = process
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, added_niceness(self._settings.nice))
        reader, self._writer = await asyncio.open_connection(sock=parent, limit=MAX_LINE_BYTES)
        listening = [asyncio.create_task(self._listen(reader)), asyncio.create_task(self._forward_words(process))]
        watching = asyncio.create_task(self._watch())
        try:
            await process.wait()
            await asyncio.wait(listening, timeout=0.5)
        finally:
            await _cancel([*listening, watching])
            self._writer.close()
            self._process = self._writer = None
        death = self._death_of(process)
        self._enter(TrainerState.STOPPED if self._stopping.is_set() else TrainerState.BACKING_OFF)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(TrainerExitedError(death))
        return death

    async def _spawn(self, child: socket.socket) -> asyncio.subprocess.Process:
        descriptor = child.fileno()
        return await asyncio.create_subprocess_exec(
            *self._command,
            "--channel-fd",
            str(descriptor),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=(descriptor,),
            env=self._environment,
            process_group=0,
            limit=2**20,
        )

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Take in what the learner says until it closes its end."""
        try:
            while line := await reader.readline():
                self._hear(parse_line(line))
        except ConnectionError:  # a learner that dies with a job unread resets the connection
            log.debug("learner's channel is reset", pid=self.pid)
        except (ChannelError, ValueError) as error:
            log.exception("learner's channel is broken", pid=self.pid)
            self._kill_for(RestartReason.HUNG, str(error))
            return
        self._closed_at = self._clock.monotonic()

    def _hear(self, message: Message) -> None:
        match message:
            case Ready():
                self.ready = message
                log.info("learner ready", pid=message.pid, device=message.device, learner_steps=message.learner_steps)
                self._enter(TrainerState.IDLE)
            case Progress():
                if message != self._progress:
                    self._advanced_at = self._clock.monotonic()
                self._progress = message
            case Finished():
                if self._job is None or self._answer is None or message.run_id != self._job.run_id:
                    log.warning("learner finished a job it does not have", run_id=message.run_id)
                elif not self._answer.done():
                    self._answer.set_result(message)
            case Job() | Stop():
                raise ChannelError(
                    operation="hearing the learner", subject=str(message), found="it is control's to say, not its own"
                )

    async def _forward_words(self, process: asyncio.subprocess.Process) -> None:
        """Pass on what the learner writes, and remember the last of it."""
        if process.stdout is None:
            return
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                continue
            if not line:
                return
            forward_line(line)
            if line.strip():
                self._words.append(line.decode(errors="replace").strip()[:500])

    async def _watch(self) -> None:
        """Kill the learner when it does not start, or when its job does not advance."""
        while True:
            await asyncio.sleep(WATCH_PERIOD_S)
            if self._closed_at is not None and self._clock.monotonic() - self._closed_at > CLOSED_CHANNEL_GRACE_S:
                self._kill_for(RestartReason.HUNG, "it closed its channel and lived on")
            elif self.state is TrainerState.STARTING and self.stalled_s > self._settings.start_timeout_s:
                limit = format_duration(self._settings.start_timeout_s)
                self._kill_for(RestartReason.START_FAILED, f"it was not ready after {limit}")
            elif self.state is TrainerState.BUSY and self.stalled_s > self._settings.stall_timeout_s:
                phase = self._progress.phase if self._progress else "nothing"
                limit = format_duration(self._settings.stall_timeout_s)
                self._kill_for(RestartReason.HUNG, f"no progress for {limit} (last phase: {phase})")

    def _kill_for(self, reason: RestartReason, found: str) -> None:
        if self._kill is None and not self._stopping.is_set():
            self._kill = (reason, found)
            log.error("learner is killed", reason=str(reason), found=found, pid=self.pid)
        self.kill()

    def _death_of(self, process: asyncio.subprocess.Process) -> TrainerExit:
        words = self._words[-1] if self._words else ""
        status = process.returncode or 0
        if self._kill is not None:
            reason, found = self._kill
        elif status < 0:
            reason, found = RestartReason.KILLED, f"signal {-status} ({signal.Signals(-status).name})"
        elif self.ready is None:
            reason, found = RestartReason.START_FAILED, f"it exited with status {status} before it was ready"
        else:
            reason, found = RestartReason.EXITED, f"it exited with status {status}"
        return TrainerExit(reason=reason, found=found, last_words=words)

    async def _handle_exit(self, death: TrainerExit) -> None:
        """Count a death and wait out its back-off."""
        self._deaths.append(self._clock.monotonic())
        self._barren += 1
        self._last_death = death
        delay_s = self.back_off_s()
        log.error("learner died", reason=str(death.reason), found=death.found, restart_in_s=delay_s)
        self._on_change()
        await self._on_death(death)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()

    def back_off_s(self) -> float:
        """Seconds before the next start: doubled per death without a finished job; the longest in a crash loop."""
        settings = self._settings
        if self._barren >= settings.crash_loop_restarts:
            return settings.restart_max_s
        return float(min(settings.restart_max_s, settings.restart_first_s * 2.0 ** max(0, self._barren - 1)))

    def _leave_job(self) -> None:
        if self.state is TrainerState.BUSY:
            self._enter(TrainerState.IDLE)

    def _enter(self, state: TrainerState) -> None:
        if state is not self.state:
            self.state = state
            self._on_change()


def added_niceness(added: int) -> int:
    """Return this process's niceness with ``added`` to it; 19 is the most that there is."""
    return min(19, os.getpriority(os.PRIO_PROCESS, 0) + added)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
