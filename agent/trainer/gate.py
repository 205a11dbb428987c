"""The gate of consolidation: it compares a candidate's returns with those of the published version.

Both play one trial in each of the same N held-out tasks with the same action noise, so that the standard error of their
difference is that of N paired differences. Differences of return are divided by a unit that is fixed for each family
before any candidate is compared:

- with a scale, its span (reference return − random return): the quotient is a difference of scores;
- without one, |published return − random return|, which is what has been learned so far. Nothing says how large a
  return can become, so a difference also has to exceed two standard errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from agent.learners.evaluation.trials import HeldOutReturns, Scale, standard_error
from agent.trainer.score_scale import scale_of
from memory.records import Family, FamilyScore

LEAST_GAIN = 0.002
"""Mean gain, in units of each family, below which a candidate is not worth a version of its own."""

NOISE_ERRORS = 2.0
"""Standard errors within which a difference of returns counts as noise, where there is no scale."""


@dataclass(frozen=True, kw_only=True)
class KnownReturn:
    """The mean trial return of a published version on one family.

    Attributes:
        mean: mean trial return.
        standard_error: of the mean; 0 where it was not stored.
        trials: [N] the return of each trial, to be paired with a candidate's; None where it was read from the store.
    """

    mean: float
    standard_error: float = 0.0
    trials: Tensor | None = None

    @classmethod
    def played(cls, returns: HeldOutReturns) -> KnownReturn:
        """Return the known return of a version that has just played the gate's tasks."""
        return cls(mean=returns.mean, standard_error=returns.standard_error, trials=returns.trials)

    @classmethod
    def stored(cls, score: FamilyScore, scale: Scale | None) -> KnownReturn | None:
        """Return the return stored with a version; None if neither a return nor a score on a scale was stored."""
        if score.mean_return is not None:
            return cls(mean=score.mean_return, standard_error=score.return_standard_error or 0.0)
        if score.score is None or scale is None:
            return None
        error = (score.standard_error or 0.0) * scale.span
        return cls(mean=scale.random_return + score.score * scale.span, standard_error=error)


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """The reference of one consolidation for returns on one family; it is the same for all candidates.

    Attributes:
        family: its name.
        scale: None where the family has no reference.
        random_return: mean trial return of random actions.
        unit: difference of returns that counts as 1; positive.
        published: the version served now; None where it does not know the family.
    """

    family: str
    scale: Scale | None
    random_return: float
    unit: float
    published: KnownReturn | None


def yardstick_of(family: Family, *, published: KnownReturn | None, first: HeldOutReturns) -> Yardstick:
    """Return the yardstick of a family.

    Without a scale the unit is at least one standard error, because it would be 0 where nothing is learned yet.

    Args:
        family: the family.
        published: the published version's return on it; None where it has none.
        first: returns of the first candidate; they give the unit where there is neither a scale nor a published return.
    """
    scale = scale_of(family)
    random_return = family.random_return or 0.0
    known = published or KnownReturn.played(first)
    learned = max(abs(known.mean - random_return), known.standard_error) or 1.0
    return Yardstick(
        family=family.name,
        scale=scale,
        random_return=random_return,
        unit=learned if scale is None else scale.span,
        published=published,
    )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A candidate's returns on one family, compared with the published version's.

    Attributes:
        yardstick: what they are compared with.
        mean: mean trial return of the candidate.
        standard_error: of the mean.
        num_trials: N.
        difference_error: standard error of the difference from the published version; None without one.
    """

    yardstick: Yardstick
    mean: float
    standard_error: float
    num_trials: int
    difference_error: float | None

    @property
    def family(self) -> str:
        """The family's name."""
        return self.yardstick.family

    @property
    def value(self) -> float:
        """The return above random actions, in units of the family; with a scale, this is the score."""
        return (self.mean - self.yardstick.random_return) / self.yardstick.unit

    @property
    def score(self) -> float | None:
        """The score; None without a scale."""
        return None if self.yardstick.scale is None else self.yardstick.scale.score(self.mean)

    @property
    def gain(self) -> float | None:
        """Gain over the published version in units of the family; None without one, 0 for noise without a scale."""
        published, error = self.yardstick.published, self.difference_error
        if published is None or error is None:
            return None
        gain = self.mean - published.mean
        return gain / self.yardstick.unit if self._is_beyond_noise(gain, error) else 0.0

    def is_below(self, other: KnownReturn, *, error: float, tolerance: float) -> bool:
        """Return whether the candidate falls below another return by more than ``tolerance`` units.

        Args:
            other: the return to compare with.
            error: standard error of the difference.
            tolerance: most that it may fall, in units of the family.
        """
        drop = other.mean - self.mean
        return drop > tolerance * self.yardstick.unit and self._is_beyond_noise(drop, error)

    def falls(self, tolerance: float, best: KnownReturn | None) -> bool:
        """Return whether the family falls too far.

        Either below the published version by more than the tolerance, or below the best version there ever was by
        more than twice the tolerance: many small falls must not add up to a large one.

        Args:
            tolerance: most that it may fall, in units of the family.
            best: the family's best return over the published versions; None without one.
        """
        published = self.yardstick.published
        if published is not None and self.is_below(published, error=self.difference_error or 0.0, tolerance=tolerance):
            return True
        if best is None:
            return False
        unpaired = (self.standard_error**2 + best.standard_error**2) ** 0.5
        return self.is_below(best, error=unpaired, tolerance=2 * tolerance)

    def _is_beyond_noise(self, difference: float, error: float) -> bool:
        return self.yardstick.scale is not None or abs(difference) > NOISE_ERRORS * error

    def to_record(self) -> FamilyScore:
        """Return the record that is stored with the version."""
        scale, published = self.yardstick.scale, self.yardstick.published
        return FamilyScore(
            family=self.family,
            score=self.score,
            standard_error=None if scale is None else scale.error(self.standard_error),
            published_score=None if scale is None or published is None else scale.score(published.mean),
            num_trials=self.num_trials,
            mean_return=self.mean,
            return_standard_error=self.standard_error,
            published_return=None if published is None else published.mean,
            difference_standard_error=self.difference_error,
        )


