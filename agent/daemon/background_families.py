"""The families that the trainer plays in the background, as their last jobs reported."""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent.daemon.family_choice import Candidate

ASK_AGAIN_S = 1.0
"""Seconds after which the trainer is asked again for the result of a family, if another one can be practised."""


class BackgroundFamilies:
    """The families whose last practise job reported that a play goes on in the background."""

    def __init__(self) -> None:
        self._asked_at: dict[str, float] = {}

    def note(self, family: str, *, is_under_way: bool, now: float) -> bool:
        """Note at ``now`` (monotonic seconds) whether a family is played in the background, and return it."""
        if is_under_way:
            self._asked_at[family] = now
        else:
            self._asked_at.pop(family, None)
        return is_under_way

    def without_asked(self, candidates: Sequence[Candidate], *, now: float) -> Sequence[Candidate]:
        """Return the candidates without those that were asked for a moment ago.

        If all were, return the one whose turn was the longest ago: the trainer waits for it, or another has a result.
        """
        others = [c for c in candidates if now - self._asked_at.get(c.name, -math.inf) >= ASK_AGAIN_S]
        return others or sorted(candidates, key=lambda candidate: self._asked_at[candidate.name])[:1]
