"""Supervision of the trainer process: starts it, sends it jobs, kills it if it hangs, and restarts it after an exit.

The heartbeat is the progress that the learning loop itself reports while a job runs, so it stops if the loop hangs
although other threads of the trainer run. Restarts back off: the wait doubles with each restart that follows the
previous one without a finished job in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum

import structlog

from agent.clock import Clock
from agent.config.settings import LearnerSettings
from agent.config.units import format_duration
from agent.daemon.processes.child_process import (
    add_niceness,
    cancel_tasks,
    forward_output,
    kill_group,
    signal_text,
    spawn_with_channel,
)
from agent.daemon.processes.exit_output import telling_line
from agent.daemon.processes.trainer_exit import RestartReason, TrainerExit, TrainerExitedError
from agent.errors import ChannelError
from agent.messages import (
    MAX_LINE_BYTES,
    CloseUnwanted,
    Finished,
    Job,
    Message,
    Progress,
    Ready,
    SetLogLevel,
    Stop,
    parse_line,
    to_line,
)

log = structlog.get_logger(__name__)

WATCH_PERIOD_S = 0.25
CLOSED_CHANNEL_GRACE_S = 5.0
NUM_LAST_LINES = 20


class TrainerState(StrEnum):
    """A state of the trainer process."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    BACKING_OFF = "backing_off"
    """The trainer has exited, and the next start waits."""

    STOPPED = "stopped"


