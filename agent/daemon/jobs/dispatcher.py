"""The dispatcher, which runs jobs one at a time in each lane: trainer, thread of the daemon, process for references.

The store has a row for every run. It is written before the run starts and when it ends, with reason, outcome and error;
the row of a run that only found that a play in the background goes on is deleted.
Runs that a killed daemon left open are recorded as interrupted at the next start. A request stays open until its run
has ended.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog

from agent.clock import Clock
from agent.config.settings import Settings
from agent.config.time_shares import NEW_FAMILIES_AHEAD_S, time_shares
from agent.config.triggers import is_within
from agent.daemon.jobs.daemon_jobs import run_daemon_job
from agent.daemon.jobs.failures import Failures
from agent.daemon.jobs.family_failures import FamilyFailures
from agent.daemon.jobs.open_requests import OpenRequests
from agent.daemon.jobs.run_counters import run_counters
from agent.daemon.jobs.runs import Lane, Running, RunResult, lane_of
from agent.daemon.jobs.store_updates import (
    finite,
    is_any_evaluated,
    missed_recorder,
    overrun_recorder,
    schedule_writer,
    settle_consolidation_counters,
)
from agent.daemon.processes.supervisor import Supervisor, TrainerState
from agent.daemon.processes.trainer_exit import TrainerExitedError
from agent.daemon.references.lane import ReferenceLane
from agent.daemon.scheduling.family_choice import NEVER_PRACTISED, Choice
from agent.daemon.scheduling.next_job import Work, next_work
from agent.daemon.scheduling.practice_choice import PracticeChoice
from agent.daemon.scheduling.schedule import Entry, Schedule, triggers_of
from agent.daemon.scheduling.time_budgets import TimeBudgets
from agent.daemon.scheduling.timers import Timers
from agent.daemon.stopping import StoppingError
from agent.daemon.store.retrying_writer import RETRY_S, RetryingWriter
from agent.daemon.store.snapshot import Snapshot
from agent.daemon.store.thread import StoreThread, in_daemon_thread
from agent.messages import DUE, Finished, Job
from memory.errors import DamagedBackupsError, MemoryStoreError
from memory.folder import DataFolder
from memory.records import Family, FamilyState, JobKind, JobOutcome
from memory.store import Store

log = structlog.get_logger(__name__)


class Dispatcher:
    """A dispatcher that chooses jobs and runs them.

    Args:
        settings: triggers, windows and limits.
        folder: the data folder, for jobs that open their own store.
        writer: the store that records runs.
        supervisor: the supervisor of the trainer.
        clock: wall time for due times, monotonic time for waiting.
        snapshot: returns the newest snapshot.
        on_change: called whenever a job starts or ends.
        before_job: called before each job; it raises if no job may start.
        reference_command: command line of the process that measures references; None for the default.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        folder: DataFolder,
        writer: StoreThread,
        supervisor: Supervisor,
        clock: Clock,
        snapshot: Callable[[], Snapshot | None],
        on_change: Callable[[], None],
        before_job: Callable[[], None] = lambda: None,
        reference_command: Sequence[str] | None = None,
    ) -> None:
        self._settings = self._newest_settings = settings
        self._folder = folder
        self._supervisor = supervisor
        self._clock = clock
        self._snapshot = snapshot
        self._on_change = on_change
        self._before_job = before_job
        self._schedule = Schedule(triggers_of(settings))
        self._timers = Timers(wake=self.wake, clock=clock)
        self._references = ReferenceLane(settings, folder=folder, writer=writer, clock=clock, command=reference_command)
        self._wakes = {lane: asyncio.Event() for lane in Lane}
        self._practice = PracticeChoice()
        self._budgets = TimeBudgets(time_shares(settings), ahead_s={JobKind.ADMIT: NEW_FAMILIES_AHEAD_S})
        self._is_practice_owed = False
        self._stopping = False
        self._store = RetryingWriter(writer, is_stopping=lambda: self._stopping, on_full=self.use_ballast)
        self._requests = OpenRequests(self._store)
        self._family_failures = FamilyFailures(settings.workers, self._store, clock)
        self.failures = Failures()
        self.running: dict[Lane, Running] = {}
        self._look_error = ""
        self.last_look_at = clock.monotonic()

    async def restore(self) -> None:
        """Restore the state of the last daemon: open runs, due times and waiting times."""
        now = self._clock.wall()
        interrupted = await self._store.call(lambda store: store.jobs.interrupt_running())
        if interrupted:
            log.warning("runs that the last daemon left open are recorded as interrupted", count=interrupted)
        await self._store.call(settle_consolidation_counters)
        await self._restore_schedule(now)
        last = await self._store.call(lambda store: store.jobs.last_practised())
        monotonic = self._clock.monotonic()
        self._practice.restore({name: monotonic - max(0.0, now - at) for name, at in last.items()})

    async def _restore_schedule(self, now: float) -> None:
        stored = await self._store.call(lambda store: store.jobs.schedule())
        missed = self._schedule.restore(stored, now=now, at_once=[JobKind.EVALUATE])
        if not await self._store.call(is_any_evaluated):
            self._schedule.bring_forward(JobKind.EVALUATE, now)
        known = {row.kind for row in stored}
        await self._store_entries(
            e for e in self._schedule.entries() if e.kind in known or not math.isinf(e.next_due_at)
        )
        for kind, count in missed.items():
            await self._count_missed(kind, count, f"due times that passed while the daemon was down: {count}")
        self._timers.start()
        self._timers.arm(self._schedule.entries())

    def use(self, settings: Settings) -> None:
        """Take over settings within a second."""
        self._newest_settings = settings

    async def _take_settings(self) -> None:
        settings = self._settings = self._newest_settings
        self._references.use(settings)
        self._budgets.use(time_shares(settings))
        self._family_failures.use(settings.workers)
        await self._store_entries(self._schedule.use(triggers_of(settings), now=self._clock.wall()))

    def wake(self) -> None:
        """Make both lanes choose their next job again."""
        for event in self._wakes.values():
            event.set()

    async def watch(self) -> None:
        """About once a second, read requests, correct the schedule and end quarantines, until cancelled."""
        while True:
            try:
                await self._look()
                self.last_look_at = self._clock.monotonic()
                self._look_error = ""
            except MemoryStoreError as error:
                self._store.note(error)
            except Exception as error:
                # A row that cannot be read must not end the service. While the error lasts, ``last_look_at`` does not
                # change, so the watchdog is not notified.
                if repr(error) != self._look_error:
                    log.exception("requests and due times cannot be checked; retrying")
                self._look_error = repr(error)
            await asyncio.sleep(RETRY_S)

    async def _look(self) -> None:
        now = self._clock.wall()
        await self._requests.take()
        if self._newest_settings is not self._settings:
            await self._take_settings()
        corrected = self._schedule.correct(now)
        if corrected:
            log.warning(
                "clock was set back; due times that lie too far ahead are corrected",
                jobs=[str(e.kind) for e in corrected],
            )
            await self._store_entries(corrected)
        for entry in self._schedule.overran(now):
            log.warning("job overran: it is due again while it runs", job=str(entry.kind))
            await self._store.call(overrun_recorder(entry))
        await self._family_failures.review(now)
        self._timers.arm(self._schedule.entries())
        self.wake()

    async def lane(self, lane: Lane) -> None:
        """Run the jobs of a lane, one after another, until :meth:`stop`."""
        while not self._stopping:
            self._wakes[lane].clear()
            try:
                work = await self._next(lane)
                if work is None:
                    await self._wakes[lane].wait()
                else:
                    await self._run(lane, work)
            except StoppingError:
                return
            except MemoryStoreError as error:
                self._store.note(error)
                await asyncio.sleep(RETRY_S)
            except Exception:
                log.exception("unexpected error in a lane; it continues", lane=str(lane))
                await asyncio.sleep(RETRY_S)

    def stop(self) -> None:
        """Start no further jobs."""
        self._stopping = True
        self._references.stop()
        self._timers.stop()
        self.wake()

    async def _next(self, lane: Lane) -> Work | None:
        now = self._clock.wall()
        requested = [work for work in self._requests.work if lane_of(work.kind) is lane]
        due = [kind for kind in self._schedule.due(now) if lane_of(kind) is lane]
        if lane is Lane.REFERENCE:
            return await self._references.next_work(requested)
        if lane is Lane.DAEMON:
            return next_work(requested=requested, pending=[], due=due, choose=lambda: None)
        if self._supervisor.state is not TrainerState.IDLE:
            return None
        families = await self._store.call(lambda store: store.families.all())
        monotonic = self._clock.monotonic()
        pending = [
            family.name
            for family in families
            if family.state is FamilyState.PENDING and self._family_failures.allows(JobKind.ADMIT, family.name)
        ]
        is_turn_of_new = bool(self._budgets.within([JobKind.ADMIT], now=monotonic))
        may_practise = is_within(self._settings.practise.windows, now)
        work = next_work(
            requested=requested,
            pending=pending if is_turn_of_new else [],
            due=self._budgets.within(due, now=monotonic),
            choose=lambda: self._choose(families, monotonic, is_turn_of_new=is_turn_of_new) if may_practise else None,
            is_practice_owed=self._is_practice_owed,
        )
        return work or next_work(requested=[], pending=pending, due=due, choose=lambda: None)

    def _choose(self, families: Iterable[Family], monotonic: float, *, is_turn_of_new: bool) -> Choice | None:
        snapshot = self._snapshot()
        return self._practice.choose(
            families,
            returns=snapshot.returns if snapshot else {},
            may_start=lambda name: self._family_failures.allows(JobKind.PRACTISE, name),
            now=monotonic,
            is_turn_of_new=is_turn_of_new,
        )

    async def _run(self, lane: Lane, work: Work) -> None:
        if lane is not Lane.TRAINER:
            await self._run_recorded(lane, work)
        elif self._supervisor.claim():
            try:
                await self._run_recorded(lane, work)
            finally:
                self._supervisor.release()

    async def _run_recorded(self, lane: Lane, work: Work) -> None:
        self._before_job()
        now = self._clock.wall()
        is_scheduled = work.kind in triggers_of(self._settings)
        num_missed = self._schedule.start(work.kind, now) if is_scheduled else 0
        due = self._schedule.entry(work.kind).next_due_at if is_scheduled else None
        try:
            run_id = await self._store.write(
                lambda store: store.jobs.start(
                    work.kind, family=work.family, reason=work.reason, next_due_at=finite(due)
                )
            )
            if num_missed:
                await self._count_missed(
                    work.kind, num_missed, f"due times that passed before it could start: {num_missed}"
                )
            self.running[lane] = Running(work=work, run_id=run_id, started_at=now)
            self._on_change()
            began = self._clock.monotonic()
            result = await self._result_of(lane, work, run_id)
            took_s = self._clock.monotonic() - began
            await self._record_end(work, result, run_id, took_s=took_s)
            await self._conclude(work, result, took_s=took_s)
        finally:
            self.running.pop(lane, None)
            moved = self._schedule.finish(work.kind, self._clock.wall())
            self._on_change()
        if moved is not None:
            await self._store_entries([moved])
        self._timers.arm(self._schedule.entries())

    async def _record_end(self, work: Work, result: RunResult, run_id: int, *, took_s: float) -> None:
        """Record how a run ended; a poll of a play that goes on leaves no row, unless a user requested it."""
        amounts = tuple(run_counters(work, result, took_s=took_s))
        if result.is_empty_poll and work.request_id is None:
            await self._store.write(lambda store: store.jobs.withdraw(run_id, amounts=amounts))
        else:
            await self._store.write(
                lambda store: store.jobs.finish(
                    run_id, result.outcome, detail=result.detail, error=result.error, amounts=amounts
                )
            )

    async def _result_of(self, lane: Lane, work: Work, run_id: int) -> RunResult:
        if lane is Lane.DAEMON:
            return await self._run_here(work)
        if lane is Lane.REFERENCE:
            return RunResult.of(await self._references.run(work.family or "", run_id, self._store.write))
        job = Job(run_id=run_id, kind=work.kind, family=work.family, reason=work.reason)
        try:
            finished: Finished = await self._supervisor.do(job)
        except TrainerExitedError as error:
            return RunResult(
                outcome=JobOutcome.INTERRUPTED, error=str(error.trainer_exit), is_trainer_exit=not self._stopping
            )
        return RunResult.of(finished)

    async def _run_here(self, work: Work) -> RunResult:
        def raise_if_stopping() -> None:
            if self._stopping:
                raise StoppingError

        def run() -> dict[str, Any]:
            self._before_job()
            with Store.open(self._folder, must_exist=True, clock=self._clock.wall) as store:
                return run_daemon_job(work.kind, store, self._settings.memory, progress=raise_if_stopping)

        try:
            return RunResult(outcome=JobOutcome.SUCCEEDED, detail=await in_daemon_thread(str(work.kind), run))
        except StoppingError:
            return RunResult(outcome=JobOutcome.INTERRUPTED, error="the daemon stopped")
        except Exception as error:
            log.exception("job failed", job=str(work.kind))
            detail = {"damaged": list(error.backups)} if isinstance(error, DamagedBackupsError) else {}
            return RunResult(outcome=JobOutcome.FAILED, detail=detail, error=f"{type(error).__name__}: {error}")

    async def _conclude(self, work: Work, result: RunResult, *, took_s: float) -> None:
        """Update failures, counters, the family and the request after a run was recorded as ended."""
        self.failures.note(work.kind, result)
        budget = JobKind.ADMIT if work.reason == NEVER_PRACTISED else work.kind
        self._budgets.note(budget, took_s, now=self._clock.monotonic())
        if lane_of(work.kind) is Lane.TRAINER:
            self._is_practice_owed = work.reason == DUE
        self._log_result(work, result)
        if work.family is not None and lane_of(work.kind) is Lane.TRAINER:
            if work.kind is JobKind.PRACTISE:
                self._practice.note(
                    work.family, took_s=took_s, is_under_way=result.is_under_way, now=self._clock.monotonic()
                )
            await self._family_failures.note(work, work.family, result, is_stopping=self._stopping)
        self._practice.note_results(result.with_results)
        await self._requests.answer(work, result, is_stopping=self._stopping)

    def _log_result(self, work: Work, result: RunResult) -> None:
        facts = {"job": str(work.kind), "outcome": str(result.outcome), "reason": work.reason}
        if work.family:
            facts["family"] = work.family
        if result.error:
            log.warning("job ended", error=result.error, **facts)
        elif work.kind is JobKind.PRACTISE:
            log.debug("job ended", **facts)
        else:
            log.info("job ended", **facts)

    async def _count_missed(self, kind: JobKind, count: int, reason: str) -> None:
        log.warning("due times were missed; the job runs once", job=str(kind), missed=count, reason=reason)
        await self._store.write(missed_recorder(kind, count, reason))

    async def _store_entries(self, entries: Iterable[Entry]) -> None:
        await self._store.write(schedule_writer(entries))

    @property
    def write_error(self) -> str:
        """The error of the last write; empty if it succeeded."""
        return self._store.error

    def use_ballast(self) -> None:
        """Free the ballast, if there is one, and prune at once; called on a full disk."""
        if self._folder.release_ballast():
            log.warning("disk is full: the ballast was removed to make space for prune")
            self.prune_soon()

    def prune_soon(self) -> None:
        """Make prune due now, unless it is off."""
        self._schedule.bring_forward(JobKind.PRUNE, self._clock.wall())
        self.wake()
