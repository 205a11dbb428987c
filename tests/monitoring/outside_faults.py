"""The faults of the table in docs/operating.md, made in a store and in parts of the daemon, without processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent.clock import SystemClock
from agent.config.settings import LearnerSettings
from agent.daemon.health import HealthInputs, Problem, problems
from agent.daemon.metrics.live_samples import backup_age_s
from agent.daemon.metrics.snapshot_samples import LEARNER_RESTARTS
from agent.daemon.processes.child_process import signal_text
from agent.daemon.processes.supervisor import Supervisor
from agent.daemon.processes.trainer_exit import RestartReason, TrainerExit
from agent.daemon.status_report import verify_error
from agent.daemon.store.snapshot import Snapshot, read_snapshot
from agent.trainer.checkpoint_damage import note_fallback, record_checkpoint_loss
from memory.errors import CorruptFileError
from memory.records import FamilyState, JobKind, JobOutcome
from memory.store import Store
from memory.upkeep.verifying import verify_backups
from tests.agent.daemon.exposition import metrics_text
from tests.scrape import Samples, samples_of

DAY_S = 86400.0
FULL_DISK_BYTES = 24 << 20
NUM_EXITS = LearnerSettings().crash_loop_restarts


@dataclass(kw_only=True)
class Beside:
    """The state of the daemon that is not in the store.

    Attributes:
        crash_loop: the supervisor's description of a crash loop.
        disk_free_bytes: free space of the data folder's disk.
        now: wall clock.
        learns: whether learning goes on.
    """

    learns: bool = True
    crash_loop: str | None = None
    disk_free_bytes: int = 2**33
    now: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The view of a service from outside.

    Attributes:
        problems: the reasons for red health.
        samples: the samples of a scrape.
        learns: whether learning goes on.
    """

    learns: bool

    problems: list[Problem]
    samples: Samples


def seen(store: Store, beside: Beside) -> Seen:
    """Return what is seen of a daemon with this store."""
    snapshot = read_snapshot(store, None)
    found = _problems(snapshot, beside)
    text = metrics_text(
        snapshot,
        red={problem.reason for problem in found},
        disk_free_bytes=beside.disk_free_bytes,
        backup_age_s=backup_age_s(snapshot, started_at=beside.now, now=beside.now),
    )
    return Seen(problems=found, samples=samples_of(text), learns=beside.learns)


def _problems(snapshot: Snapshot, beside: Beside) -> list[Problem]:
    return problems(
        HealthInputs(
            crash_loop=beside.crash_loop,
            snapshot_age_s=0.0,
            read_error="",
            write_error="",
            disk_free_bytes=beside.disk_free_bytes,
            failures={},
            damage=snapshot.damage,
            backup_problem=verify_error(snapshot),
        )
    )


class _StoppedClock(SystemClock):
    """A clock whose monotonic time passes only when a test says so."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def monotonic(self) -> float:
        return self.passed_s


def _exits(store: Store, reason: RestartReason, found: str, *, each_s: float) -> str | None:
    """Let a supervisor handle exits of the trainer; return its description of the crash loop."""
    settings = LearnerSettings().model_copy(update={"restart_first_s": 0.0, "restart_max_s": 0.0})
    clock = _StoppedClock()

    async def count(trainer_exit: TrainerExit) -> None:
        store.counters.add(LEARNER_RESTARTS, {"reason": trainer_exit.reason})

    async def nothing() -> None:
        pass

    async def exits() -> str | None:
        supervisor = Supervisor(
            [], environment={}, settings=settings, clock=clock, on_exit=count, on_change=lambda: None,
            before_start=nothing,
        )  # fmt: skip
        for _ in range(NUM_EXITS):
            clock.passed_s += each_s
            await supervisor._handle_exit(TrainerExit(reason=reason, found=found, last_line=""))
        return supervisor.crash_loop()

    return asyncio.run(exits())


def trainer_hangs(store: Store, beside: Beside) -> None:
    found = "no progress for 2m (last phase: rollout)"
    beside.learns = False
    beside.crash_loop = _exits(store, RestartReason.HUNG, found, each_s=LearnerSettings().stall_timeout_s)


def trainer_exits(store: Store, beside: Beside) -> None:
    beside.learns = False
    beside.crash_loop = _exits(store, RestartReason.KILLED, signal_text(-9), each_s=1.0)


def environment_crashes(store: Store, beside: Beside) -> None:
    for _ in range(5):
        store.families.record_strike("cartpole", reason="exited", detail="signal 11 (SIGSEGV)")
    until = beside.now + 3600.0
    store.families.set_state("cartpole", FamilyState.QUARANTINED, reason="5 strikes in a row", quarantined_until=until)


def disk_is_full(_store: Store, beside: Beside) -> None:
    beside.disk_free_bytes = FULL_DISK_BYTES


def checkpoint_is_damaged(store: Store, _beside: Beside) -> None:
    note_fallback(store, restored=480, committed=500)


def every_checkpoint_is_damaged(store: Store, beside: Beside) -> None:
    beside.learns = False
    record_checkpoint_loss(store, committed=500)
    found = "it exited with status 1 before it was ready"
    beside.crash_loop = _exits(store, RestartReason.START_FAILED, found, each_s=5.0)


def backup_is_damaged(store: Store, _beside: Beside) -> None:
    backup = store.back_up(keep=3).path
    (backup / "learnd.db").write_bytes(b"damaged" * 1000)
    run = store.jobs.start(JobKind.VERIFY, reason="due")
    try:
        verify_backups(store.folder)
    except CorruptFileError as error:
        text = f"{type(error).__name__}: {error}"
        store.jobs.finish(run, JobOutcome.FAILED, detail={"damaged": [backup.name]}, error=text)


def backup_misses_due_times(store: Store, beside: Beside) -> None:
    beside.now += 4 * DAY_S
    for _ in range(4):
        store.jobs.record_outcome(JobKind.BACKUP, JobOutcome.MISSED, reason="the daemon was down")


FAULTS: dict[str, Callable[[Store, Beside], Any]] = {
    "the trainer hangs in every job": trainer_hangs,
    "the trainer exits again and again": trainer_exits,
    "an environment crashes in every trial": environment_crashes,
    "the disk is full": disk_is_full,
    "the live checkpoint is damaged, and no backup has its file": checkpoint_is_damaged,
    "every checkpoint is damaged": every_checkpoint_is_damaged,
    "a backup is damaged after it was made": backup_is_damaged,
    "the backup misses its due times": backup_misses_due_times,
}
"""The function that makes each fault of the table."""
