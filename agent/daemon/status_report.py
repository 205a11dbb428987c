"""Reports of the daemon's present state: status row, one-line summary, reasons for red health, and log lines."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from agent.clock import Clock
from agent.config.local_time import zone_name
from agent.daemon.family_folders import FamilyFolders
from agent.daemon.health import HealthInputs, Problem, problems
from agent.daemon.health_log import HealthLog
from agent.daemon.jobs.dispatcher import Dispatcher
from agent.daemon.processes.supervisor import Supervisor, TrainerState
from agent.daemon.reloading import SettingsReload
from agent.daemon.scheduling.next_job import Work
from agent.daemon.store.folder_guard import FolderGuard
from agent.daemon.store.poller import StorePoller
from agent.daemon.store.snapshot import Snapshot
from agent.daemon.store.thread import StoreThread
from agent.daemon.systemd import Notifier
from agent.running_version import running_version
from memory.errors import MemoryStoreError, StoreFullError
from memory.records import CurveMetric, FamilyState, JobKind, JobOutcome

log = structlog.get_logger(__name__)

STATUS_PERIOD_S = 10.0
SUMMARY_PERIOD_S = 60.0


@dataclass(kw_only=True)
class ServiceState:
    """The state of the service.

    Attributes:
        started_at: start of the daemon, in seconds since the epoch.
        state: "starting", "running", "stopping" or "stopped".
        address: the listen address as HOST:PORT; empty before it is open.
    """

    started_at: float
    state: str = "starting"
    address: str = ""


def state_of_learning(num_active: int, version: int) -> str:
    """Return in words how many families are active and which version is served; version 0 means none yet."""
    families = "1 active family" if num_active == 1 else f"{num_active} active families"
    return f"{families}; policy version {version}" if version else f"{families}; no policy published yet"


def state_of_work(work: Work) -> str:
    """Return in words which job runs, and why."""
    family = "" if work.family is None else f" {work.family}"
    return f"{work.kind}{family} ({work.reason})"


class StatusReport:
    """A reporter of the daemon's present state to the store, the service manager, the pages and the log.

    Args:
        service: the state of the service.
        clock: the clock of the status row.
        writer: the store to write the status row to.
        notifier: the service manager.
        supervisor, dispatcher, poller, guard, family_folders, reload: the parts whose state is reported.
    """

    def __init__(
        self,
        service: ServiceState,
        *,
        clock: Clock,
        writer: StoreThread,
        notifier: Notifier,
        supervisor: Supervisor,
        dispatcher: Dispatcher,
        poller: StorePoller,
        guard: FolderGuard,
        family_folders: FamilyFolders,
        reload: SettingsReload,
    ) -> None:
        self._service = service
        self._clock = clock
        self._writer = writer
        self._notifier = notifier
        self._supervisor = supervisor
        self._dispatcher = dispatcher
        self._poller = poller
        self._guard = guard
        self._family_folders = family_folders
        self._reload = reload
        self._health_log = HealthLog()
        self._changed = asyncio.Event()

    def note_change(self) -> None:
        """Make :meth:`report` write the status row soon."""
        self._changed.set()

    def problems(self) -> list[Problem]:
        """Return the reasons for red health; an empty list means good health."""
        snapshot = self._poller.snapshot
        return problems(
            HealthInputs(
                crash_loop=self._supervisor.crash_loop(),
                snapshot_age_s=self._poller.age_s,
                read_error=self._poller.read_error,
                write_error=str(self._guard.loss or self._dispatcher.write_error),
                disk_free_bytes=self._poller.disk_free_bytes,
                failures=self._dispatcher.failures.counts(),
                damage=snapshot.damage if snapshot else (),
                backup_problem=verify_error(snapshot),
                settings_problem=self._reload.problem,
            )
        )

    def summary(self) -> str:
        """Return the current activity of the service in one line for users."""
        running = [r.work for r in self._dispatcher.running.values()]
        if running:
            now = "; ".join(map(state_of_work, running))
        elif self._supervisor.state in {TrainerState.STARTING, TrainerState.BACKING_OFF}:
            now = f"trainer {self._supervisor.state}"
        else:
            now = "idle"
        snapshot = self._poller.snapshot
        if snapshot is None:
            return now
        num_active = sum(family.state is FamilyState.ACTIVE for family in snapshot.families)
        return f"{now}; {state_of_learning(num_active, snapshot.policy_version)}"

    async def report(self) -> None:
        """Write the status row after each change, at most twice a second, and at least every ``STATUS_PERIOD_S``."""
        while True:
            # wait_for is not used: before Python 3.12 it loses a cancellation that arrives when the event is set.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATUS_PERIOD_S):
                    await self._changed.wait()
            self._changed.clear()
            self._notifier.status(self.summary())
            self._health_log.note(self.problems())
            try:
                await self.write_status()
            except MemoryStoreError as error:
                log.warning("status could not be written", error=str(error))
                if isinstance(error, StoreFullError):
                    self._dispatcher.use_ballast()
            except Exception:  # an error in building the status row must not end the service
                log.exception("status could not be written")
            await asyncio.sleep(0.5)

    async def write_status(self) -> None:
        """Write the status row."""
        status = self.status()
        await self._writer.call(lambda store: store.daemon_status.set(status))

    def status(self) -> dict[str, Any]:
        """Return the status row, which ``learnd status`` shows while the daemon runs."""
        trainer, snapshot = self._supervisor, self._poller.snapshot
        return {
            "state": self._service.state,
            "pid": os.getpid(),
            "version": running_version(),
            "started_at": self._service.started_at,
            "at": self._clock.wall(),
            "time_zone": zone_name(),
            "listen": self._service.address,
            "device": trainer.ready.device if trainer.ready else None,
            "policy_version": snapshot.policy_version if snapshot else None,
            "learner": {
                "state": trainer.state,
                "pid": trainer.pid,
                "phase": trainer.progress.phase if trainer.progress else None,
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
            "needs_restart": list(self._reload.needs_restart),
            "family_files": [dataclasses.asdict(problem) for problem in self._family_folders.problems],
        }

    async def log_learning(self) -> None:
        """Log the progress of learning once a minute. Single slices of practice are logged at level debug only."""
        while True:
            await asyncio.sleep(SUMMARY_PERIOD_S)
            snapshot = self._poller.snapshot
            if snapshot is not None:
                log.info(
                    "learning",
                    env_steps=sum(family.totals.env_steps for family in snapshot.families),
                    meta_updates=sum(family.totals.meta_updates for family in snapshot.families),
                    scores=_rounded(snapshot.newest(CurveMetric.EVAL_SCORE)),
                    returns=_rounded(snapshot.newest(CurveMetric.EVAL_RETURN)),
                    policy_version=snapshot.policy_version,
                    reasons=[str(problem) for problem in self.problems()],
                )


def verify_error(snapshot: Snapshot | None) -> str:
    """Return the error of the newest check of the backups that was not broken off; empty if it found them intact."""
    summary = None if snapshot is None else snapshot.jobs.get(JobKind.VERIFY)
    run = None if summary is None else summary.last_verdict
    return run.error if run is not None and run.outcome is JobOutcome.FAILED else ""


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Return values rounded for a line of the log."""
    return {name: round(value, 3) for name, value in values.items()}
