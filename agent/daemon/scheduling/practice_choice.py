"""The family to practise next, from what the trainer has practised lately and what goes on in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from agent.daemon.scheduling.background_families import BackgroundFamilies
from agent.daemon.scheduling.family_choice import Candidate, Choice, choose, weight
from agent.daemon.scheduling.practice_time import PracticeTime
from memory.records import Family, FamilyState


class PracticeChoice:
    """The choice of the family to practise next, with the records that it follows from."""

    def __init__(self) -> None:
        self._practised_at: dict[str, float] = {}
        self._time = PracticeTime()
        self._background = BackgroundFamilies()

    def restore(self, practised_at: Mapping[str, float]) -> None:
        """Take over when each family was last practised, in monotonic seconds."""
        self._practised_at = dict(practised_at)

    def choose(
        self,
        families: Iterable[Family],
        *,
        returns: Mapping[str, Sequence[float]],
        may_start: Callable[[str], bool],
        now: float,
        is_turn_of_new: bool = True,
    ) -> Choice | None:
        """Return the family to practise next; None if none can be practised.

        A family that is not active loses its records: paused, quarantined or removed, it joins the others again later.

        Args:
            families: all families.
            returns: the newest held-out returns of each family, oldest first.
            may_start: returns whether a family may be practised now; one that failed may have to wait.
            now: monotonic seconds.
            is_turn_of_new: whether families that were never practised come first; otherwise they come last.
        """
        active = [self._candidate(f, returns, now) for f in families if f.state is FamilyState.ACTIVE]
        self._background.keep_only({candidate.name for candidate in active})
        virtual_s = self._time.of({candidate.name: weight(candidate) for candidate in active}, now=now)
        candidates = [replace(c, virtual_s=virtual_s[c.name]) for c in active if may_start(c.name)]
        choosable = self._background.without_asked(candidates, now=now)
        self._time.limit_lags({candidate.name for candidate in choosable})
        known = [candidate for candidate in choosable if candidate.waited_s is not None]
        return choose(choosable if is_turn_of_new or not known else known)

    def note(self, family: str, *, took_s: float, is_under_way: bool, now: float) -> None:
        """Note the time that practice took until ``now`` (monotonic), and whether it goes on in the background."""
        self._time.add(family, took_s, now=now)
        if not self._background.note(family, is_under_way=is_under_way, now=now):
            self._practised_at[family] = now

    def note_results(self, families: Iterable[str]) -> None:
        """Note that the trainer has results of families, so that it is asked for them at once."""
        self._background.note_results(families)

    def _candidate(self, family: Family, returns: Mapping[str, Sequence[float]], now: float) -> Candidate:
        at = self._practised_at.get(family.name)
        return Candidate(
            name=family.name,
            created_at=family.created_at,
            waited_s=None if at is None or family.totals.meta_updates == 0 else now - at,
            returns=tuple(returns.get(family.name, ())),
            random_return=family.random_return or 0.0,
            reference_return=family.reference_return if family.has_scale else None,
        )
