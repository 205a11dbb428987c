"""What learners are scored by on held-out tasks, and how a score is told. Loads without torch.

Shapes: N held-out tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Measure(StrEnum):
    """What a learner is scored by on held-out tasks."""

    ACCURACY = "accuracy"
    """Share of queries told right, after the support set was shown."""

    SQUARED_ERROR = "squared_error"
    """Mean squared error on the queries, after the support set was shown; smaller is better."""

    EPISODE_RETURN = "episode_return"
    """Return of one episode, after the learner has adapted to the task."""

    @property
    def is_larger_better(self) -> bool:
        """Whether more is better."""
        return self is not Measure.SQUARED_ERROR

    @property
    def label(self) -> str:
        """What people call it."""
        return _LABELS[self]

    @property
    def scale(self) -> float:
        """What a value is multiplied by for people: accuracies are told in percent."""
        return 100.0 if self is Measure.ACCURACY else 1.0


_LABELS = {
    Measure.ACCURACY: "accuracy, %",
    Measure.SQUARED_ERROR: "squared error",
    Measure.EPISODE_RETURN: "return of an episode",
}


@dataclass(frozen=True, kw_only=True)
class HeldOutScores:
    """Scores on N held-out tasks, the same ones for every learner of a family.

    Attributes:
        adapted: [N] after adaptation.
        unadapted: [N] before it; None where a learner has no answer before it has seen a support set.
        beside: [N] other measures of the same tasks, by name.
    """

    adapted: Float[Tensor, " N"]
    unadapted: Float[Tensor, " N"] | None = None
    beside: Mapping[str, Float[Tensor, " N"]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over held-out tasks.

    Attributes:
        mean: of one value a task.
        half_width: half the width of its 95% interval, by the normal approximation.
        num_tasks: how many tasks.
    """

    mean: float
    half_width: float
    num_tasks: int

    @classmethod
    def of(cls, values: Float[Tensor, " N"]) -> Estimate:
        """The estimate from one value a task."""
        num_tasks = len(values)
        spread = float(values.std()) / math.sqrt(num_tasks) if num_tasks > 1 else 0.0
        return cls(mean=float(values.mean()), half_width=1.96 * spread, num_tasks=num_tasks)

    def text(self, measure: Measure) -> str:
        """The mean ± half the interval's width in the measure's unit, to two digits of the latter."""
        mean, half_width = measure.scale * self.mean, measure.scale * self.half_width
        decimals = 2 if half_width <= 0 else max(0, min(5, 1 - math.floor(math.log10(half_width))))
        return f"{mean:.{decimals}f} ± {half_width:.{decimals}f}"
