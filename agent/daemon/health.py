"""Whether the service is well, and if not, why, and what to do: the reasons behind /healthz."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.config.units import format_duration
from memory.records import LEARNER_KINDS, JobKind, JobOutcome, ProblemKind
from memory.records import Problem as Damage

MIN_DISK_FREE_BYTES = 64 * 2**20
MAX_SNAPSHOT_AGE_S = 30.0
FAILURES_IN_A_ROW = 3


class RedReason(StrEnum):
    """Why health is red; each is explained in docs/operating.md."""

    LEARNER_CRASH_LOOP = "learner_crash_loop"
    STORE_UNREADABLE = "store_unreadable"
    STORE_UNWRITABLE = "store_unwritable"
    DISK_FULL = "disk_full"
    JOB_FAILING = "job_failing"
    STORE_DAMAGED = "store_damaged"
    CHECKPOINT_FALLBACK = "checkpoint_fallback"
    CHECKPOINT_LOST = "checkpoint_lost"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One reason for red health.

    Attributes:
        reason: which.
        found: what was seen.
        hint: what to do about it.
    """

    reason: RedReason
    found: str
    hint: str

    def __str__(self) -> str:
        """The problem as one line."""
        return f"{self.reason}: {self.found}. {self.hint}"


@dataclass(kw_only=True)
class HealthInputs:
    """What health is judged by, as of now.

    Attributes:
        crash_loop: the supervisor's words on a crash loop; None while there is none.
        snapshot_age_s: since the store was last read.
        read_error: what the last attempt to read the store met; empty if it succeeded.
        write_error: what the last write met; empty if it succeeded.
        disk_free_bytes: on the data folder's file system.
        failures: per kind of job how often in a row it failed, with the newest error.
        damage: what is known to be damaged in the store.
    """

    crash_loop: str | None
    snapshot_age_s: float
    read_error: str
    write_error: str
    disk_free_bytes: int
    failures: Mapping[JobKind, tuple[int, str]]
    damage: Sequence[Damage] = ()


def problems(signs: HealthInputs) -> list[Problem]:
    """Every reason for red health; empty when the service is well."""
    return list(_problems(signs))


def _problems(signs: HealthInputs) -> Iterable[Problem]:
    if signs.crash_loop:
        yield Problem(
            reason=RedReason.LEARNER_CRASH_LOOP,
            found=signs.crash_loop,
            hint="See the log lines of process=learner before each death.",
        )
    if signs.snapshot_age_s > MAX_SNAPSHOT_AGE_S:
        yield Problem(
            reason=RedReason.STORE_UNREADABLE,
            found=f"the store was last read {format_duration(round(signs.snapshot_age_s))} ago"
            + (f" ({signs.read_error})" if signs.read_error else ""),
            hint="Metrics are that old. Look at the disk, then run `learnd doctor`.",
        )
    if signs.write_error:
        yield Problem(
            reason=RedReason.STORE_UNWRITABLE,
            found=signs.write_error,
            hint="Nothing new is learned until writing works. Look at the disk and at who owns the folder.",
        )
    if signs.disk_free_bytes < MIN_DISK_FREE_BYTES:
        yield Problem(
            reason=RedReason.DISK_FULL,
            found=f"{signs.disk_free_bytes // 2**20} MiB are left on the data folder's disk",
            hint="Make room, or lower memory.max_size and run `learnd schedule run-now prune`.",
        )
    for kind, (count, error) in signs.failures.items():
        if count >= FAILURES_IN_A_ROW:
            yield Problem(
                reason=RedReason.JOB_FAILING,
                found=f"{kind} failed {count} times in a row, the last: {error or 'no reason was given'}",
                hint="`learnd schedule list` shows the runs; the log has more.",
            )
    yield from _damage_problems(signs.damage)


def _damage_problems(damage: Sequence[Damage]) -> Iterable[Problem]:
    """One reason for each thing the learner reported, and one for all damage that a check of the store found."""
    for kind, reason in (
        (ProblemKind.CHECKPOINT_LOST, RedReason.CHECKPOINT_LOST),
        (ProblemKind.CHECKPOINT_FALLBACK, RedReason.CHECKPOINT_FALLBACK),
    ):
        if reported := [problem for problem in damage if problem.kind is kind]:
            yield Problem(reason=reason, found=reported[-1].found, hint=reported[-1].hint)
    if found := [problem for problem in damage if problem.kind not in LEARNER_KINDS]:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        yield Problem(
            reason=RedReason.STORE_DAMAGED,
            found=f"{found[0].subject}: {found[0].found.rstrip('.')}{more}",
            hint="Stop learnd and run `learnd doctor --repair`.",
        )


class Failures:
    """Counts per kind of job how often in a row it failed; a success starts anew."""

    def __init__(self) -> None:
        self._counts: dict[JobKind, tuple[int, str]] = {}

    def note(self, kind: JobKind, outcome: JobOutcome, error: str) -> None:
        """Take in how a run ended; runs that were skipped say nothing."""
        if outcome is JobOutcome.SUCCEEDED:
            self._counts.pop(kind, None)
        elif outcome is JobOutcome.FAILED:
            self._counts[kind] = (self._counts.get(kind, (0, ""))[0] + 1, error)

    def counts(self) -> Mapping[JobKind, tuple[int, str]]:
        """Failures in a row and the newest error, per kind that fails."""
        return dict(self._counts)
