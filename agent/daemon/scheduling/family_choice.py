"""The choice of the next family to practise, by learning progress and waiting time.

Each family i has a weight w_i = FLOOR + PROGRESS · p_i + GAP · g_i:

- p_i is the absolute change of the evaluation value over the newest evaluations (cf. Graves et al. 2017, "Automated
  curriculum learning", arXiv:1704.03003). It is absolute so that a family whose value falls is practised too.
- g_i is the distance of the value to 1.

Shares of practice are of the trainer's time. A slice of u_i seconds adds u_i / w_i to the virtual time of its family
(``practice_time``). The family with the least virtual time is practised next, so shares of time follow the weights,
whatever a slice of a family costs. Among equals, the one with the greatest w_i · (time waited) comes first. Every
weight is at least FLOOR, so every family is practised. Families that were never practised come first, oldest first.

The value of an evaluation is its score. For a family without a reference it is (return − random return) / span, with
the span between the highest and the lowest of its newest returns and the random return. That value is used for this
choice only and is not stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from agent.config.units import format_duration

FLOOR = 0.2
PROGRESS = 0.5
GAP = 0.3
FULL_PROGRESS = 0.1
"""Change of value that counts as full progress."""

NUM_EVALUATIONS = 6
"""Number of newest evaluations that are used."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A family that could be practised.

    Attributes:
        name: its name.
        created_at: when it was added, in seconds since the epoch.
        waited_s: seconds since it was last practised; None if it never was.
        virtual_s: the trainer's time that its practice took lately, divided by its weights, in seconds.
        returns: its newest held-out returns, oldest first; only the last few count.
        random_return: mean trial return of random actions.
        reference_return: trial return of score 1; None where the family has no scale.
    """

    name: str
    created_at: float
    waited_s: float | None
    virtual_s: float = 0.0
    returns: tuple[float, ...] = ()
    random_return: float = 0.0
    reference_return: float | None = None

    @property
    def has_scale(self) -> bool:
        """Return whether its evaluations have scores."""
        return self.reference_return is not None

    @property
    def values(self) -> tuple[float, ...]:
        """The value of each of the newest evaluations, oldest first; 0 is random actions."""
        returns = self.returns[-NUM_EVALUATIONS:]
        seen = (*returns, self.random_return)
        if self.reference_return is not None:
            span = self.reference_return - self.random_return
        else:
            span = max(seen) - min(seen)
        return tuple((value - self.random_return) / span if span > 0 else 0.0 for value in returns)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The next family to practise, and the reason in words for users."""

    family: str
    reason: str


NEVER_PRACTISED = "never practised yet"
"""The reason of the choice of a new family."""


def choose(candidates: Sequence[Candidate]) -> Choice | None:
    """Return the family to practise next; None if there are no candidates."""
    new = [candidate for candidate in candidates if candidate.waited_s is None]
    if new:
        first = min(new, key=lambda candidate: (candidate.created_at, candidate.name))
        return Choice(family=first.name, reason=NEVER_PRACTISED)
    if not candidates:
        return None
    least_s = min(candidate.virtual_s for candidate in candidates)
    behind = [candidate for candidate in candidates if candidate.virtual_s == least_s]
    chosen = max(behind, key=lambda candidate: (weight(candidate) * (candidate.waited_s or 0.0), candidate.name))
    waited = format_duration(round(chosen.waited_s or 0.0))
    return Choice(family=chosen.name, reason=f"{_progress_in_words(chosen)}; waited {waited}")


def weight(candidate: Candidate) -> float:
    """Return w_i, from FLOOR to 1; a family with fewer than two evaluations has full progress."""
    values = candidate.values
    change = progress(values)
    share = 1.0 if change is None else min(1.0, abs(change) / FULL_PROGRESS)
    gap = 1.0 if not values else min(1.0, max(0.0, 1.0 - values[-1]))
    return FLOOR + PROGRESS * share + GAP * gap


def progress(values: Sequence[float]) -> float | None:
    """Return the mean of the later half of the values minus that of the earlier half; None below two values."""
    half = len(values) // 2
    if half == 0:
        return None
    return sum(values[-half:]) / half - sum(values[:half]) / half


def _progress_in_words(candidate: Candidate) -> str:
    """Return the means that :func:`progress` compares."""
    change = progress(candidate.values)
    if change is None:
        return "too few evaluations to measure progress"
    values = candidate.values if candidate.has_scale else candidate.returns[-NUM_EVALUATIONS:]
    name, digits = ("score", "z.2f") if candidate.has_scale else ("return", "z.4g")
    half = len(values) // 2
    earlier, later = (format(mean(part), digits) for part in (values[:half], values[-half:]))
    if abs(change) < 0.005 or earlier == later:
        text = f"mean {name} stayed at {later}"
    else:
        text = f"mean {name} {'rose' if change > 0 else 'fell'} from {earlier} to {later}"
    return f"{text} over the last {len(candidate.values)} evaluations"
