"""The return of a few-shot task: a number that grows with the quality of its answers, comparable to a trial's return.

Classification: the share of queries whose class is the most likely one. Regression: minus the mean squared error.

Shapes: M tasks, S support examples, Q query examples, N ways, K shots, O outputs (N, or the target's width D).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from envs.family import Split
from envs.few_shot.tasks import FewShotBatch, FewShotFamily, num_ways_of

CHANCE_TASKS = 1024
SHOT_COUNTS = (1, 2, 5, 10, 20, 50)
"""Numbers of shots, below a family's own, at which adaptation is evaluated."""


@dataclass(frozen=True, kw_only=True)
class Chance:
    """The expected return of a predictor that has learned nothing and does not use the support set.

    Attributes:
        mean: 1/N in classification; in regression minus the squared error of the targets' mean, the best constant.
        standard_error: standard error of ``mean``; 0 if it is exact.
    """

    mean: float
    standard_error: float


def task_returns(
    outputs: Float[Tensor, "M Q O"], targets: Shaped[Tensor, "M Q *D"], *, is_classification: bool
) -> Float[Tensor, " M"]:
    """Return each task's return.

    Args:
        outputs: logits in classification, means in regression.
        targets: the queries' class indices, or values.
        is_classification: whether targets are classes.
    """
    if is_classification:
        return (outputs.argmax(2) == targets).to(torch.float32).mean(1)
    return -(outputs - targets).square().flatten(1).mean(1)


def chance_of(family: FewShotFamily) -> Chance:
    """Return the chance level of a family's tasks."""
    if family.is_classification:
        return Chance(mean=1.0 / family.ways, standard_error=0.0)
    targets = family.sample(CHANCE_TASKS, split=Split.TRAINING, first_task=0).query_y
    errors = (targets - targets.mean((0, 1))).square().flatten(1).mean(1)
    return Chance(mean=-float(errors.mean()), standard_error=float(errors.std()) / math.sqrt(len(errors)))


def charted_shots(num_shots: int) -> tuple[int, ...]:
    """Return the numbers of shots at which adaptation is evaluated: 1, 2, 5, … and the family's own."""
    return (*(count for count in SHOT_COUNTS if count < num_shots), num_shots)


def with_shots(batch: FewShotBatch, num_shots: int, *, is_classification: bool) -> FewShotBatch:
    """Return the same tasks with only the first support examples (of each class in classification).

    Args:
        batch: tasks whose classes have equally many support examples.
        num_shots: at most the number of the tasks.
        is_classification: whether targets are classes.
    """
    if not is_classification:
        kept = torch.arange(num_shots, device=batch.support_x.device).expand(batch.num_tasks, -1)
    else:
        order = batch.support_y.argsort(dim=1, stable=True)
        kept = order.view(batch.num_tasks, num_ways_of(batch.support_y), -1)[:, :, :num_shots].flatten(1)
    rows = torch.arange(batch.num_tasks, device=kept.device).unsqueeze(1)
    return FewShotBatch(
        support_x=batch.support_x[rows, kept],
        support_y=batch.support_y[rows, kept],
        query_x=batch.query_x,
        query_y=batch.query_y,
    )
