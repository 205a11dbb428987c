"""What a slice of practice becomes: one learner step and its report, or nothing where an update diverged."""

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
    """An update left a parameter or a loss that is not a finite number; the slice was thrown away."""


def refuse_divergence(
    session: TrainerSession, name: str, metrics: Mapping[str, float], *, has_finite_parameters: bool = True
) -> None:
    """Go back to the last commit where an update gave a value that is not finite.

    Args:
        session: whose learner was updated.
        name: the family's name within the checkpoint.
        metrics: of the update.
        has_finite_parameters: whether what was updated is still finite.

    Raises:
        DivergedError: it was not; the state is that of the last commit.
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
    """The step that commits a slice, which ends now.

    Args:
        session: whose clock tells when.
        family: what was practised.
        practised: how much.
        returns: of the trials played.
        losses: each part's, update by update; their means are charted.
        trials: what episodic memory keeps.
        started_at: when the slice began, seconds since the epoch.
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
    """What a practise job tells control of the step that it committed."""
    return {
        "env_steps": step.practised.env_steps,
        "trials": step.practised.trials,
        "meta_updates": step.practised.meta_updates,
        "trial_return": next(point.value for point in step.points if point.metric is CurveMetric.TRIAL_RETURN),
    }
