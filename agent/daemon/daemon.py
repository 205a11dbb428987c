"""The daemon process: it connects store, trainer, dispatcher, pages and service manager, and starts and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

import structlog

from agent.clock import Clock, SystemClock
from agent.config.settings import Settings
from agent.daemon.connections import ConnectionLimits
from agent.daemon.descriptors import connections_within, raise_descriptor_limit
from agent.daemon.dispatcher import Dispatcher, Lane, StoppingError
from agent.daemon.health import HealthInputs, Problem, problems
from agent.daemon.http import Endpoints, HttpServer, new_app
from agent.daemon.metrics import LEARNER_RESTARTS, new_registry
from agent.daemon.preloading import preload
from agent.daemon.snapshot import Snapshot, read_snapshot
from agent.daemon.store_thread import StoreThread
from agent.daemon.supervisor import Supervisor, TrainerExit, TrainerState
from agent.daemon.systemd import Notifier
from agent.errors import AgentError, ListenError
from agent.logs import configure_logs, resolved_format
from agent.running_version import running_version
from envs.default_families import default_stream
from envs.family import FamilySpec
from memory.errors import FolderInUseError, FolderLostError, MemoryStoreError, StoreFullError
from memory.folder import DataFolder, HeldFolder
from memory.opening import begin_anew
from memory.records import FamilyState
from memory.store import Store
from memory.watching import FolderWatch

log = structlog.get_logger(__name__)

T = TypeVar("T")

TRAINER_GRACE_S = 6.5
"""Time for the trainer to stop. It is then killed, so that the whole stop takes less than 10 s."""

RECORDING_GRACE_S = 1.0
CLOSING_GRACE_S = 0.5
ORPHAN_GRACE_S = 5.0
POLL_PERIOD_S = 1.0
FOLDER_PERIOD_S = 0.5
"""Seconds between two checks that the data folder and its files are still those that were opened."""

LOG_TRIES = 20
"""Number of attempts to move a removed write-ahead log into the database while another process reads it."""

STATUS_PERIOD_S = 10.0
SUMMARY_PERIOD_S = 60.0
MAX_SILENCE_S = 60.0
"""Time without progress of the daemon's own loops after which the watchdog is no longer notified."""


class ExitCode(IntEnum):
    """An exit status of ``learnd run``."""

    OK = 0
    FAILED = 1
    FOLDER_IN_USE = 3
    ADDRESS_IN_USE = 4
    STORE_UNUSABLE = 5
    HUNG_UP = 128 + signal.SIGHUP
    """The terminal of the process was closed."""


def run(
    settings: Settings,
    *,
    stop_after_s: float | None = None,
    is_new: bool = False,
    learner_command: Sequence[str] | None = None,
) -> int:
    """Run the service until a signal stops it, or for ``stop_after_s`` seconds; return the exit code.

    Args:
        settings: all settings.
        stop_after_s: seconds after which the service stops; None for no limit.
        is_new: move a lost or damaged store aside and create a new one.
        learner_command: the trainer's command line; None for ``python -m agent.trainer``.
    """
    configure_logs(settings, process="control")
    running_version()
    preload()
    daemon = Daemon(settings, learner_command=learner_command, is_new=is_new)
    try:
        asyncio.run(_run_with_signals(daemon, stop_after_s))
    except FolderInUseError as error:
        log.error("not started", error=str(error))  # noqa: TRY400 -- a traceback would add nothing
        return ExitCode.FOLDER_IN_USE
    except ListenError as error:
        log.error("not started", error=str(error))  # noqa: TRY400
        return ExitCode.ADDRESS_IN_USE
    except FolderLostError:
        return ExitCode.STORE_UNUSABLE  # logged when it was detected
    except MemoryStoreError as error:
        log.error("data folder cannot be used", error=str(error))  # noqa: TRY400
        return ExitCode.STORE_UNUSABLE
    except AgentError:
        log.exception("daemon failed")
        return ExitCode.FAILED
    return ExitCode.HUNG_UP if daemon.is_hung_up else ExitCode.OK


async def _run_with_signals(daemon: Daemon, stop_after_s: float | None) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, daemon.request_stop, signal.SIGTERM.name)
    # Signals that are ignored at the start stay ignored: nohup ignores SIGHUP, and a shell ignores SIGINT in its
    # background jobs.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGINT, daemon.request_stop, signal.SIGINT.name)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, daemon.handle_hang_up, has_terminal())
    if stop_after_s is not None:
        loop.call_later(stop_after_s, daemon.request_stop, f"after {stop_after_s:g} s")
    await daemon.run()