def compare(returns: HeldOutReturns, yardstick: Yardstick) -> Comparison:
    """Compare a candidate's returns on one family with the published version's."""
    return Comparison(
        yardstick=yardstick,
        mean=returns.mean,
        standard_error=returns.standard_error,
        num_trials=len(returns.trials),
        difference_error=_difference_error(returns, yardstick.published),
    )


def _difference_error(returns: HeldOutReturns, published: KnownReturn | None) -> float | None:
    """Return the standard error of the mean difference, paired by task if both played the same tasks."""
    if published is None:
        return None
    if published.trials is not None and len(published.trials) == len(returns.trials):
        return standard_error(returns.trials - published.trials)
    return float((returns.standard_error**2 + published.standard_error**2) ** 0.5)


LEAST_LOSS = 0.05
"""KL in nats per step that a family which cannot be played may lose on its stored trials."""


@dataclass(frozen=True, kw_only=True)
class StoredTrialsLoss:
    """The loss of a candidate on the stored trials of a family that cannot be played.

    Attributes:
        family: its name.
        divergence: KL of the candidate, in nats per step.
        published: KL of the published version; None if it does not know the family.
    """

    family: str
    divergence: float
    published: float | None

    @property
    def is_beyond(self) -> bool:
        """Return whether it has lost more than is allowed, and more than twice what the published version has lost."""
        return self.divergence > max(LEAST_LOSS, 2.0 * (self.published or 0.0))


@dataclass(frozen=True, kw_only=True)
class Part:
    """The part of a candidate that one kind of family proposes.

    Attributes:
        origin: how the parameters were made; empty if the provenance says it for each family.
        tensors: the parameters, by their names in the version file.
        comparisons: on every family of the kind that could be scored.
        losses: on every family of the kind that cannot be played and has stored trials.
        provenance: what a version with this part records about it, as JSON values.
    """

    origin: str
    tensors: dict[str, Tensor]
    comparisons: tuple[Comparison, ...]
    losses: tuple[StoredTrialsLoss, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Parameters that may be published.

    Attributes:
        parts: one for each kind of family.
    """

    parts: tuple[Part, ...]

    @property
    def origin(self) -> str:
        """Return the origin of the parameters."""
        return ", ".join(part.origin for part in self.parts if part.origin)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The parameters."""
        return {name: tensor for part in self.parts for name, tensor in part.tensors.items()}

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The comparisons on every family that could be scored."""
        return tuple(comparison for part in self.parts for comparison in part.comparisons)

    @property
    def losses(self) -> tuple[StoredTrialsLoss, ...]:
        """Return what was lost of the families that cannot be played."""
        return tuple(loss for part in self.parts for loss in part.losses)

    @property
    def mean_value(self) -> float:
        """Mean over families of how far the candidate is above random actions, in units of each family."""
        return sum(c.value for c in self.comparisons) / len(self.comparisons)

    @property
    def mean_score(self) -> float | None:
        """Mean score over the families that have a scale; None without any."""
        scores = [c.score for c in self.comparisons if c.score is not None]
        return sum(scores) / len(scores) if scores else None

    @property
    def gain(self) -> float:
        """Mean gain over the published version in units of each family, on the families that both know."""
        gains = [c.gain for c in self.comparisons if c.gain is not None]
        return sum(gains) / len(gains) if gains else 0.0

    @property
    def is_worth_a_version(self) -> bool:
        """Return whether it gains something, or knows a family that the published version does not."""
        return self.gain >= LEAST_GAIN or any(c.yardstick.published is None for c in self.comparisons)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The condition for publishing: no family falls too far.

    Attributes:
        tolerance: most that a family may fall, in its units.
        best: each family's best return over the published versions.
    """

    tolerance: float
    best: Mapping[str, KnownReturn]

    def fallen(self, candidate: Candidate) -> list[Comparison]:
        """Return the families that fall too far."""
        return [c for c in candidate.comparisons if c.falls(self.tolerance, self.best.get(c.family))]

    def lost(self, candidate: Candidate) -> list[StoredTrialsLoss]:
        """Return the families that cannot be played and of which too much is lost."""
        return [loss for loss in candidate.losses if loss.is_beyond]

    def passes(self, candidate: Candidate) -> bool:
        """Return whether the candidate may be published."""
        return not self.fallen(candidate) and not self.lost(candidate)

    def failing(self, candidate: Candidate) -> list[str]:
        """Return the names of the families for which the candidate may not be published."""
        return [*(c.family for c in self.fallen(candidate)), *(loss.family for loss in self.lost(candidate))]

    def choose(self, candidates: Sequence[Candidate]) -> Candidate:
        """Return the candidate with the highest mean value among those that pass, or among all if none passes."""
        passed = [candidate for candidate in candidates if self.passes(candidate)]
        return max(passed or candidates, key=lambda candidate: candidate.mean_value)
