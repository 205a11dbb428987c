"""What to do next: pure decisions over what is asked for, pending, due and allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.daemon.family_choice import Choice
from memory.records import JobKind

CONTROL_KINDS = frozenset({JobKind.PRUNE, JobKind.BACKUP})
"""Jobs that control runs itself, in a thread; they work with the learner down."""

FIRST_COOL_DOWN_S = 0.25
MAX_COOL_DOWN_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Work:
    """A job to be run.

    Attributes:
        kind: what.
        family: for whom; None for all.
        reason: why now, for people.
        request_id: the request it answers; None if nobody asked.
    """

    kind: JobKind
    family: str | None = None
    reason: str
    request_id: int | None = None


DUE = "due"


def next_work(
    *,
    requested: Sequence[Work],
    pending: Sequence[str],
    due: Sequence[JobKind],
    choose: Callable[[], Choice | None],
    is_practice_owed: bool = False,
) -> Work | None:
    """The next job: what people asked for, else admissions, else what is due, else practice; None to idle.

    After a job that was due, practice goes before the next one: jobs that are always due, because a round of them takes
    longer than their intervals, would otherwise keep everything from being practised.

    Args:
        requested: open requests, oldest first.
        pending: families that wait for admission, oldest first.
        due: kinds that are due, longest overdue first.
        choose: picks a family to practise; None when practising is not allowed now or there is nobody.
        is_practice_owed: the last job was a due one.
    """
    if requested:
        return requested[0]
    if pending:
        return Work(kind=JobKind.ADMIT, family=pending[0], reason="fed")
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
    """Families whose jobs failed, set aside for a moment: 0.25 s, then doubled with each failure in a row.

    It keeps a family that fails at once from being tried in a tight loop; strikes and quarantine are the learner's.
    """

    def __init__(self) -> None:
        self._setbacks: dict[tuple[JobKind, str], _FailureStreak] = {}

    def note_failure(self, kind: JobKind, family: str, now: float) -> int:
        """Count a failure at ``now`` (monotonic); return how many there were in a row."""
        setback = self._setbacks.setdefault((kind, family), _FailureStreak(count=0, until=now))
        setback.count += 1
        setback.until = now + min(MAX_COOL_DOWN_S, FIRST_COOL_DOWN_S * 2.0 ** min(setback.count - 1, 16))
        return setback.count

    def forget(self, kind: JobKind, family: str) -> None:
        """Start anew after a success."""
        self._setbacks.pop((kind, family), None)

    def allows(self, kind: JobKind, family: str, now: float) -> bool:
        """Whether the family may be tried at ``now`` (monotonic)."""
        setback = self._setbacks.get((kind, family))
        return setback is None or setback.until <= now
