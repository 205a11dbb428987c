"""The choice of the next family to practise, by learning progress and waiting time.

Each family i has a weight w_i = FLOOR + PROGRESS · p_i + GAP · g_i:

- p_i is the absolute change of the evaluation score over the newest evaluations (cf. Graves et al. 2017, "Automated
  curriculum learning", arXiv:1704.03003). It is absolute so that a family whose score falls is practised too.
- g_i is the distance of the score to the reference.

The family with the greatest w_i · (time waited) is practised next, so shares of practice follow the weights. Every
weight is at least FLOOR, so every family is practised. Families that were never practised come first, oldest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.config.units import format_duration

FLOOR = 0.2
PROGRESS = 0.5
GAP = 0.3
FULL_PROGRESS = 0.1
"""Change of score (0 = random, 1 = reference) that counts as full progress."""

NUM_EVALUATIONS = 6
"""Number of newest evaluations that are used."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A family that could be practised.

    Attributes:
        name: its name.
        created_at: when it was added, in seconds since the epoch.
        waited_s: seconds since it was last practised; None if it never was.
        scores: its newest evaluation scores, oldest first; only the last few count.
    """

    name: str
    created_at: float
    waited_s: float | None
    scores: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The next family to practise, and the reason in words for users."""

    family: str
    reason: str


def choose(candidates: Sequence[Candidate]) -> Choice | None:
    """Return the family to practise next; None if there are no candidates."""
    new = [candidate for candidate in candidates if candidate.waited_s is None]
    if new:
        first = min(new, key=lambda candidate: (candidate.created_at, candidate.name))
        return Choice(family=first.name, reason=f"{first.name}: never practised yet")
    if not candidates:
        return None
    chosen = max(candidates, key=lambda candidate: (weight(candidate) * (candidate.waited_s or 0.0), candidate.name))
    waited = format_duration(round(chosen.waited_s or 0.0))
    return Choice(family=chosen.name, reason=f"{chosen.name}: {_progress_in_words(chosen)}; waited {waited}")


def weight(candidate: Candidate) -> float:
    """Return w_i, from FLOOR to 1; a family with fewer than two evaluations has full progress."""
    scores = candidate.scores[-NUM_EVALUATIONS:]
    change = progress(scores)
    share = 1.0 if change is None else min(1.0, abs(change) / FULL_PROGRESS)
    gap = 1.0 if not scores else min(1.0, max(0.0, 1.0 - scores[-1]))
    return FLOOR + PROGRESS * share + GAP * gap


def progress(scores: Sequence[float]) -> float | None:
    """Return the mean of the later half of the scores minus that of the earlier half; None below two scores."""
    half = len(scores) // 2
    if half == 0:
        return None
    return sum(scores[-half:]) / half - sum(scores[:half]) / half


def _progress_in_words(candidate: Candidate) -> str:
    scores = candidate.scores[-NUM_EVALUATIONS:]
    change = progress(scores)
    if change is None:
        return "too few evaluations to measure progress"
    if abs(change) < 0.005:
        moved = f"score stayed at {scores[-1]:.2f}"
    else:
        moved = f"score {'rose' if change > 0 else 'fell'} {abs(change):.2f} to {scores[-1]:.2f}"
    return f"{moved} over the last {len(scores)} evaluations"
