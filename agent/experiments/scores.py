"""Measures and scores of learners on held-out tasks, and their form as text. Imports without torch.

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
    """The measure by which learners are scored on held-out tasks."""

    ACCURACY = "accuracy"
    """Share of correctly classified queries, after adaptation to the support set."""

    SQUARED_ERROR = "squared_error"
    """Mean squared error on the queries, after adaptation to the support set; smaller is better."""

    EPISODE_RETURN = "episode_return"
    """Return of one episode, after the learner has adapted to the task."""

    @property
    def is_larger_better(self) -> bool:
        """Return whether larger values are better."""
        return self is not Measure.SQUARED_ERROR

    @property
    def label(self) -> str:
        """The measure's name in tables and plots."""
        return _LABELS[self]

    @property
    def scale(self) -> float:
        """The factor from values to printed values: accuracies are printed in percent."""
        return 100.0 if self is Measure.ACCURACY else 1.0


_LABELS = {
    Measure.ACCURACY: "accuracy, %",
    Measure.SQUARED_ERROR: "squared error",
    Measure.EPISODE_RETURN: "return of an episode",
}


@dataclass(frozen=True, kw_only=True)
class HeldOutScores:
    """A learner's scores on N held-out tasks, which are the same tasks for every learner of a family.

    Attributes:
        adapted: [N] scores after adaptation.
        unadapted: [N] scores before adaptation; None if the learner has no answer before it has seen a support set.
        beside: [N] other measures of the same tasks, by name.
    """

    adapted: Float[Tensor, " N"]
    unadapted: Float[Tensor, " N"] | None = None
    beside: Mapping[str, Float[Tensor, " N"]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over held-out tasks.

    Attributes:
        mean: mean of one value per task.
        half_width: half the width of the mean's 95% interval, by the normal approximation.
        num_tasks: number of tasks.
    """

    mean: float
    half_width: float
    num_tasks: int

    @classmethod
    def of(cls, values: Float[Tensor, " N"]) -> Estimate:
        """Return the estimate from one value per task."""
        num_tasks = len(values)
        spread = float(values.std()) / math.sqrt(num_tasks) if num_tasks > 1 else 0.0
        return cls(mean=float(values.mean()), half_width=1.96 * spread, num_tasks=num_tasks)

    def text(self, measure: Measure) -> str:
        """Return the mean ± half the interval's width in the measure's unit, rounded to two digits of the width."""
        mean, half_width = measure.scale * self.mean, measure.scale * self.half_width
        decimals = 2 if half_width <= 0 else max(0, min(5, 1 - math.floor(math.log10(half_width))))
        return f"{mean:.{decimals}f} ± {half_width:.{decimals}f}"
