"""Consequences of failures for families: pauses, quarantines and refusals."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from agent.clock import Clock
from agent.config.worker_settings import WorkersSettings
from agent.daemon.jobs.runs import RunResult
from agent.daemon.jobs.store_updates import state_setter
from agent.daemon.scheduling.next_job import ConsecutiveFailures, Work
from agent.daemon.store.retrying_writer import RetryingWriter
from agent.output.error_text import short_error
from memory.records import Family, FamilyState, JobKind, JobOutcome

log = structlog.get_logger(__name__)

EXITS_TO_SET_ASIDE = 5
"""Number of trainer exits in a row in jobs of one family after which it is refused or quarantined."""


class FamilyFailures:
    """The failures of each family in a row, and their consequences.

    Args:
        workers: the limits of quarantines.
        store: the writer of the families' states.
        clock: wall time for quarantines, monotonic time for pauses.
    """

    def __init__(self, workers: WorkersSettings, store: RetryingWriter, clock: Clock) -> None:
        self._workers = workers
        self._store = store
        self._clock = clock
        self._cool_downs = ConsecutiveFailures()
        self._exits_in_a_row: dict[str, int] = {}

    def use(self, workers: WorkersSettings) -> None:
        """Take over the limits of quarantines."""
        self._workers = workers

    def allows(self, kind: JobKind, family: str) -> bool:
        """Return whether a job of the family may start, or must wait after a failure."""
        return self._cool_downs.allows(kind, family, self._clock.monotonic())

    async def note(self, work: Work, family: str, result: RunResult, *, is_stopping: bool) -> None:
        """Note the result of a family's job.

        Failures of a daemon that stops do not count. Practice that goes on in the background is no success yet:
        otherwise a family that fails there would be tried again after the shortest pause, time after time.
        """
        if result.is_under_way and work.kind is JobKind.PRACTISE:
            return
        if result.outcome is JobOutcome.SUCCEEDED:
            self._exits_in_a_row.pop(family, None)
            self._cool_downs.forget(work.kind, family)
        elif not is_stopping:
            self._cool_downs.note_failure(work.kind, family, self._clock.monotonic())
        if result.is_trainer_exit:
            self._exits_in_a_row[family] = self._exits_in_a_row.get(family, 0) + 1
            if self._exits_in_a_row[family] >= EXITS_TO_SET_ASIDE:
                await self._set_aside(work.kind, family, result.error)
        if work.kind is JobKind.ADMIT and result.outcome is JobOutcome.SUCCEEDED:
            await self._back_off_if_pending(family)

    async def review(self, now: float) -> None:
        """Forget the failures of families that take part no more, and end quarantines.

        A family that was paused, refused, quarantined or removed does not wait for its earlier failures when it comes
        back. A quarantine ends when its time has passed, or if it lasts longer than the settings allow.
        """
        longest_s = self._workers.quarantine_max_s
        families = await self._store.call(lambda store: store.families.all())
        self._forget_absent(families)
        for family in families:
            until = family.quarantined_until
            if family.state is not FamilyState.QUARANTINED or until is None or now < until <= now + longest_s:
                continue
            log.info("quarantine ended", family=family.name)
            await self._store.call(state_setter(family.name, FamilyState.ACTIVE, "active again after quarantine"))

    def _forget_absent(self, families: Iterable[Family]) -> None:
        """Keep only the failures of active families in practice, and of pending ones in admission."""
        kinds = {FamilyState.ACTIVE: JobKind.PRACTISE, FamilyState.PENDING: JobKind.ADMIT}
        present = {(kinds[family.state], family.name) for family in families if family.state in kinds}
        self._cool_downs.keep_only(present)
        names = {name for _kind, name in present}
        self._exits_in_a_row = {name: count for name, count in self._exits_in_a_row.items() if name in names}

    async def _back_off_if_pending(self, family: str) -> None:
        """Make a family wait that is still pending after a successful admission, to prevent a tight loop."""
        families = await self._store.call(lambda store: store.families.all())
        if any(f.name == family and f.state is FamilyState.PENDING for f in families):
            self._cool_downs.note_failure(JobKind.ADMIT, family, self._clock.monotonic())

    async def _set_aside(self, kind: JobKind, family: str, error: str) -> None:
        """Refuse or quarantine a family whose jobs made the trainer exit, so that others can be practised."""
        num_exits = self._exits_in_a_row.pop(family)
        reason = (
            f"the trainer exited {num_exits} times in a row in jobs of this family; the last exit: {short_error(error)}"
        )
        log.error("family is set aside", family=family, reason=reason)
        if kind is JobKind.ADMIT:
            await self._store.write(state_setter(family, FamilyState.REFUSED, reason))
            return
        until = self._clock.wall() + self._workers.quarantine_max_s
        await self._store.write(state_setter(family, FamilyState.QUARANTINED, reason, until=until))
