"""Few-shot learners without a daemon.

Shapes: M tasks, N held-out tasks, Q query examples, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from agent.experiments.costs import processor_seconds
from agent.experiments.given_settings import with_settings
from agent.experiments.scores import HeldOutScores, Measure
from agent.experiments.trainable import TASKS_OF_A_SEED, family_as_learned
from agent.learners.config_json import config_to_json
from agent.learners.factory import build, restore
from agent.learners.protocol import FewShotLearner
from agent.learners.recipes import Recipe
from agent.learners.unadapted import without_adaptation
from agent.policies.image_classifier import FewShotPolicy
from agent.policies.version_file import encode_version
from agent.policies.version_header import FewShotMember, KnownFewShotFamily, VersionHeader
from agent.policies.views import ViewConfig
from envs.family import FamilySpec, Split
from envs.few_shot.images.folder import ImageFamily
from envs.few_shot.tasks import FewShotBatch, FewShotFamily, FewShotShapes

NUMBERS_AT_ONCE = 250_000
"""Largest number of input values that are scored at once, to limit memory."""

MOST_TASKS_AT_ONCE = 500


@dataclass(frozen=True)
class FewShotCase:
    """An assignment of a few-shot learner to a few-shot family.

    Attributes:
        spec: the family as declared.
        family: the open family, whose held-out tasks give the scores.
        recipe: the default training of the learner.
        given: settings that override the recipe's.
        seed: seed of the initial parameters and of the training tasks.
    """

    spec: FamilySpec
    family: FewShotFamily
    recipe: Recipe
    given: tuple[str, ...] = ()
    seed: int = 0

    @property
    def learner(self) -> str:
        """The learner's name."""
        return self.recipe.learner

    @property
    def measure(self) -> Measure:
        """Accuracy in classification, squared error in regression."""
        return Measure.ACCURACY if self.family.is_classification else Measure.SQUARED_ERROR

    @cached_property
    def training(self) -> FewShotFamily:
        """The family that gives the training tasks, by the recipe."""
        return self.recipe.training_tasks(self.family)

    @cached_property
    def shapes(self) -> FewShotShapes:
        """The shapes of the training tasks."""
        return FewShotShapes.of(self.training)

    def describe(self) -> dict[str, Any]:
        """Return everything that determines the course of a run."""
        return {
            "learner": self.learner,
            "family": family_as_learned(self.spec),
            "settings": config_to_json(self.config(1)),
            "tasks_per_update": self.recipe.tasks_per_update,
            "training_ways": self.training.ways,
            "seed": self.seed,
        }

    def config(self, planned_updates: int) -> Any:
        """Return the learner's settings for a run of ``planned_updates`` updates."""
        return with_settings(self.recipe.config(planned_updates), self.given, learner=self.learner)

    def begin(self, planned_updates: int) -> TrainableFewShotLearner:
        """Return a new trainee."""
        generator = torch.Generator().manual_seed(self.seed)
        learner = build(self.learner, self.shapes, self.config(planned_updates), generator=generator)
        return TrainableFewShotLearner(self, learner, next_task=self.seed * TASKS_OF_A_SEED)

    def go_on(
        self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], planned_updates: int
    ) -> TrainableFewShotLearner:
        """Return the trainee restored from the tensors and the meta values that it wrote."""
        config = config_to_json(self.config(planned_updates))
        return TrainableFewShotLearner(
            self, restore(tensors, {**meta["learner"], "config": config}), next_task=meta["next_task"]
        )

    def processor_seconds(self) -> float:
        """Return the processor time of this thread in seconds, because a few-shot family has no worker."""
        return processor_seconds()


class TrainableFewShotLearner:
    """A run of a few-shot learner.

    Args:
        assignment: learner, family, settings and seed.
        learner: the learner in its present state.
        next_task: index of the next training task.
    """

    def __init__(self, assignment: FewShotCase, learner: FewShotLearner, *, next_task: int) -> None:
        self.assignment = assignment
        self.learner = learner
        self.next_task = next_task

    @property
    def num_updates(self) -> int:
        """The number of outer steps taken."""
        return self.learner.num_updates

    def update(self) -> dict[str, float]:
        """Take one outer step on the next training tasks."""
        num_tasks = self.assignment.recipe.tasks_per_update
        batch = self.assignment.training.sample(num_tasks, split=Split.TRAINING, first_task=self.next_task)
        self.next_task += num_tasks
        return self.learner.update(batch)

    def score(self, num_tasks: int, *, progress: Callable[[int], None]) -> HeldOutScores:
        """Return the scores on the first held-out tasks."""
        initial = without_adaptation(self.learner)
        adapted, unadapted, size = [], [], _tasks_at_once(self.assignment.family)
        for first in range(0, num_tasks, size):
            count = min(size, num_tasks - first)
            batch = self.assignment.family.sample(count, split=Split.HELD_OUT, first_task=first)
            adapted.append(self._task_scores(self.learner, batch))
            if initial is not None:
                unadapted.append(self._task_scores(initial, batch))
            progress(first + count)
        return HeldOutScores(adapted=torch.cat(adapted), unadapted=torch.cat(unadapted) if unadapted else None)

    def _task_scores(self, learner: FewShotLearner, batch: FewShotBatch) -> Float[Tensor, " M"]:
        outputs = learner.adapt(batch.support_x, batch.support_y)(batch.query_x)
        if self.assignment.family.is_classification:
            return (outputs.argmax(2) == batch.query_y).float().mean(1)
        return (outputs - batch.query_y).square().mean((1, 2))

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the whole state."""
        return self.learner.to_tensors()

    def to_meta(self) -> dict[str, Any]:
        """Return the rest of the state as JSON values."""
        return {"learner": self.learner.to_meta(), "next_task": self.next_task}

    def export(self, provenance: Mapping[str, Any]) -> bytes:
        """Return the initialization; for image families, in the form that `learnd few-shot predict` loads.

        The exported policy uses one view of each image, as in scoring. It differs from scoring in one point: each query
        is classified separately, while the learner was scored on all queries of a task together.
        """
        family = self.assignment.family
        if isinstance(family, ImageFamily):
            views, extent = ViewConfig(count=1, orientations=1), family.ink_extent
            policy = FewShotPolicy([self.learner], views=views, ink_extent=extent, provenance=provenance)
            return policy.to_bytes(family=self.assignment.spec.name)
        member = FewShotMember(prefix="", meta=self.learner.to_meta())
        known = KnownFewShotFamily(members=(member,), provenance=provenance)
        header = VersionHeader(
            learner=self.assignment.learner, few_shot_families={self.assignment.spec.name: known}, provenance=provenance
        )
        return encode_version(header, self.learner.initialization())

    def close(self) -> None:
        """Do nothing, because a few-shot family has no resources to release."""


def _tasks_at_once(family: FewShotFamily) -> int:
    examples = family.ways * (family.shots + family.queries)
    numbers = examples * torch.Size(family.input_shape).numel()
    return max(1, min(MOST_TASKS_AT_ONCE, NUMBERS_AT_ONCE // numbers))
