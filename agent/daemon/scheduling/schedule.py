"""The due times of each kind of job, computed from rows that the store keeps.

The rows hold ``last_started_at`` and ``next_due_at`` of each kind, so an interval continues after a restart.

- Due times that pass while the daemon is down, or while the job cannot be started, are *missed*. They are counted, and
  the job runs once.
- Due times that pass while the job itself runs are *overruns*. They are counted, and the next due time is one interval
  after the end of the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from agent.config.settings import Settings
from agent.config.triggers import Trigger, parse_trigger
from memory.records import JobKind, JobSchedule


def triggers_of(settings: Settings) -> dict[JobKind, Trigger]:
    """Return the trigger of each scheduled kind of job."""
    jobs = settings.jobs
    return {
        JobKind.EVALUATE: jobs.evaluate,
        JobKind.CONSOLIDATE: jobs.consolidate,
        JobKind.CHECKPOINT: jobs.checkpoint,
        JobKind.PRUNE: jobs.prune,
        JobKind.BACKUP: jobs.backup,
        JobKind.VERIFY: jobs.verify,
    }


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The due times of one kind of job, in seconds since the epoch.

    Attributes:
        kind: the kind of job.
        trigger: the rule by which it recurs.
        last_started_at: start of its last run; None if it never ran.
        next_due_at: its next due time; infinite if it is off.
    """

    kind: JobKind
    trigger: Trigger
    last_started_at: float | None
    next_due_at: float


class Schedule:
    """The due times of the scheduled kinds.

    Args:
        triggers: the rule by which each kind recurs, from the settings.
    """

    def __init__(self, triggers: Mapping[JobKind, Trigger]) -> None:
        self._triggers = dict(triggers)
        self._entries: dict[JobKind, Entry] = {}
        self._running: dict[JobKind, bool] = {}

    def restore(
        self, stored: Iterable[JobSchedule], *, now: float, at_once: Iterable[JobKind] = ()
    ) -> dict[JobKind, int]:
        """Set the due times from the stored rows.

        A kind without a row is due one interval from now, or now if it is in ``at_once``. A changed trigger counts from
        the last start. Due times that passed while the daemon was down are missed.

        Returns:
            The number of missed due times of each kind that missed any.
        """
        rows = {row.kind: row for row in stored}
        missed = {}
        for kind, trigger in self._triggers.items():
            row = rows.get(kind)
            last = row.last_started_at if row else None
            if trigger.is_off:
                due = float("inf")
            elif row is None:
                due = now if kind in at_once else trigger.next_after(now)
            elif _trigger_of(row) != trigger:
                due = trigger.next_after(now if last is None else min(last, now))
            else:
                due = row.next_due_at
                if num_missed := trigger.num_due(due, now):
                    missed[kind], due = num_missed, now
            self._entries[kind] = Entry(
                kind=kind, trigger=trigger, last_started_at=last, next_due_at=min(due, trigger.latest_possible(now))
            )
        return missed

    def use(self, triggers: Mapping[JobKind, Trigger], *, now: float) -> list[Entry]:
        """Take over triggers, and return the entries of those that changed. A new one counts from the last start."""
        changed = []
        for kind, trigger in triggers.items():
            entry = self._entries[kind]
            if entry.trigger == trigger:
                continue
            last = entry.last_started_at
            due = max(now, trigger.next_after(now if last is None else min(last, now)))
            self._entries[kind] = replace(entry, trigger=trigger, next_due_at=due)
            changed.append(self._entries[kind])
        self._triggers = dict(triggers)
        return changed

    def entry(self, kind: JobKind) -> Entry:
        """Return the entry of ``kind``."""
        return self._entries[kind]

    def entries(self) -> list[Entry]:
        """Return all entries."""
        return list(self._entries.values())

    def due(self, now: float) -> list[JobKind]:
        """Return the kinds that are due and not running, longest overdue first."""
        ready = [e for e in self._entries.values() if e.next_due_at <= now and e.kind not in self._running]
        return [entry.kind for entry in sorted(ready, key=lambda entry: entry.next_due_at)]

    def bring_forward(self, kind: JobKind, now: float) -> bool:
        """Make ``kind`` due now, unless it is off; return whether its due time changed."""
        entry = self._entries[kind]
        if entry.trigger.is_off or entry.next_due_at <= now:
            return False
        self._entries[kind] = replace(entry, next_due_at=now)
        return True

    def start(self, kind: JobKind, now: float) -> int:
        """Record that ``kind`` starts, and set its next due time.

        Returns:
            The number of missed due times: those that have passed, without the one that this run is for.
        """
        entry = self._entries[kind]
        num_missed = max(0, entry.trigger.num_due(entry.next_due_at, now) - 1)
        self._entries[kind] = replace(entry, last_started_at=now, next_due_at=entry.trigger.next_after(now))
        self._running[kind] = False
        return num_missed

    def overran(self, now: float) -> list[Entry]:
        """Move the running kinds that are due again to their next due times, and return their entries."""
        late = []
        for kind in self._running:
            entry = self._entries[kind]
            if entry.next_due_at <= now:
                self._running[kind] = True
                self._entries[kind] = replace(entry, next_due_at=entry.trigger.next_after(now))
                late.append(self._entries[kind])
        return late

    def finish(self, kind: JobKind, now: float) -> Entry | None:
        """Record that ``kind`` ended; return its entry if an overrun moved the next due time."""
        if not self._running.pop(kind, False):
            return None
        entry = self._entries[kind]
        self._entries[kind] = replace(entry, next_due_at=entry.trigger.next_after(now))
        return self._entries[kind]

    def correct(self, now: float) -> list[Entry]:
        """Move due times that lie too far ahead to the latest possible; this happens if the clock was set back.

        Returns:
            The entries that were moved.
        """
        corrected = []
        for kind, entry in self._entries.items():
            latest = entry.trigger.latest_possible(now)
            if entry.next_due_at > latest:
                self._entries[kind] = replace(entry, next_due_at=latest)
                corrected.append(self._entries[kind])
        return corrected

    def next_due_at(self) -> float:
        """Return the earliest due time of all kinds; infinite if no job is scheduled."""
        return min((entry.next_due_at for entry in self._entries.values()), default=float("inf"))


def _trigger_of(row: JobSchedule) -> Trigger | None:
    try:
        return parse_trigger(row.trigger)
    except ValueError:
        return None