def learner_command_of(settings: Settings) -> list[str]:
    """Return the trainer's command line; ``-P`` prevents importing a package called ``agent`` from the working folder.

    The command line carries the settings that the daemon read at its start, so later changes of the settings file have
    no effect until the daemon restarts. It also carries the version: a trainer of another version, installed since the
    start of the daemon, refuses to run.
    """
    program = [sys.executable, "-P", "-m", "agent.trainer", "--control-version", running_version()]
    return [*program, "--settings", json.dumps(settings.model_dump(mode="json"))]


def has_terminal() -> bool:
    """Return whether the process has a controlling terminal and was not started by a service manager."""
    if os.environ.get("NOTIFY_SOCKET"):
        return False
    try:
        with Path("/dev/tty").open("rb"):
            return True
    except OSError:
        return False


class Daemon:
    """The daemon process.

    Args:
        settings: all settings.
        learner_command: the trainer's command line; None for ``python -m agent.trainer``.
        clock: wall and monotonic time.
        embedded_stream: returns the families that are added to an empty data folder.
        is_new: move a lost or damaged store aside and create a new one.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        learner_command: Sequence[str] | None = None,
        clock: Clock | None = None,
        embedded_stream: Callable[[], Sequence[FamilySpec]] = default_stream,
        is_new: bool = False,
    ) -> None:
        self._settings = settings
        self._is_new = is_new
        self._clock = clock or SystemClock()
        self._embedded_stream = embedded_stream
        self._folder = DataFolder(settings.data_dir)
        self._folder_watch = FolderWatch(self._folder)
        self._folder_loss: FolderLostError | None = None
        self._has_used_ballast = False
        self._writer = StoreThread("store-writer", lambda: Store.open(self._folder, clock=self._clock.wall))
        self._reader = StoreThread("store-reader", lambda: Store.open(self._folder, is_reader=True))
        self._supervisor = Supervisor(
            learner_command or learner_command_of(settings),
            environment=_trainer_environment(settings),
            settings=settings.learner,
            clock=self._clock,
            on_exit=self._count_restart,
            on_change=self._note_change,
            before_start=self._await_free_folder,
        )
        self._dispatcher = Dispatcher(
            settings=settings,
            folder=self._folder,
            writer=self._writer,
            supervisor=self._supervisor,
            clock=self._clock,
            snapshot=lambda: self.snapshot,
            on_change=self._note_change,
            before_job=self._require_folder,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_hung_up = False
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()
        self._notifier = Notifier()
        self._read_at = self._clock.monotonic()
        self._read_error = ""
        self._disk_free_bytes = 2**63
        self._started_at = self._clock.wall()
        self.snapshot: Snapshot | None = None
        self.state = "starting"
        self.address = ""

    def request_stop(self, reason: str) -> None:
        """Begin to stop; a second call kills the trainer at once."""
        if self._stop.is_set():
            self._supervisor.kill()
            return
        log.info("stopping", reason=reason)
        self._stop.set()

    def handle_hang_up(self, has_terminal: bool) -> None:  # noqa: FBT001 -- a signal handler's argument
        """Stop if the terminal was closed; otherwise log that SIGHUP reloads nothing."""
        if not has_terminal:
            log.info("SIGHUP changes nothing: the settings are read at the start; restart the service to change them")
            return
        self.is_hung_up = True
        self.request_stop(signal.SIGHUP.name)

    async def run(self) -> None:
        """Run until :meth:`request_stop`. Everything is saved when this returns.

        Raises:
            FolderInUseError: another daemon holds the data folder.
            ListenError: the server cannot listen on the address.
            FolderLostError: the data folder, or a file in it, was removed or replaced while the daemon ran.
            MemoryStoreError: the store cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._notifier.close)
            held: HeldFolder = stack.enter_context(await self._with_ballast(self._held_folder))
            log.info("starting", version=running_version(), data_dir=str(held.folder.path), pid=os.getpid())
            server = self._server()
            stack.callback(server.close)
            self.address = server.address
            if self._is_new:
                self._replace_store()
            await self._with_ballast(self._writer.open)
            await stack.enter_async_context(_closed(self._writer))
            self._folder_watch.require_unchanged()
            await self._with_ballast(self._add_embedded_families)
            await self._with_ballast(self._dispatcher.restore)
            if self._has_used_ballast:
                self._dispatcher.prune_soon()
            await self._reader.open()
            await stack.enter_async_context(_closed(self._reader))
            await self._poll_once()
            await self._serve(server)
        if self._folder_loss is not None:
            raise self._folder_loss

    async def _held_folder(self) -> HeldFolder:
        self._folder.create()
        return self._folder.hold("control")

    def _replace_store(self) -> None:
        with self._folder.hold("learner"):
            aside = begin_anew(self._folder, clock=self._clock.wall)
        if aside is not None:
            log.warning("the old store was moved aside, and a new one is created", set_aside=str(aside))

    async def _with_ballast(self, step: Callable[[], Awaitable[T]]) -> T:
        """Run a step of the start. On a full disk, remove the ballast and try once more.

        Raises:
            StoreFullError: the disk is full even without the ballast.
        """
        try:
            return await step()
        except StoreFullError as error:
            if not self._folder.release_ballast():
                raise
            log.warning("disk is full: the ballast was removed to make space for the start", error=str(error))
            self._has_used_ballast = True
            return await step()

    def _server(self) -> HttpServer:
        service, limits = self._settings.service, ConnectionLimits()
        most = connections_within(raise_descriptor_limit(), most=limits.max_connections)
        return HttpServer(
            new_app(self._endpoints()),
            host=service.host,
            port=service.port,
            allowed_hosts=service.allowed_hosts,
            limits=dataclasses.replace(limits, max_connections=most),
        )

    async def _serve(self, server: HttpServer) -> None:
        """Run all tasks until the request to stop, then end them in order."""
        serving = asyncio.create_task(server.serve(), name="http")
        learner = asyncio.create_task(self._supervisor.run(), name="supervisor")
        lanes = [asyncio.create_task(self._dispatcher.lane(lane), name=f"lane-{lane}") for lane in Lane]
        background = [
            asyncio.create_task(loop, name=name)
            for name, loop in (
                ("watch", self._dispatcher.watch()),
                ("poll", self._poll()),
                ("folder-watch", self._watch_folder()),
                ("report", self._report()),
                ("summary", self._summarise()),
                ("watchdog", self._notify_watchdog()),
            )
        ]
        try:
            await self._become_ready(server, serving)
            await self._until_stop([serving, learner, *lanes, *background])
        finally:
            await self._shut_down(server, learner=learner, lanes=lanes, background=background)
            await serving

    async def _become_ready(self, server: HttpServer, serving: asyncio.Task[None]) -> None:
        while not server.is_serving and not serving.done() and not self._stop.is_set():
            await asyncio.sleep(0.01)
        if self._stop.is_set():
            return
        self.state = "running"
        self._notifier.ready()
        self._note_change()
        started_in_s = round(self._clock.wall() - self._started_at, 3)
        log.info("ready", url=f"http://{self.address}/", pid=os.getpid(), started_in_s=started_in_s)

    async def _until_stop(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Wait for the request to stop, or until a task ends.

        Raises:
            AgentError: a task has ended before the request to stop.
        """
        stop = asyncio.create_task(self._stop.wait())
        ended, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if stop in ended or self._stop.is_set():
            stop.cancel()
            return
        stop.cancel()
        task = next(iter(ended))
        raise AgentError(
            operation="running", subject=task.get_name(), found=f"it ended unexpectedly: {task.exception()!r}."
        ) from task.exception()

    async def _shut_down(
        self,
        server: HttpServer,
        *,
        learner: asyncio.Task[None],
        lanes: Sequence[asyncio.Task[None]],
        background: Sequence[asyncio.Task[None]],
    ) -> None:
        self.state = "stopping"
        self._notifier.stopping()
        self._dispatcher.stop()
        self._changed.set()
        # If the folder is lost, the trainer is killed at once: it would commit to whatever replaced the folder.
        await self._supervisor.stop(within_s=TRAINER_GRACE_S if self._folder_loss is None else 0.0)
        await asyncio.wait([learner, *lanes], timeout=RECORDING_GRACE_S)
        for task in (learner, *lanes, *background):
            task.cancel()
        await asyncio.gather(learner, *lanes, *background, return_exceptions=True)
        self.state = "stopped"
        if self._folder_loss is None:
            with contextlib.suppress(MemoryStoreError, TimeoutError):
                async with asyncio.timeout(CLOSING_GRACE_S):
                    await self._write_status()
        else:
            await self._save_removed_log(self._folder_loss)
        server.stop()
        log.info("stopped")

    async def _add_embedded_families(self) -> None:
        if not self._settings.stream.embedded_default:
            return
        specs = self._embedded_stream()

        def add_all(store: Store) -> int:
            if store.families.all(with_removed=True):
                return 0
            for spec in specs:
                store.families.add(spec.name, spec.to_json())
            return len(specs)

        if num_added := await self._writer.call(add_all):
            log.info("empty data folder: added the embedded families", families=num_added)

    async def _watch_folder(self) -> None:
        """Stop the service if the data folder, or a file that it needs, was removed or replaced."""
        while not self._is_folder_lost():
            await asyncio.sleep(FOLDER_PERIOD_S)

    def _is_folder_lost(self) -> bool:
        """Return whether the folder is lost; the first loss is logged and stops the service."""
        try:
            self._folder_watch.require_unchanged()
        except FolderLostError as error:
            self._stop_for(error)
            return True
        return False

    def _require_folder(self) -> None:
        """Raise if the folder is lost and no job may start; may be called in any thread.

        Raises:
            StoppingError: the folder is lost.
        """
        try:
            self._folder_watch.require_unchanged()
        except FolderLostError as error:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._stop_for, error)
            raise StoppingError from error

    def _stop_for(self, loss: FolderLostError) -> None:
        if self._folder_loss is None:
            log.error("data folder is lost: stopping", error=str(loss))
            self._folder_loss = loss
            self._stop.set()

    async def _save_removed_log(self, loss: FolderLostError) -> None:
        """Move a removed write-ahead log, which this process still has open, into the database; log what is lost.

        This must not be interrupted: the process has the only copy of the log, and a database that holds half of it is
        damaged.
        """
        if loss.path != self._folder.wal_path:
            return
        lost = "commits since the log was last moved into the database may be lost"
        try:
            for _ in range(LOG_TRIES):
                if await self._writer.call(lambda store: store.move_log_into_database()):
                    log.warning("removed write-ahead log was moved into the database: nothing is lost")
                    return
                await asyncio.sleep(0.1)
        except MemoryStoreError as error:
            log.exception("removed write-ahead log cannot be saved", lost=lost, error=str(error))
            return
        log.error("removed write-ahead log cannot be saved: another process reads the store", lost=lost)

    async def _await_free_folder(self) -> None:
        """Wait until no other trainer uses the folder; kill one whose daemon has exited."""
        if self._is_folder_lost():
            await asyncio.sleep(RECORDING_GRACE_S)  # the supervisor is stopped in this time, and starts no trainer then
            return
        deadline = self._clock.monotonic() + ORPHAN_GRACE_S
        while (pid := self._folder.holder_pid("learner")) is not None and not self._stop.is_set():
            if self._clock.monotonic() > deadline:
                if self._folder.is_orphaned("learner"):
                    log.warning("killing a trainer of an earlier daemon", pid=pid)
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                else:
                    log.warning("another trainer uses the data folder; waiting until it exits", pid=pid)
                deadline += ORPHAN_GRACE_S
            await asyncio.sleep(0.1)

    async def _count_restart(self, trainer_exit: TrainerExit) -> None:
        labels = {"reason": str(trainer_exit.reason)}
        try:
            await self._writer.call(lambda store: store.counters.add(LEARNER_RESTARTS, labels))
        except MemoryStoreError as error:
            log.exception("restart of the trainer could not be counted", error=str(error))

    def _note_change(self) -> None:
        self._changed.set()
        self._dispatcher.wake()

    async def _poll(self) -> None:
        while not self._is_folder_lost():
            await self._poll_once()
            await asyncio.sleep(POLL_PERIOD_S)

    async def _poll_once(self) -> None:
        """Read a new snapshot of the store into memory."""
        before = self.snapshot
        try:
            self.snapshot = await self._reader.call(lambda store: read_snapshot(store, before))
            self._disk_free_bytes = shutil.disk_usage(self._folder.path).free
            self._read_at, self._read_error = self._clock.monotonic(), ""
        except (MemoryStoreError, OSError) as error:
            if not self._read_error:
                log.exception("store cannot be read")
            self._read_error = str(error)

    def problems(self) -> list[Problem]:
        """Return the reasons for red health; an empty list means good health."""
        return problems(
            HealthInputs(
                crash_loop=self._supervisor.crash_loop(),
                snapshot_age_s=self._clock.monotonic() - self._read_at,
                read_error=self._read_error,
                write_error=str(self._folder_loss or self._dispatcher.write_error),
                disk_free_bytes=self._disk_free_bytes,
                failures=self._dispatcher.failures.counts(),
                damage=self.snapshot.damage if self.snapshot else (),
            )
        )

    def summary(self) -> str:
        """Return the current activity of the service in one line for users."""
        running = [r.work for r in self._dispatcher.running.values()]
        if running:
            now = "; ".join(f"{work.kind} ({work.reason})" for work in running)
        elif self._supervisor.state in {TrainerState.STARTING, TrainerState.BACKING_OFF}:
            now = f"trainer {self._supervisor.state}"
        else:
            now = "idle"
        if self.snapshot is None:
            return now
        num_active = sum(family.state is FamilyState.ACTIVE for family in self.snapshot.families)
        return f"{now}; {num_active} active families; policy version {self.snapshot.policy_version}"

    def _endpoints(self) -> Endpoints:
        return Endpoints(
            registry=new_registry(lambda: self.snapshot, version=running_version()),
            problems=self.problems,
            state=lambda: self.state,
            summary=self.summary,
        )

    async def _report(self) -> None:
        """Write the status row after each change, at most twice a second, and at least every ``STATUS_PERIOD_S``."""
        while True:
            # wait_for is not used: before Python 3.12 it loses a cancellation that arrives when the event is set.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATUS_PERIOD_S):
                    await self._changed.wait()
            self._changed.clear()
            self._notifier.status(self.summary())
            try:
                await self._write_status()
            except MemoryStoreError as error:
                log.warning("status could not be written", error=str(error))
                if isinstance(error, StoreFullError):
                    self._dispatcher.use_ballast()
            except Exception:  # an error in building the status row must not end the service
                log.exception("status could not be written")
            await asyncio.sleep(0.5)

    async def _write_status(self) -> None:
        status = self.status()
        await self._writer.call(lambda store: store.daemon_status.set(status))

    def status(self) -> dict[str, Any]:
        """Return the status row, which ``learnd status`` shows while the daemon runs."""
        learner = self._supervisor
        return {
            "state": self.state,
            "pid": os.getpid(),
            "version": running_version(),
            "started_at": self._started_at,
            "at": self._clock.wall(),
            "listen": self.address,
            "device": learner.ready.device if learner.ready else None,
            "policy_version": self.snapshot.policy_version if self.snapshot else None,
            "learner": {
                "state": learner.state,
                "pid": learner.pid,
                "phase": learner.progress.phase if learner.progress else None,
            },
            "running": [
                {
                    "run_id": running.run_id,
                    "job": running.work.kind,
                    "family": running.work.family,
                    "reason": running.work.reason,
                    "started_at": running.started_at,
                }
                for running in self._dispatcher.running.values()
            ],
            "reasons": [str(problem) for problem in self.problems()],
        }

    async def _summarise(self) -> None:
        """Log the progress of learning once a minute. Single slices of practice are logged at level debug only."""
        while True:
            await asyncio.sleep(SUMMARY_PERIOD_S)
            snapshot = self.snapshot
            if snapshot is not None:
                log.info(
                    "learning",
                    env_steps=sum(family.totals.env_steps for family in snapshot.families),
                    meta_updates=sum(family.totals.meta_updates for family in snapshot.families),
                    scores={name: round(scores[-1], 3) for name, scores in snapshot.scores.items() if scores},
                    policy_version=snapshot.policy_version,
                    reasons=[str(problem) for problem in self.problems()],
                )

    async def _notify_watchdog(self) -> None:
        """Notify the watchdog of the service manager as long as there is progress."""
        period_s = self._notifier.watchdog_period_s
        while period_s is not None:
            stalled = self._stalled_part()
            if stalled:
                log.error("no progress: the watchdog is not notified", found=stalled)
            else:
                self._notifier.alive()
            await asyncio.sleep(period_s)
        await asyncio.Event().wait()

    def _stalled_part(self) -> str:
        """Return the name of a part that has made no progress for too long, with the time; empty if there is none."""
        now = self._clock.monotonic()
        learner = self._settings.learner
        limit_s = max(learner.stall_timeout_s, learner.start_timeout_s) + MAX_SILENCE_S
        for name, silent_s, allowed_s in (
            ("dispatcher", now - self._dispatcher.last_look_at, MAX_SILENCE_S),
            ("store reader", now - self._read_at, MAX_SILENCE_S),
            ("store writer", self._writer.busy_s, MAX_SILENCE_S),
            ("trainer", self._supervisor.stalled_s, limit_s),
        ):
            if silent_s > allowed_s:
                return f"{name}, for {silent_s:.0f} s"
        return ""


def _trainer_environment(settings: Settings) -> dict[str, str]:
    """Return the trainer's environment: the daemon's own without the variables of the service manager."""
    private = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
    environment = {name: value for name, value in os.environ.items() if name not in private}
    return environment | {
        "LEARND_SERVICE__LOG_FORMAT": resolved_format(settings.service.log_format),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }


@contextlib.asynccontextmanager
async def _closed(thread: StoreThread) -> AsyncIterator[StoreThread]:
    try:
        yield thread
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_GRACE_S):
                await thread.close()
