"""The lane of measured references: which family is measured next, and what is recorded of a measurement.

A measurement that is interrupted (the daemon stops or is killed, the family is paused) goes on later from the
checkpoint that the measuring process keeps in the data folder. One that fails begins again from its start, and waits
before the next attempt: a minute, doubled with each further failure, up to six hours. The runs in the store and the
checkpoints are the only state, so nothing else is lost when the daemon is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import structlog

from agent.clock import Clock
from agent.config.settings import Settings
from agent.config.triggers import is_within
from agent.daemon.processes.trainer_command import process_command_of, trainer_environment
from agent.daemon.references.checkpoints import MeasurementCheckpoints
from agent.daemon.references.process import ReferenceProcess
from agent.daemon.scheduling.next_job import Work
from agent.daemon.store.thread import StoreThread
from agent.messages import Finished, Progress
from agent.reference_requests import ReferenceRequest, is_to_be_measured, is_waiting, obstacle, reference_of
from envs.reference import MeasuredReference
from memory.errors import FamilyNotFoundError, MemoryStoreError, ReferenceExistsError
from memory.folder import DataFolder
from memory.records import Family, JobKind, JobOutcome
from memory.store import Store

log = structlog.get_logger(__name__)

T = TypeVar("T")

REPORT_PERIOD_S = 2.0
"""Time between two writes of the progress to the store."""

SEARCH_PERIOD_S = 1.0
"""Time between two searches for a family that is due. Every run of another job asks for one several times, and a
search reads all families."""


class Write(Protocol):
    """A writer to the store that retries as long as the store cannot be written."""

    async def __call__(self, function: Callable[[Store], T]) -> T:
        """Run ``function(store)`` and return its result."""
        ...


class ReferenceLane:
    """A chooser and runner of measurements, one at a time.

    Args:
        settings: windows of practice, steps of a measurement, and what the process needs.
        folder: the data folder, which has the checkpoints.
        writer: the store.
        clock: wall time for attempts, monotonic time for waiting.
        command: the command line of the measuring process; None for ``python -m agent.reference``.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        folder: DataFolder,
        writer: StoreThread,
        clock: Clock,
        command: Sequence[str] | None = None,
    ) -> None:
        self._settings = settings
        self._checkpoints = MeasurementCheckpoints(folder.measurements_path)
        self._writer = writer
        self._clock = clock
        self._own_command = command
        self._reported_at = 0.0
        self._found_none_at = -SEARCH_PERIOD_S
        self._process: ReferenceProcess | None = None

    def use(self, settings: Settings) -> None:
        """Take over settings; a running measurement keeps those that it began with."""
        self._settings = settings

    def stop(self) -> None:
        """End the running measurement at once."""
        if self._process is not None:
            self._process.abandon("the daemon stopped")

    async def next_work(self, requested: Sequence[Work]) -> Work | None:
        """Return the next measurement: a request, else the first family that is due; None if there is none.

        After a search that found none, there is none for ``SEARCH_PERIOD_S``.
        """
        if requested:
            return requested[0]
        now, monotonic = self._clock.wall(), self._clock.monotonic()
        if not is_within(self._settings.practise.windows, now) or monotonic - self._found_none_at < SEARCH_PERIOD_S:
            return None
        name = await self._writer.call(lambda store: _due_family(store, now))
        if name is None:
            self._found_none_at = monotonic
            return None
        return Work(kind=JobKind.REFERENCE, family=name, reason="no reference is known")

    async def run(self, name: str, run_id: int, write: Write) -> Finished:
        """Measure a family's reference and record it; return the result.

        Args:
            name: the family.
            run_id: id of the run's row in the store.
            write: runs a function with the store, and retries as long as the store cannot be written.
        """
        try:
            family = await self._writer.call(lambda store: store.families.get(name))
            if reason := obstacle(family):
                return _ended(run_id, JobOutcome.SKIPPED, reason=reason)
            finished = await self._measured(family, run_id)
            if finished.outcome is JobOutcome.SUCCEEDED:
                finished = await self._recorded(family, finished, write)
            if finished.outcome is not JobOutcome.INTERRUPTED:
                self._checkpoints.remove(family)
        except (FamilyNotFoundError, ReferenceExistsError) as error:
            return _ended(run_id, JobOutcome.SKIPPED, reason=str(error))
        except MemoryStoreError as error:
            log.warning("reference could not be recorded", family=name, error=str(error))
            return _ended(run_id, JobOutcome.FAILED, error=str(error))
        except Exception as error:
            log.exception("measurement of a reference failed", family=name)
            return _ended(run_id, JobOutcome.FAILED, error=f"{type(error).__name__}: {error}")
        return finished

    async def _measured(self, family: Family, run_id: int) -> Finished:
        """Run the measuring process to its end."""
        checkpoint = await self._writer.call(lambda store: self._checkpoints.prepare(family, store.families.all()))
        request = ReferenceRequest(
            run_id=run_id,
            spec=family.require_spec().to_json(),
            spaces=family.spaces or {},
            steps=family.require_spec().reference_steps or self._settings.reference.steps,
            checkpoint=str(checkpoint),
        )
        environment = trainer_environment(self._settings)
        nice = str(self._settings.reference.nice)
        command = self._own_command or [*process_command_of("agent.reference"), "--nice", nice]
        self._process = ReferenceProcess(command, environment=environment, clock=self._clock)
        self._reported_at = -REPORT_PERIOD_S
        try:
            return await self._process.measure(request, check=lambda progress: self._check(family, request, progress))
        finally:
            self._process = None

    async def _check(self, family: Family, request: ReferenceRequest, progress: Progress | None) -> str:
        """Write the progress; return why the measurement must end, if the family is no longer to be measured."""
        now = self._clock.monotonic()
        if now - self._reported_at < REPORT_PERIOD_S:
            return ""
        self._reported_at = now
        detail = progress_detail(progress, steps=request.steps)
        try:
            present = await self._writer.call(lambda store: _report(store, request.run_id, detail, family.name))
        except FamilyNotFoundError:
            return "the family was removed"
        except MemoryStoreError as error:
            log.warning("progress of a measurement could not be written", family=family.name, error=str(error))
            return ""
        return obstacle(present) if present.id == family.id else "the family was removed"

    async def _recorded(self, family: Family, finished: Finished, write: Write) -> Finished:
        """Record the reference with its provenance; return the result with the reference."""
        measured = MeasuredReference.from_json(finished.detail["measured"])
        reference = reference_of(measured, random_return=family.random_return or 0.0)
        spec = replace(family.require_spec(), measured_reference=measured)
        if reference is not None:
            spec = replace(spec, reference_source=measured.source)
        await write(lambda store: store.references.record(family, reference, spec=spec))
        log.info("reference measured", family=family.name, reference=reference, source=measured.source)
        return replace(finished, detail={**finished.detail, "reference_return": reference})


def progress_detail(progress: Progress | None, *, steps: int) -> dict[str, Any]:
    """Return the JSON values of a running measurement's progress."""
    done = 0 if progress is None else min(progress.units, steps)
    return {"phase": "starting" if progress is None else progress.phase, "steps_done": done, "steps": steps}


def _due_family(store: Store, now: float) -> str | None:
    failures = store.references.failures()
    for family in store.families.all():
        if not is_to_be_measured(family) or obstacle(family):
            continue
        if family.name not in failures or not is_waiting(failures[family.name], now):
            return family.name
    return None


def _report(store: Store, run_id: int, detail: dict[str, Any], name: str) -> Family:
    store.jobs.report(run_id, detail)
    return store.families.get(name)


def _ended(run_id: int, outcome: JobOutcome, *, reason: str = "", error: str = "") -> Finished:
    return Finished(run_id=run_id, outcome=outcome, detail={"reason": reason} if reason else {}, error=error)
