"""The daemon: it connects store, trainer, dispatcher, pages and service manager, and starts and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable, Sequence

import structlog

from agent.clock import Clock, SystemClock
from agent.config.changes import SettingsChange
from agent.config.settings import Settings
from agent.config.triggers import is_within
from agent.daemon.family_folders import FamilyFolders
from agent.daemon.http.connections import ConnectionLimits
from agent.daemon.http.descriptors import connections_within, raise_descriptor_limit
from agent.daemon.http.server import HttpServer
from agent.daemon.jobs.dispatcher import Dispatcher
from agent.daemon.jobs.runs import Lane
from agent.daemon.metrics.live_samples import Readings, backup_age_s, job_periods_s, limits_bytes, limits_seconds
from agent.daemon.metrics.resource_watch import ResourceWatch
from agent.daemon.metrics.snapshot_samples import LEARNER_RESTARTS
from agent.daemon.metrics.text import MetricsText
from agent.daemon.processes.supervisor import Supervisor
from agent.daemon.processes.trainer_command import trainer_command as default_trainer_command
from agent.daemon.processes.trainer_command import trainer_environment
from agent.daemon.processes.trainer_exit import TrainerExit
from agent.daemon.reloading import SettingsReload
from agent.daemon.startup import BallastRetry, add_embedded_families, hold_folder, replace_store
from agent.daemon.status_report import ServiceState, StatusReport
from agent.daemon.stopping import until_stop
from agent.daemon.store.folder_guard import FolderGuard
from agent.daemon.store.poller import StorePoller
from agent.daemon.store.thread import StoreThread
from agent.daemon.systemd import Notifier
from agent.daemon.watchdog import Watchdog
from agent.daemon.web.access import AccessRules
from agent.daemon.web.api import ApiSources
from agent.daemon.web.app import Endpoints, new_app
from agent.daemon.web.site import Web
from agent.logs import configure_logs
from agent.running_version import running_version
from envs.default_families import default_stream
from envs.family import FamilySpec
from memory.errors import MemoryStoreError
from memory.folder import DataFolder, HeldFolder
from memory.store import Store

log = structlog.get_logger(__name__)

TRAINER_GRACE_S = 6.5
"""Time for the trainer to stop. It is then killed, so that the whole stop takes less than 10 s."""

RECORDING_GRACE_S = 1.0
"""Time for the lanes to record how their last runs ended."""

CLOSING_GRACE_S = 0.5
"""Time for the last write of the status row, and for closing each store."""


class Daemon:
    """The daemon process.

    Args:
        settings: all settings.
        trainer_command: the trainer's command line; None for ``python -m agent.trainer``.
        reference_command: the command line that measures references; None for ``python -m agent.reference``.
        clock: wall and monotonic time.
        embedded_stream: returns the families that are added to an empty data folder.
        is_new: move a lost or damaged store aside and create a new one.
        load_settings: reads the settings again, from the sources of the start; None if they cannot be reloaded.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        trainer_command: Sequence[str] | None = None,
        reference_command: Sequence[str] | None = None,
        clock: Clock | None = None,
        embedded_stream: Callable[[], Sequence[FamilySpec]] = default_stream,
        is_new: bool = False,
        load_settings: Callable[[], Settings] | None = None,
    ) -> None:
        self._settings = settings
        self._is_new = is_new
        self._clock = clock or SystemClock()
        self._embedded_stream = embedded_stream
        self._stop = asyncio.Event()
        self._folder = DataFolder(settings.data_dir)
        self._guard = FolderGuard(self._folder, clock=self._clock, on_loss=self._stop.set)
        self._writer = StoreThread("store-writer", lambda: Store.open(self._folder, clock=self._clock.wall))
        self._reader = StoreThread("store-reader", lambda: Store.open(self._folder, is_reader=True))
        self._web_reader = StoreThread("web-reader", lambda: Store.open(self._folder, is_reader=True))
        self._supervisor = self._new_supervisor(trainer_command)
        self._metrics = MetricsText(readings=self._readings, monotonic=self._clock.monotonic)
        self._poller = StorePoller(
            self._reader,
            folder=self._folder,
            clock=self._clock,
            on_identity=self._guard.require_same_store,
            on_unwanted=self._supervisor.close_unwanted,
            on_snapshot=self._metrics.take,
        )
        self._dispatcher = self._new_dispatcher(reference_command)
        self._family_folders = FamilyFolders(settings, self._writer)
        self._notifier = Notifier()
        self._watchdog = self._new_watchdog()
        self._reload = SettingsReload(settings, load=load_settings, apply=self._take_settings)
        self._service = ServiceState(started_at=self._clock.wall())
        self._report = self._new_report()
        self._web = self._new_web()
        self._resources = ResourceWatch(trainer_pid=lambda: self._supervisor.pid, uses_gpu=self._uses_gpu)
        self.is_hung_up = False

    def _new_supervisor(self, trainer_command: Sequence[str] | None) -> Supervisor:
        return Supervisor(
            trainer_command or default_trainer_command(),
            environment=trainer_environment(self._settings),
            settings=self._settings.learner,
            clock=self._clock,
            on_exit=self._count_restart,
            on_change=self._note_change,
            before_start=lambda: self._guard.wait_for_free_folder(self._stop),
        )

    def _new_dispatcher(self, reference_command: Sequence[str] | None) -> Dispatcher:
        return Dispatcher(
            settings=self._settings,
            folder=self._folder,
            writer=self._writer,
            supervisor=self._supervisor,
            clock=self._clock,
            snapshot=lambda: self._poller.snapshot,
            on_change=self._note_change,
            before_job=self._guard.require_folder,
            reference_command=reference_command,
        )

    def _new_watchdog(self) -> Watchdog:
        return Watchdog(
            self._notifier,
            settings=self._settings.learner,
            clock=self._clock,
            dispatcher=self._dispatcher,
            poller=self._poller,
            writer=self._writer,
            supervisor=self._supervisor,
        )

    def _new_report(self) -> StatusReport:
        return StatusReport(
            self._service,
            clock=self._clock,
            writer=self._writer,
            notifier=self._notifier,
            supervisor=self._supervisor,
            dispatcher=self._dispatcher,
            poller=self._poller,
            guard=self._guard,
            family_folders=self._family_folders,
            reload=self._reload,
        )

    def _new_web(self) -> Web:
        service = self._settings.service
        sources = ApiSources(
            reader=self._web_reader,
            revision=lambda: self._poller.snapshot.data_version if self._poller.snapshot else 0,
            status=self._report.status,
            problems=self._report.problems,
            settings=lambda: self._settings,
            clock=self._clock,
        )
        rules = AccessRules(
            listen_host=service.host, token_file=service.token_file, protects_monitoring=service.protect_metrics
        )
        return Web(
            sources,
            rules=rules,
            snapshot=lambda: self._poller.snapshot,
            state=lambda: self._service.state,
            summary=self._report.summary,
        )

    def request_stop(self, reason: str) -> None:
        """Begin to stop; a second call kills the trainer at once."""
        if self._stop.is_set():
            self._supervisor.kill()
            return
        log.info("stopping", reason=reason)
        self._stop.set()

    def handle_hang_up(self, has_terminal: bool) -> None:  # noqa: FBT001 -- a signal handler's argument
        """Stop if the terminal was closed; otherwise reload the settings."""
        if not has_terminal:
            self.reload_settings()
            return
        self.is_hung_up = True
        self.request_stop(signal.SIGHUP.name)

    def reload_settings(self) -> None:
        """Read the settings again and take them over; wrong ones are reported, and the old ones stay in force."""
        if self._service.state != "running":
            log.warning("settings are reloaded only while the service runs", state=self._service.state)
            return
        with self._notifier.reloading():
            self._reload.reload()
        self._note_change()

    def _take_settings(self, change: SettingsChange) -> None:
        settings = self._settings = change.settings
        configure_logs(settings, process="control")
        self._dispatcher.use(settings)
        self._family_folders.use(settings)
        self._watchdog.use(settings.learner)
        environment = trainer_environment(settings)
        self._supervisor.use(settings.learner, environment, needs_trainer=change.needs_trainer)
        if "service.log_level" in change.changed:
            self._supervisor.set_log_level(settings.service.log_level)

    async def run(self) -> None:
        """Run until :meth:`request_stop`. Everything is saved when this returns.

        Raises:
            FolderInUseError: another daemon holds the data folder.
            ListenError: the server cannot listen on the address.
            FolderLostError: the data folder, or a file in it, was removed or replaced while the daemon ran.
            MemoryStoreError: the store cannot be used.
        """
        ballast = BallastRetry(self._folder)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._notifier.close)
            held: HeldFolder = stack.enter_context(await ballast.run(lambda: hold_folder(self._folder)))
            log.info("starting", version=running_version(), data_dir=str(held.folder.path), pid=os.getpid())
            server = self._new_server()
            stack.callback(server.close)
            self._service.address = server.address
            if self._is_new:
                replace_store(self._folder, self._clock)
            await ballast.run(self._writer.open)
            stack.push_async_callback(self._writer.close_within, CLOSING_GRACE_S)
            self._guard.begin()
            if self._settings.stream.embedded_default:
                specs = self._embedded_stream()
                await ballast.run(lambda: add_embedded_families(self._writer, specs))
            await ballast.run(self._dispatcher.restore)
            if ballast.has_used_ballast:
                self._dispatcher.prune_soon()
            for reader in (self._reader, self._web_reader):
                await reader.open()
                stack.push_async_callback(reader.close_within, CLOSING_GRACE_S)
            await self._poller.poll_once()
            await self._serve(server)
        if self._guard.loss is not None:
            raise self._guard.loss

    def _new_server(self) -> HttpServer:
        service, limits = self._settings.service, ConnectionLimits()
        most = connections_within(raise_descriptor_limit(), most=limits.max_connections)
        endpoints = Endpoints(metrics=self._metrics, problems=self._report.problems, state=lambda: self._service.state)
        return HttpServer(
            self._web.protected(new_app(endpoints, self._web.routes(most))),
            host=service.host,
            port=service.port,
            allowed_hosts=service.allowed_hosts,
            limits=dataclasses.replace(limits, max_connections=most),
        )

    def _uses_gpu(self) -> bool:
        return self._supervisor.ready is not None and self._supervisor.ready.device.startswith("cuda")

    def _readings(self) -> Readings:
        """Return the present values that a scrape shows besides those of the store."""
        now, snapshot, settings = self._clock.wall(), self._poller.snapshot, self._settings
        return Readings(
            version=running_version(),
            red={problem.reason for problem in self._report.problems()},
            trainer=self._supervisor.state,
            heartbeat_age_s=self._supervisor.stalled_s,
            snapshot_age_s=self._poller.age_s,
            disk_free_bytes=self._poller.disk_free_bytes,
            disk_size_bytes=self._poller.disk_size_bytes,
            is_practice_allowed=is_within(settings.practise.windows, now),
            backup_age_s=backup_age_s(snapshot, started_at=self._service.started_at, now=now),
            job_failures={kind: count for kind, (count, _) in self._dispatcher.failures.counts().items()},
            job_periods_s=job_periods_s(settings, now=now),
            limits_bytes=limits_bytes(settings),
            limits_seconds=limits_seconds(settings),
            processes=self._resources.processes,
            devices=self._resources.devices,
        )

    async def _serve(self, server: HttpServer) -> None:
        """Run all tasks until the request to stop, then end them in order."""
        serving = asyncio.create_task(server.serve(), name="http")
        supervising = asyncio.create_task(self._supervisor.run(), name="supervisor")
        lanes = [asyncio.create_task(self._dispatcher.lane(lane), name=f"lane-{lane}") for lane in Lane]
        background = [
            asyncio.create_task(loop, name=name)
            for name, loop in (
                ("watch", self._dispatcher.watch()),
                ("poll", self._poller.poll(is_over=self._guard.is_lost)),
                ("family-files", self._family_folders.watch()),
                ("folder-watch", self._guard.watch()),
                ("report", self._report.report()),
                ("summary", self._report.log_learning()),
                ("watchdog", self._watchdog.run()),
                ("live", self._web.watch()),
                ("resources", self._resources.watch()),
            )
        ]
        try:
            await self._become_ready(server, serving)
            await until_stop(self._stop, [serving, supervising, *lanes, *background])
        finally:
            await self._shut_down(server, supervising=supervising, lanes=lanes, background=background)
            await serving

    async def _become_ready(self, server: HttpServer, serving: asyncio.Task[None]) -> None:
        while not server.is_serving and not serving.done() and not self._stop.is_set():
            await asyncio.sleep(0.01)
        if self._stop.is_set():
            return
        self._service.state = "running"
        self._notifier.ready()
        self._note_change()
        started_in_s = round(self._clock.wall() - self._service.started_at, 3)
        log.info("ready", url=f"http://{self._service.address}/", pid=os.getpid(), started_in_s=started_in_s)

    async def _shut_down(
        self,
        server: HttpServer,
        *,
        supervising: asyncio.Task[None],
        lanes: Sequence[asyncio.Task[None]],
        background: Sequence[asyncio.Task[None]],
    ) -> None:
        self._service.state = "stopping"
        self._notifier.stopping()
        self._dispatcher.stop()
        self._report.note_change()
        # If the folder is lost, the trainer is killed at once: it would commit to whatever replaced the folder.
        await self._supervisor.stop(within_s=TRAINER_GRACE_S if self._guard.loss is None else 0.0)
        await asyncio.wait([supervising, *lanes], timeout=RECORDING_GRACE_S)
        for task in (supervising, *lanes, *background):
            task.cancel()
        await asyncio.gather(supervising, *lanes, *background, return_exceptions=True)
        self._service.state = "stopped"
        if self._guard.loss is None:
            with contextlib.suppress(MemoryStoreError, TimeoutError):
                async with asyncio.timeout(CLOSING_GRACE_S):
                    await self._report.write_status()
        else:
            await self._guard.save_removed_log(self._writer)
        self._web.close()
        server.stop()
        log.info("stopped")

    async def _count_restart(self, trainer_exit: TrainerExit) -> None:
        try:
            await self._writer.call(lambda store: store.counters.add(LEARNER_RESTARTS, {"reason": trainer_exit.reason}))
        except MemoryStoreError as error:
            log.exception("restart of the trainer could not be counted", error=str(error))

    def _note_change(self) -> None:
        self._report.note_change()
        self._dispatcher.wake()
