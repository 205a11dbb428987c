"""The reference return of a family, which scores 1: the rule by which it is found, and a measured one's provenance."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from envs.json_fields import COUNT, NUMBER, TEXT, FieldTypes, checked_fields


class ReferenceRule(StrEnum):
    """A rule for the reference of a family for which no return is declared."""

    THRESHOLD = "threshold"
    """The reward threshold that is registered with Gymnasium; without one, a measurement if steps are given for it."""

    PPO = "ppo"
    """A measurement, also if a threshold is registered."""

    NONE = "none"
    """No reference: the family has returns and no scores."""


REFERENCE_FORM = "a number, ppo, ppo:STEPS or none"
_PPO = re.compile(r"ppo(?::(?P<steps>\d{1,12}))?")


@dataclass(frozen=True, kw_only=True)
class ReferenceChoice:
    """The user's choice of a family's reference.

    Attributes:
        declared: the trial return that scores 1; None if none was declared.
        rule: the rule where no return is declared.
        steps: environment steps of training for a measured reference; 0 for no measurement.
    """

    declared: float | None = None
    rule: ReferenceRule = ReferenceRule.THRESHOLD
    steps: int = 0

    @property
    def is_asked_for(self) -> bool:
        """Return whether the user asked for a measurement."""
        return self.rule is ReferenceRule.PPO


def read_reference(text: str, *, steps: int) -> ReferenceChoice:
    """Return the choice that a text describes: a return, ``ppo``, ``ppo:STEPS`` or ``none``.

    Args:
        text: the text.
        steps: the steps of ``ppo`` without a number.

    Raises:
        ValueError: the text has none of these forms; the message says so.
    """
    word = text.strip().lower()
    if word == "none":
        return ReferenceChoice(rule=ReferenceRule.NONE)
    if match := _PPO.fullmatch(word):
        given = steps if match["steps"] is None else int(match["steps"])
        if given < 1:
            raise ValueError(f"{text!r} trains for no step; write ppo:100000")
        return ReferenceChoice(rule=ReferenceRule.PPO, steps=given)
    try:
        declared = float(word)
    except ValueError:
        declared = math.nan
    if not math.isfinite(declared):
        raise ValueError(f"{text!r} is not {REFERENCE_FORM}")
    return ReferenceChoice(declared=declared)


@dataclass(frozen=True, kw_only=True)
class MeasuredReference:
    """A reference return that a trained agent earned on held-out tasks, with its provenance.

    Attributes:
        mean_return: mean trial return on the held-out tasks.
        standard_error: standard error of ``mean_return``.
        agent: the algorithm ("PPO").
        library: the library and its version.
        steps: environment steps of training.
        seed: seed of the agent.
        first_task: index of the first held-out task.
        num_tasks: number of held-out tasks, one trial each.
        duration_s: duration of training and evaluation, without interruptions.
        measured_at: time of the measurement, in seconds since the epoch.
        num_resumed: number of times that training went on from a checkpoint after an interruption.
    """

    mean_return: float
    standard_error: float
    agent: str
    library: str
    steps: int
    seed: int
    first_task: int
    num_tasks: int
    duration_s: float
    measured_at: float
    num_resumed: int = 0

    @classmethod
    def from_json(cls, values: object) -> MeasuredReference:
        """Return the measurement from the values of ``dataclasses.asdict``.

        Raises:
            FamilySpecError: the values are damaged, or a newer version wrote them.
        """
        return cls(**checked_fields(values, FIELD_TYPES, required=REQUIRED, subject="measured reference"))

    @property
    def source(self) -> str:
        """The source of the reference, as text for people."""
        interruptions = f" (interrupted and resumed: {self.num_resumed})" if self.num_resumed else ""
        return (
            f"{self.agent} of {self.library} after {self.steps:,} steps{interruptions}, seed {self.seed}, "
            f"on {self.num_tasks} held-out tasks: {self.mean_return:.4g} ± {self.standard_error:.2g}"
        )


FIELD_TYPES: FieldTypes = {
    "mean_return": NUMBER,
    "standard_error": NUMBER,
    "agent": TEXT,
    "library": TEXT,
    "steps": COUNT,
    "seed": COUNT,
    "first_task": COUNT,
    "num_tasks": COUNT,
    "duration_s": NUMBER,
    "measured_at": NUMBER,
    "num_resumed": COUNT,
}
"""The JSON types of the fields of a :class:`MeasuredReference`."""

REQUIRED = FIELD_TYPES.keys() - {"num_resumed"}
"""The fields that every stored measurement has; those of earlier versions were never resumed."""
