"""Slices of practice: a slice of time ends in one learner step, or in a return to the last commit if it diverged."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from agent.learners.evaluation.trials import standard_error
from agent.learners.state import as_arrays
from agent.messages import PHASE_SECONDS_DETAIL
from agent.trainer.heartbeat import Heartbeat
from memory.records import CurveMetric, CurvePoint, Family, FamilyTotals, LearnerStep, TrialRecord


class DivergedError(Exception):
    """An update gave a parameter or a metric that is not finite; the slice was discarded."""


@dataclass(frozen=True, kw_only=True)
class SliceTime:
    """The start of a slice.

    Attributes:
        started_at: seconds since the epoch.
        began: reading of the monotonic clock, in seconds.
    """

    started_at: float
    began: float

    @property
    def passed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began


@dataclass(frozen=True, kw_only=True)
class Slices:
    """The length, the counters and the end of slices, which are the same for every kind of family.

    Attributes:
        length_s: length of a slice in seconds.
        heartbeat: receives a beat as work advances.
        clock: returns wall-clock time in seconds since the epoch.
        next_task: index of the next training task, by the families' names within the checkpoint.
        commit: commits a learner step with the whole state of the session.
        restore: discards everything since the last commit.
    """

    length_s: float
    heartbeat: Heartbeat
    clock: Callable[[], float]
    next_task: dict[str, int]
    commit: Callable[[LearnerStep], object]
    restore: Callable[[], None]

    def begin(self) -> SliceTime:
        """Return the start of a slice that begins now."""
        return SliceTime(started_at=self.clock(), began=time.monotonic())

    def refuse_divergence(self, name: str, metrics: Mapping[str, float], *, has_finite_parameters: bool = True) -> None:
        """Restore the last commit and raise if an update gave a value that is not finite.

        Args:
            name: the family's name within the checkpoint.
            metrics: the metrics of the update.
            has_finite_parameters: whether the updated parameters are finite.

        Raises:
            DivergedError: a value is not finite; the state is that of the last commit.
        """
        if has_finite_parameters and all(math.isfinite(value) for value in metrics.values()):
            return
        self.restore()
        found = ", ".join(f"{part} {value:g}" for part, value in metrics.items() if not math.isfinite(value))
        found = found or "a parameter or a running scale"
        raise DivergedError(f"an update of {name} gave values that are not finite ({found}); restored the last commit")

    def commit_slice(
        self,
        family: Family,
        *,
        practised: FamilyTotals,
        returns: Float[Tensor, " N"],
        losses: Mapping[str, Sequence[float]],
        trials: tuple[TrialRecord, ...] = (),
        teacher: Mapping[str, Tensor] | None = None,
        points: tuple[CurvePoint, ...] = (),
        points_of_others: Mapping[str, tuple[CurvePoint, ...]] | None = None,
        seconds: Mapping[str, float],
        started_at: float,
        reason: str,
    ) -> dict[str, Any]:
        """Commit a slice that ends now as one learner step, and return the report of the practise job.

        Args:
            family: the practised family.
            practised: the totals of the slice.
            returns: the returns of the trials that ended. Without any, the curve gets no point.
            losses: the values of each part of the loss, one per update; the curve gets their means.
            trials: the trials that episodic memory stores.
            teacher: the policy to which rehearsal holds the family from here on.
            points: further curve points of the family.
            points_of_others: curve points of other families, by their names.
            seconds: the time that each phase of the slice took; that of the commit is added.
            started_at: start of the slice, in seconds since the epoch.
            reason: why the family was chosen.
        """
        step = LearnerStep(
            family=family.name,
            family_id=family.id,
            practised=practised,
            trials=trials,
            teacher=None if teacher is None else as_arrays(teacher),
            points=(*_points(returns, losses), *points),
            points_of_others=points_of_others or {},
            started_at=started_at,
            finished_at=self.clock(),
            detail={"reason": reason},
        )
        return _report(step, {**seconds, "commit": self._commit(step)})

    def _commit(self, step: LearnerStep) -> float:
        """Commit a learner step; return the seconds that it took."""
        began = time.monotonic()
        self.commit(step)
        return time.monotonic() - began

    def commit_repair(self, family: Family, *, started_at: float, teacher: Mapping[str, Tensor] | None = None) -> None:
        """Commit a learner that was repaired, as a learner step without practice.

        Args:
            family: the family on which a candidate fell.
            started_at: start of the repair, in seconds since the epoch.
            teacher: the policy to which rehearsal holds the family from here on; None leaves it as it is.
        """
        nothing = FamilyTotals(env_steps=0, episodes=0, trials=0, meta_updates=0)
        detail = {"reason": "repaired before publishing"}
        self.commit(
            LearnerStep(
                family=family.name,
                family_id=family.id,
                practised=nothing,
                trials=(),
                points=(),
                teacher=None if teacher is None else as_arrays(teacher),
                started_at=started_at,
                finished_at=self.clock(),
                detail=detail,
            )
        )


def _points(returns: Float[Tensor, " N"], losses: Mapping[str, Sequence[float]]) -> tuple[CurvePoint, ...]:
    trial_returns = () if len(returns) == 0 else (_trial_return(returns),)
    means = {part: sum(values) / len(values) for part, values in losses.items()}
    return (
        *trial_returns,
        *(CurvePoint(metric=CurveMetric.LOSS, label=part, value=mean) for part, mean in means.items()),
    )


def _trial_return(returns: Float[Tensor, " N"]) -> CurvePoint:
    return CurvePoint(
        metric=CurveMetric.TRIAL_RETURN, value=float(returns.mean()), standard_error=standard_error(returns)
    )


def _report(step: LearnerStep, seconds: Mapping[str, float]) -> dict[str, Any]:
    return {
        "env_steps": step.practised.env_steps,
        "trials": step.practised.trials,
        "meta_updates": step.practised.meta_updates,
        "trial_return": next((point.value for point in step.points if point.metric is CurveMetric.TRIAL_RETURN), None),
        PHASE_SECONDS_DETAIL: {phase: round(value, 4) for phase, value in seconds.items()},
    }