class Supervisor:
    """A supervisor of one trainer process at a time.

    Args:
        command: the trainer's command line; ``--channel-fd N`` is appended.
        environment: the trainer's environment variables.
        settings: time-outs and back-off.
        clock: the clock for durations.
        on_exit: awaited after every exit that is followed by a restart.
        on_change: called whenever the state changes.
        before_start: awaited before each start, because another trainer may still hold the folder.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        settings: LearnerSettings,
        clock: Clock,
        on_exit: Callable[[TrainerExit], Awaitable[None]],
        on_change: Callable[[], None],
        before_start: Callable[[], Awaitable[None]],
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._settings = settings
        self._clock = clock
        self._on_exit = on_exit
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
        self._last_lines: deque[str] = deque(maxlen=NUM_LAST_LINES)
        self._exit_times: deque[float] = deque()
        self._exits_without_job = 0
        self._last_exit: TrainerExit | None = None
        self._is_outdated = self._is_renewing = False
        self.state = TrainerState.STOPPED
        self.ready: Ready | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the trainer; None if no trainer runs."""
        return self._process.pid if self._process else None

    @property
    def progress(self) -> Progress | None:
        """The newest progress of the running job."""
        return self._progress

    @property
    def stalled_s(self) -> float:
        """Seconds since the running job or the start last reported progress; 0 if neither is under way."""
        if self.state not in {TrainerState.STARTING, TrainerState.BUSY}:
            return 0.0
        return self._clock.monotonic() - self._advanced_at

    def crash_loop(self) -> str | None:
        """Return a description of the trainer's crash loop; None if there is none."""
        settings = self._settings
        while self._exit_times and self._exit_times[0] < self._clock.monotonic() - settings.crash_loop_window_s:
            self._exit_times.popleft()
        if max(len(self._exit_times), self._exits_without_job) < settings.crash_loop_restarts:
            return None
        often = f"{self._exits_without_job} times without finishing a job"
        if len(self._exit_times) >= settings.crash_loop_restarts:
            often = f"{len(self._exit_times)} times within {format_duration(settings.crash_loop_window_s)}"
        return f"the trainer exited {often}; the last exit was {self._last_exit}; restarts continue"

    async def run(self) -> None:
        """Run the trainer, and restart it after each exit, until :meth:`stop`."""
        while not self._stopping.is_set():
            await self._before_start()
            if self._stopping.is_set():
                break
            trainer_exit = await self._run_trainer()
            if self._stopping.is_set():
                break
            if self._is_renewing and self._kill is None:
                log.info("trainer restarts with new settings")
            else:
                await self._handle_exit(trainer_exit)
        self._enter(TrainerState.STOPPED)

    def claim(self) -> bool:
        """Keep the idle trainer for a job, so that new settings do not restart it; return False if it is not idle."""
        if self.state is not TrainerState.IDLE:
            return False
        self._advanced_at = self._clock.monotonic()
        self._enter(TrainerState.BUSY)
        return True

    def release(self) -> None:
        """Give up the claim; do nothing without one."""
        if self.state is TrainerState.BUSY:
            self._enter(TrainerState.IDLE)

    async def do(self, job: Job) -> Finished:
        """Send ``job`` to the claimed or idle trainer and return its result.

        Raises:
            TrainerExitedError: the trainer exited before the job had ended.
        """
        self.claim()
        if self.state is not TrainerState.BUSY or self._job is not None or self._writer is None:
            raise TrainerExitedError(
                TrainerExit(reason=RestartReason.EXITED, found="it exited before the job began", last_line="")
            )
        self._job, self._progress = job, None
        self._answer = asyncio.get_running_loop().create_future()
        self._writer.write(to_line(job))
        try:
            finished = await self._answer
        finally:
            self._job = self._answer = self._progress = None
            self.release()
        self._exits_without_job = 0
        return finished

    def use(self, settings: LearnerSettings, environment: Mapping[str, str], *, needs_trainer: bool) -> None:
        """Take over settings, and variables of the next trainer; restart it after its present job if needed."""
        self._settings, self._environment = settings, dict(environment)
        self._is_outdated = self._is_outdated or (needs_trainer and self._process is not None)
        self._renew_if_idle()

    def set_log_level(self, level: str) -> None:
        """Have the running trainer log from another level on."""
        if self._writer:
            self._writer.write(to_line(SetLogLevel(level=level)))

    def close_unwanted(self) -> None:
        """Request the trainer to end the workers of families that were removed or paused; do nothing without one."""
        if self._writer is not None and self.state in {TrainerState.IDLE, TrainerState.BUSY}:
            self._writer.write(to_line(CloseUnwanted()))

    async def stop(self, *, within_s: float) -> None:
        """Send the trainer a stop message, and kill it if it has not exited after ``within_s`` seconds."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        if self._writer is None or self.state is TrainerState.STARTING:
            self.kill()  # it has done no work yet that could be lost
        else:
            self._writer.write(to_line(Stop()))
        try:
            async with asyncio.timeout(within_s):
                await process.wait()
        except TimeoutError:
            log.warning("trainer did not stop; killing it", within_s=within_s, pid=process.pid)
            self.kill()

    def kill(self) -> None:
        """Kill the trainer and its process group."""
        kill_group(self._process)

    async def _run_trainer(self) -> TrainerExit:
        """Start a trainer, wait until it exits, and return its exit."""
        self._kill = self.ready = self._closed_at = None
        self._is_outdated = self._is_renewing = False
        self._last_lines.clear()
        self._advanced_at = self._clock.monotonic()
        self._enter(TrainerState.STARTING)
        parent, child = socket.socketpair()
        try:
            process = await spawn_with_channel(self._command, child, self._environment)
        except OSError as error:
            parent.close()
            return TrainerExit(reason=RestartReason.START_FAILED, found=str(error), last_line="")
        finally:
            child.close()
        self._process = process
        add_niceness(process.pid, self._settings.nice)
        reader, self._writer = await asyncio.open_connection(sock=parent, limit=MAX_LINE_BYTES)
        listening = [
            asyncio.create_task(self._listen(reader)),
            asyncio.create_task(forward_output(process, self._last_lines.append)),
        ]
        watching = asyncio.create_task(self._watch())
        try:
            await process.wait()
            await asyncio.wait(listening, timeout=0.5)
        finally:
            await cancel_tasks([*listening, watching])
            self._writer.close()
            self._process = self._writer = None
        trainer_exit = self._exit_of(process)
        self._enter(TrainerState.STOPPED if self._stopping.is_set() else TrainerState.BACKING_OFF)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(TrainerExitedError(trainer_exit))
        return trainer_exit

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Handle the trainer's messages until it closes its end of the channel."""
        try:
            while line := await reader.readline():
                self._handle_message(parse_line(line))
        except ConnectionError:  # an exit of the trainer before it has read its job resets the connection
            log.debug("trainer's channel was reset", pid=self.pid)
        except (ChannelError, ValueError) as error:
            log.exception("trainer's channel is broken", pid=self.pid)
            self._kill_for(RestartReason.HUNG, str(error))
            return
        self._closed_at = self._clock.monotonic()

    def _handle_message(self, message: Message) -> None:
        match message:
            case Ready():
                self.ready = message
                log.info("trainer ready", pid=message.pid, device=message.device, learner_steps=message.learner_steps)
                self._enter(TrainerState.IDLE)
            case Progress():
                if message != self._progress:
                    self._advanced_at = self._clock.monotonic()
                self._progress = message
            case Finished():
                if self._job is None or self._answer is None or message.run_id != self._job.run_id:
                    log.warning("trainer reported the end of a job that it does not run", run_id=message.run_id)
                elif not self._answer.done():
                    self._answer.set_result(message)
            case Job() | Stop() | CloseUnwanted() | SetLogLevel():
                raise ChannelError(
                    operation="reading a message of the trainer",
                    subject=str(message),
                    found="only the daemon sends it.",
                )

    async def _watch(self) -> None:
        """Kill the trainer if its start takes too long or its job reports no progress."""
        while True:
            await asyncio.sleep(WATCH_PERIOD_S)
            if self._closed_at is not None and self._clock.monotonic() - self._closed_at > CLOSED_CHANNEL_GRACE_S:
                self._kill_for(RestartReason.HUNG, "it closed its channel but did not exit")
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
            log.error("killing the trainer", reason=str(reason), found=found, pid=self.pid)
        self.kill()

    def _exit_of(self, process: asyncio.subprocess.Process) -> TrainerExit:
        status = process.returncode or 0
        last_line = telling_line(self._last_lines, is_killed=status < 0 or self._kill is not None)
        if self._kill is not None:
            reason, found = self._kill
        elif status < 0:
            reason, found = RestartReason.KILLED, signal_text(status)
        elif self.ready is None:
            reason, found = RestartReason.START_FAILED, f"it exited with status {status} before it was ready"
        else:
            reason, found = RestartReason.EXITED, f"it exited with status {status}"
        return TrainerExit(reason=reason, found=found, last_line=last_line)

    async def _handle_exit(self, trainer_exit: TrainerExit) -> None:
        """Count an exit and wait for the back-off."""
        self._exit_times.append(self._clock.monotonic())
        self._exits_without_job += 1
        self._last_exit = trainer_exit
        delay_s = self.back_off_s()
        log.error("trainer exited", reason=str(trainer_exit.reason), found=trainer_exit.found, restart_in_s=delay_s)
        self._on_change()
        await self._on_exit(trainer_exit)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()

    def back_off_s(self) -> float:
        """Return the seconds before the next start.

        They double with each exit without a finished job in between. In a crash loop they are ``restart_max_s``.
        """
        settings, num_exits = self._settings, self._exits_without_job
        is_loop = num_exits >= settings.crash_loop_restarts
        wait_s = settings.restart_first_s * 2.0 ** max(0, num_exits - 1)
        return settings.restart_max_s if is_loop else min(settings.restart_max_s, wait_s)

    def _enter(self, state: TrainerState) -> None:
        if state is not self.state:
            self.state = state
            self._renew_if_idle()
            self._on_change()

    def _renew_if_idle(self) -> None:
        if self._is_outdated and self.state is TrainerState.IDLE and self._writer:
            self._is_outdated, self._is_renewing, self.state = False, True, TrainerState.STARTING
            self._advanced_at = self._clock.monotonic()
            self._writer.write(to_line(Stop()))
