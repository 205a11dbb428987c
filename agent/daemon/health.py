"""Health of the service: the reasons that /healthz returns, each with a hint what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.config.units import format_duration
from agent.output.error_text import short_error
from memory.records import LEARNER_KINDS, JobKind, ProblemKind
from memory.records import Problem as Damage
from memory.repair_hint import STOP_AND_REPAIR

MIN_DISK_FREE_BYTES = 64 * 2**20
MAX_SNAPSHOT_AGE_S = 30.0
FAILURES_IN_A_ROW = 3


class RedReason(StrEnum):
    """A reason for red health; docs/operating.md explains each."""

    LEARNER_CRASH_LOOP = "learner_crash_loop"
    STORE_UNREADABLE = "store_unreadable"
    STORE_UNWRITABLE = "store_unwritable"
    DISK_FULL = "disk_full"
    JOB_FAILING = "job_failing"
    STORE_DAMAGED = "store_damaged"
    CHECKPOINT_FALLBACK = "checkpoint_fallback"
    CHECKPOINT_LOST = "checkpoint_lost"
    BACKUP_DAMAGED = "backup_damaged"
    SETTINGS_INVALID = "settings_invalid"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem that turns health red.

    Attributes:
        reason: the kind of problem.
        found: what was observed.
        hint: what to do about it.
    """

    reason: RedReason
    found: str
    hint: str

    def __str__(self) -> str:
        """Return the problem as one line."""
        return f"{self.reason}: {self.found}. {self.hint}"


@dataclass(kw_only=True)
class HealthInputs:
    """The present values that determine health.

    Attributes:
        crash_loop: the supervisor's description of a crash loop; None if there is none.
        snapshot_age_s: seconds since the store was last read.
        read_error: error of the last attempt to read the store; empty if it succeeded.
        write_error: error of the last write; empty if it succeeded.
        disk_free_bytes: free bytes on the data folder's file system.
        failures: for each kind of job that fails, the number of failures in a row and the newest error.
        damage: known damage of the store.
        backup_problem: the error of the newest check of the backups; empty if they are intact or were not checked.
        settings_problem: the problems of settings that were to be reloaded; empty if there are none.
    """

    crash_loop: str | None
    snapshot_age_s: float
    read_error: str
    write_error: str
    disk_free_bytes: int
    failures: Mapping[JobKind, tuple[int, str]]
    damage: Sequence[Damage] = ()
    settings_problem: str = ""
    backup_problem: str = ""


def problems(inputs: HealthInputs) -> list[Problem]:
    """Return every problem that turns health red; an empty list means good health."""
    return list(_problems(inputs))


def _problems(inputs: HealthInputs) -> Iterable[Problem]:
    if inputs.crash_loop:
        yield Problem(
            reason=RedReason.LEARNER_CRASH_LOOP,
            found=inputs.crash_loop,
            hint="See the log lines of process=learner before each exit.",
        )
    if inputs.snapshot_age_s > MAX_SNAPSHOT_AGE_S:
        yield Problem(
            reason=RedReason.STORE_UNREADABLE,
            found=f"the store was last read {format_duration(round(inputs.snapshot_age_s))} ago"
            + (f" ({inputs.read_error})" if inputs.read_error else ""),
            hint="The metrics are of the same age. Check the disk, then run `learnd doctor`.",
        )
    if inputs.write_error:
        yield Problem(
            reason=RedReason.STORE_UNWRITABLE,
            found=inputs.write_error,
            hint="Nothing new is learned until a write succeeds. Check the disk and the owner of the data folder.",
        )
    if inputs.disk_free_bytes < MIN_DISK_FREE_BYTES:
        yield Problem(
            reason=RedReason.DISK_FULL,
            found=f"{inputs.disk_free_bytes // 2**20} MiB are free on the data folder's disk",
            hint="Free disk space, or lower memory.max_size and run `learnd schedule run-now prune`.",
        )
    for kind, (count, error) in inputs.failures.items():
        if count >= FAILURES_IN_A_ROW and kind is not JobKind.VERIFY:
            yield Problem(
                reason=RedReason.JOB_FAILING,
                found=f"{kind} failed {count} times in a row, the last: {error or 'no error was reported'}",
                hint="`learnd schedule list` shows the runs; the log has the details.",
            )
    if inputs.backup_problem:
        yield Problem(
            reason=RedReason.BACKUP_DAMAGED,
            found=short_error(inputs.backup_problem).rstrip("."),
            hint="Run `learnd schedule run-now backup`, delete the damaged folders in backups/, then run"
            " `learnd schedule run-now verify`.",
        )
    if inputs.settings_problem:
        yield Problem(
            reason=RedReason.SETTINGS_INVALID,
            found=f"the settings were not reloaded: {inputs.settings_problem.rstrip('.')}",
            hint="The old ones stay in force. Correct them (`learnd config check`), then reload again.",
        )
    yield from _damage_problems(inputs.damage)


def _damage_problems(damage: Sequence[Damage]) -> Iterable[Problem]:
    """Yield a problem for each kind that the trainer reported, and one for all damage that store checks found."""
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
            hint=STOP_AND_REPAIR,
        )
