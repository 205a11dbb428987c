"""The families that the trainer plays in the background, as their last jobs reported."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from agent.daemon.scheduling.family_choice import Candidate

FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 8.0
"""Seconds after which the trainer is asked again for the result of a family, if another one can be practised."""


@dataclass(kw_only=True)
class _Asked:
    """The number of questions to the trainer in a row, and the time of the last."""

    count: int = 0
    at: float = -math.inf

    @property
    def again_at(self) -> float:
        return self.at + min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self.count - 1, 16))


class BackgroundFamilies:
    """The families whose last practise job reported that a play goes on in the background.

    The trainer is asked for the result of such a family when it reports that there is one, and otherwise after 2 s,
    doubled each time up to 8 s.
    """

    def __init__(self) -> None:
        self._asked: dict[str, _Asked] = {}

    def note(self, family: str, *, is_under_way: bool, now: float) -> bool:
        """Note at ``now`` (monotonic seconds) whether a family is played in the background, and return it."""
        if is_under_way:
            asked = self._asked.setdefault(family, _Asked())
            asked.count, asked.at = asked.count + 1, now
        else:
            self._asked.pop(family, None)
        return is_under_way

    def note_results(self, families: Iterable[str]) -> None:
        """Note that the trainer has results of families, so that it is asked for them at once."""
        for name in families:
            self._asked.pop(name, None)

    def keep_only(self, families: Collection[str]) -> None:
        """Forget all other families: their plays were stopped."""
        self._asked = {name: asked for name, asked in self._asked.items() if name in families}

    def without_asked(self, candidates: Sequence[Candidate], *, now: float) -> Sequence[Candidate]:
        """Return the candidates without those that were asked for a moment ago.

        If all were, return the one whose turn was the longest ago: the trainer waits for it, or another has a result.
        """
        others = [c for c in candidates if c.name not in self._asked or self._asked[c.name].again_at <= now]
        return others or sorted(candidates, key=lambda candidate: self._asked[candidate.name].at)[:1]
