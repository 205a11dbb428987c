"""The choice of the next job, by pure functions of requests, pending families and due jobs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from agent.daemon.scheduling.family_choice import Choice
from agent.messages import DUE
from memory.records import JobKind

DAEMON_KINDS = frozenset({JobKind.PRUNE, JobKind.BACKUP, JobKind.VERIFY})
"""Jobs that the daemon runs in a thread of its own; they do not need the trainer."""

FIRST_COOL_DOWN_S = 0.25
MAX_COOL_DOWN_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Work:
    """A job to be run.

    Attributes:
        kind: the kind of job.
        family: the family that the job is for; None for all.
        reason: why the job runs now, in words for users.
        request_id: id of the request for this job; None if there was no request.
    """

    kind: JobKind
    family: str | None = None
    reason: str
    request_id: int | None = None


def next_work(
    *,
    requested: Sequence[Work],
    pending: Sequence[str],
    due: Sequence[JobKind],
    choose: Callable[[], Choice | None],
    is_practice_owed: bool = False,
) -> Work | None:
    """Return the next job: a request, else an admission, else a due job, else practice; None if there is none.

    After a due job, practice comes before the next due job. Otherwise jobs that are always due, because a round of them
    takes longer than their intervals, would prevent all practice.

    Args:
        requested: open requests, oldest first.
        pending: families that wait for admission, oldest first.
        due: kinds that are due, longest overdue first.
        choose: returns a family to practise; None if practice is not allowed now or no family can be practised.
        is_practice_owed: True if the last job was a due job.
    """
    if requested:
        return requested[0]
    if pending:
        return Work(kind=JobKind.ADMIT, family=pending[0], reason="added")
    if due and not is_practice_owed:
        return Work(kind=due[0], reason=DUE)
    choice = choose()
    if choice is not None:
        return Work(kind=JobKind.PRACTISE, family=choice.family, reason=choice.reason)
    return Work(kind=due[0], reason=DUE) if due else None


@dataclass(kw_only=True)
class _FailureStreak:
    count: int
    until: float


class ConsecutiveFailures:
    """A record of families whose jobs failed. Each must wait 0.25 s, doubled with each further failure in a row.

    This prevents a tight loop of attempts with a family that fails at once. Strikes and quarantine are decided by the
    trainer.
    """

    def __init__(self) -> None:
        self._streaks: dict[tuple[JobKind, str], _FailureStreak] = {}

    def note_failure(self, kind: JobKind, family: str, now: float) -> int:
        """Count a failure at ``now`` (monotonic seconds); return the number of failures in a row."""
        streak = self._streaks.setdefault((kind, family), _FailureStreak(count=0, until=now))
        streak.count += 1
        streak.until = now + min(MAX_COOL_DOWN_S, FIRST_COOL_DOWN_S * 2.0 ** min(streak.count - 1, 16))
        return streak.count

    def forget(self, kind: JobKind, family: str) -> None:
        """Reset the count after a success."""
        self._streaks.pop((kind, family), None)

    def keep_only(self, present: Collection[tuple[JobKind, str]]) -> None:
        """Reset the counts of all other families."""
        self._streaks = {key: streak for key, streak in self._streaks.items() if key in present}

    def allows(self, kind: JobKind, family: str, now: float) -> bool:
        """Return whether the family may be tried at ``now`` (monotonic seconds)."""
        streak = self._streaks.get((kind, family))
        return streak is None or streak.until <= now
