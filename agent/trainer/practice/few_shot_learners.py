"""The few-shot learners of a session: one per family, built at its first practice and restored with every checkpoint.

In a checkpoint and in a published version their tensors are named ``few_shot/FAMILY/TENSOR``, in the same file as RL²'s
tensors. The rest of their state is JSON in the metadata.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
import torch
from torch import Tensor

from agent.errors import AgentError
from agent.learners.factory import build, restore
from agent.learners.family_parts import as_part, part_of
from agent.learners.protocol import FewShotLearner
from agent.learners.recipes import Recipe, kind_of, recipe_for
from agent.learners.registry import LEARNERS, canonical_name
from agent.trainer.families import of_kind, shapes_of
from agent.trainer.heartbeat import Heartbeat
from envs.errors import FamilySpecError
from envs.family import Split
from envs.few_shot.tasks import FewShotFamily, FewShotShapes
from envs.kinds import FamilyKind
from envs.registry import open_few_shot
from envs.seeds import seed_of
from memory.records import Family

log = structlog.get_logger(__name__)

LEFT_OF_RATE = 0.1
"""Share of an outer rate that remains after the planned updates, because a service continues to learn."""


class FewShotLearners:
    """The learners and open tasks of the few-shot families.

    Args:
        seed: decides, with the family's name, the initial parameters of its learner.
        planned_updates: updates over which a learner's rate falls.
        device: the device of the learners.
        heartbeat: receives a beat while images are read.
    """

    def __init__(self, *, seed: int, planned_updates: int, device: torch.device, heartbeat: Heartbeat) -> None:
        self._seed = seed
        self._planned_updates = planned_updates
        self._device = device
        self._heartbeat = heartbeat
        self._learners: dict[str, FewShotLearner] = {}
        self._tasks: dict[int, FewShotFamily] = {}

    # Families

    def tasks_of(self, family: Family) -> FewShotFamily:
        """Return the family's tasks. They are opened at the first call and kept open.

        Raises:
            EnvsError: the family's images can no longer be read, or its shapes are no longer those of admission.
        """
        if family.id not in self._tasks:
            tasks = open_few_shot(family.require_spec(), report=lambda _count: self._heartbeat.beat())
            if FewShotShapes.of(tasks) != shapes_of(family):
                raise FamilySpecError(
                    operation="opening family",
                    subject=family.name,
                    found=f"its tasks are {FewShotShapes.of(tasks)}, but it was admitted with {shapes_of(family)}.",
                    hint="Remove the family and add it again.",
                )
            self._tasks[family.id] = tasks
        return self._tasks[family.id]

    def training_tasks_of(self, family: Family) -> FewShotFamily:
        """Return the tasks on which the family is practised, by its learner's recipe."""
        return self.recipe_of(family).training_tasks(self.tasks_of(family))

    def close_tasks(self, family_id: int) -> None:
        """Release a family's tasks."""
        self._tasks.pop(family_id, None)

    @property
    def open_families(self) -> set[int]:
        """The ids of the families whose tasks are open."""
        return set(self._tasks)

    # Learners

    def recipe_of(self, family: Family) -> Recipe:
        """Return the recipe for training the family's learner.

        Raises:
            FamilySpecError: there is no learner of that name, or it cannot learn such tasks.
        """
        try:
            return recipe_for(canonical_name(family.require_spec().learner), kind_of(self.tasks_of(family)))
        except AgentError as error:
            raise FamilySpecError(
                operation="choosing a learner for",
                subject=family.name,
                found=str(error),
                hint="Remove the family and add it again with another --learner.",
            ) from error

    def learner_of(self, family: Family, name: str) -> FewShotLearner:
        """Return the family's learner, built at the first call.

        Args:
            family: the family.
            name: its name within the checkpoint.

        Raises:
            FamilySpecError: there is no learner of that name, it cannot learn such tasks, or it fails on the first one.
        """
        if name not in self._learners:
            self._learners[name] = self._built(family, name)
            log.info("few-shot learner built", family=family.name, learner=self.recipe_of(family).learner)
        return self._learners[name]

    def _built(self, family: Family, name: str) -> FewShotLearner:
        """Build a learner and try it on one task.

        A task that the learner cannot process is reported as a fault of this family, so other families continue.
        """
        recipe = self.recipe_of(family)
        config = _with_a_floor(recipe.config(self._planned_updates))
        generator = torch.Generator().manual_seed(seed_of(self._seed, name))
        task = self.tasks_of(family).sample(1, split=Split.HELD_OUT, first_task=0, device=self._device)
        try:
            learner = build(recipe.learner, shapes_of(family), config, generator=generator, device=self._device)
            learner.adapt(task.support_x, task.support_y)(task.query_x)
        except RuntimeError as error:
            raise FamilySpecError(
                operation="building a learner for",
                subject=family.name,
                found=f"{recipe.learner} fails on its tasks: {error}.",
                hint="Remove the family and add it again with fewer examples or another --learner.",
            ) from error
        return learner

    def lender_to(self, family: Family, others: Iterable[Family]) -> Family | None:
        """Return the most practised other family whose amortised head can classify this family's images, or None.

        Args:
            family: an admitted few-shot family.
            others: all families.
        """
        wanted = shapes_of(family)
        lenders = [
            other
            for other in of_kind(FamilyKind.FEW_SHOT, others)
            if other.id != family.id
            and other.totals.meta_updates > 0
            and _is_amortised(other)
            and (shapes := shapes_of(other)).is_classification
            and wanted.is_classification
            and shapes.input_shape == wanted.input_shape
        ]
        return max(lenders, key=lambda other: other.totals.meta_updates, default=None)

    def keep_only(self, names: set[str]) -> None:
        """Drop the learners of all families except those in ``names``."""
        self._learners = {name: learner for name, learner in self._learners.items() if name in names}

    # State

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of every learner's whole state."""
        return {
            key: tensor
            for name, learner in self._learners.items()
            for key, tensor in as_part(learner.to_tensors(), name).items()
        }

    def to_meta(self) -> dict[str, Any]:
        """Return the rest of every learner's state, as JSON values by family name."""
        return {name: learner.to_meta() for name, learner in self._learners.items()}

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Restore the state that :meth:`to_tensors` and :meth:`to_meta` returned, or published initializations alone.

        Raises:
            KeyError, RuntimeError, ValueError: the tensors do not fit.
            UnknownLearnerError: a learner's name no longer exists.
        """
        self._learners = {
            name: restore(part_of(tensors, name), described, device=self._device) for name, described in meta.items()
        }


def _is_amortised(family: Family) -> bool:
    entry = LEARNERS.get(canonical_name(family.require_spec().learner))
    return entry is not None and entry.is_amortised


def _with_a_floor(config: Any) -> Any:
    """Return the settings with an outer rate that falls to ``LEFT_OF_RATE`` of itself instead of 0."""
    names = {field.name for field in dataclasses.fields(config)}
    if "final_outer_lr_scale" not in names:
        return config
    return dataclasses.replace(config, final_outer_lr_scale=LEFT_OF_RATE)
