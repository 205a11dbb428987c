"""The end of a slice of practice: one learner step and its report, or a return to the last commit if it diverged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from agent.learners.evaluation.trials import standard_error
from agent.trainer.session import TrainerSession
from memory.records import CurveMetric, CurvePoint, Family, FamilyTotals, LearnerStep, TrialRecord


class DivergedError(Exception):
    """An update gave a parameter or a metric that is not finite; the slice was discarded."""


def refuse_divergence(
    session: TrainerSession, name: str, metrics: Mapping[str, float], *, has_finite_parameters: bool = True
) -> None:
    """Restore the last commit and raise if an update gave a value that is not finite.

    Args:
        session: the session whose learner was updated.
        name: the family's name within the checkpoint.
        metrics: the metrics of the update.
        has_finite_parameters: whether the updated parameters are finite.

    Raises:
        DivergedError: a value is not finite; the state is that of the last commit.
    """
    if has_finite_parameters and all(math.isfinite(value) for value in metrics.values()):
        return
    session.restore_last_commit()
    raise DivergedError(f"an update of {name} gave a value that is not finite: {metrics}; restored the last commit")


def learner_step(
    session: TrainerSession,
    family: Family,
    *,
    practised: FamilyTotals,
    returns: Float[Tensor, " N"],
    losses: Mapping[str, Sequence[float]],
    trials: tuple[TrialRecord, ...] = (),
    started_at: float,
    reason: str,
) -> LearnerStep:
    """Return the learner step that commits a slice that ends now.

    Args:
        session: its clock gives the end time.
        family: the practised family.
        practised: the totals of the slice.
        returns: the returns of the trials played.
        losses: the values of each part of the loss, one per update; the curve gets their means.
        trials: the trials that episodic memory stores.
        started_at: start of the slice, in seconds since the epoch.
        reason: why the family was chosen.
    """
    points = [
        CurvePoint(
            metric=CurveMetric.TRIAL_RETURN, value=float(returns.mean()), standard_error=standard_error(returns)
        ),
        *(
            CurvePoint(metric=CurveMetric.LOSS, label=part, value=sum(values) / len(values))
            for part, values in losses.items()
        ),
    ]
    return LearnerStep(
        family=family.name,
        practised=practised,
        trials=trials,
        points=tuple(points),
        started_at=started_at,
        finished_at=session.clock(),
        detail={"reason": reason},
    )


def report_of(step: LearnerStep) -> dict[str, Any]:
    """Return the detail that a practise job reports to the daemon for a committed step."""
    return {
        "env_steps": step.practised.env_steps,
        "trials": step.practised.trials,
        "meta_updates": step.practised.meta_updates,
        "trial_return": next(point.value for point in step.points if point.metric is CurveMetric.TRIAL_RETURN),
    }
