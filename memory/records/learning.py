"""Learning curves and learner steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from memory.records.families import FamilyTotals
from memory.records.trials import TrialRecord

if TYPE_CHECKING:  # Importing numpy takes 80 ms; a reader of states and totals does not need it.
    from numpy.typing import NDArray


class CurveMetric(StrEnum):
    """A quantity that a point of a learning curve measures."""

    EVAL_SCORE = "eval_score"
    """Held-out score; only of a family with a scale."""

    EVAL_RETURN = "eval_return"
    """Held-out mean trial return; of every family."""

    TRIAL_RETURN = "trial_return"
    EPISODE_RETURN = "episode_return"
    """Held-out return of one episode of the trial; the label is the episode's index from 0.

    For a few-shot family: the held-out return after a number of shots; the label is that number.
    """

    ZERO_SHOT_SCORE = "zero_shot_score"
    """Held-out score before the first practice; the label is what the policy began with. Only of a family with a scale.
    """

    ZERO_SHOT_RETURN = "zero_shot_return"
    """Held-out mean trial return before the first practice; the label is what the policy began with."""

    MET_RETURN = "met_return"
    """Return of the first episode in training tasks that were met before; of a family whose tasks recur.

    The label is ``memory`` if trials begin with what the store holds of their tasks, and ``empty`` if they begin empty.
    """

    MET_TRIAL_RETURN = "met_trial_return"
    """Return of the whole trial in the same tasks, with the same labels."""

    FRESH_RETURN = "fresh_return"
    """Held-out mean trial return of a policy that learned nothing; measured once, before the first practice."""

    FORWARD_TRANSFER = "forward_transfer"
    """Score before the first practice minus that of a policy that learned nothing. Only of a family with a scale."""

    PERFORMANCE = "performance"
    """Mean score of a family's last evaluations (``agent.reports.continual``).

    Of a family without a scale, in units of what it had reached above random actions.
    """

    FORGETTING = "forgetting"
    """Score that a family had reached minus its ``PERFORMANCE``, in the same units."""

    LENT_SCORE = "lent_score"
    """Held-out score of another family's learner on a family that was never practised; the label is that family."""

    UNCERTAINTY = "uncertainty"
    """Uncertainty of a few-shot learner's posterior on held-out tasks: the predictive entropy in nats (classification)
    or a standard deviation (regression); the label is the number of shots."""

    REHEARSAL_KL = "rehearsal_kl"
    """KL in nats per step of the present policy from the family's teacher, on stored trials: what is being lost of the
    family while others are practised."""

    REHEARSAL_SHARE = "rehearsal_share"
    """Share of a slice's time that rehearsal of other families took; of the practised family."""

    LOSS = "loss"
    """A part of the loss; the label names the part."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """A point of a learning curve.

    Attributes:
        metric: the measured quantity.
        label: the episode, the part of the loss, or another label that the metric defines; empty otherwise.
        value: the mean.
        standard_error: standard error of the mean; None if the value is not a mean over trials.
    """

    metric: CurveMetric
    value: float
    label: str = ""
    standard_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class StoredCurvePoint:
    """A curve point with its position on the axes.

    Attributes:
        env_steps: the family's environment steps at the time of the measurement.
        meta_updates: the family's meta-updates at the time of the measurement.
        at: time of the measurement.
        learner_steps: number of learner steps of the store at the time of the measurement: a time axis common to all
            families. None if it is not known, for a point that an older learnd recorded.
    """

    family: str
    point: CurvePoint
    env_steps: int
    meta_updates: int
    at: float
    learner_steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class LearnerStep:
    """The results of one slice of practice, committed in one transaction.

    Attributes:
        family: name of the family.
        family_id: id that the family must have to be recorded; None accepts any. Another family may have the name of
            a removed one.
        practised: the amounts to add to the family's totals.
        trials: the trials to keep in episodic memory. They are a sample; the totals count all trials.
        points: curve points at the totals after this step.
        points_of_others: curve points of other families, by their names. Families that were removed are left out.
        started_at, finished_at: wall-clock times.
        detail: JSON values for the record (settings, seed, reason for the choice of the family).
        teacher: parameters and scales of the policy to which rehearsal holds the family from here on; None leaves the
            family's teacher as it is.
    """

    family: str
    practised: FamilyTotals
    trials: tuple[TrialRecord, ...]
    points: tuple[CurvePoint, ...]
    started_at: float
    finished_at: float
    family_id: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    points_of_others: Mapping[str, tuple[CurvePoint, ...]] = field(default_factory=dict)
    teacher: Mapping[str, NDArray[Any]] | None = None
