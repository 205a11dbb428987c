"""The few-shot learners of a session: one a family, built when it is first practised, restored with every checkpoint.

What they are in a checkpoint and in a published version stands beside RL²'s own tensors, under
``few_shot/FAMILY/TENSOR``; what the tensors do not tell is JSON beside them.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
import torch
from torch import Tensor

from agent.errors import AgentError
from agent.learners.factory import build, restore
from agent.learners.protocol import FewShotLearner
from agent.learners.recipes import Recipe, kind_of, recipe_for
from agent.learners.registry import LEARNERS, canonical_name
from agent.trainer.heartbeat import Heartbeat
from envs.errors import FamilySpecError
from envs.family import FamilySource, FamilySpec, Split
from envs.few_shot.tasks import FewShotFamily, FewShotShapes
from envs.registry import open_few_shot
from memory.records import Family

log = structlog.get_logger(__name__)

PREFIX = "few_shot/"
VERSION_KEY = "few_shot_families"
"""Where a version's file tells of its few-shot families, by their names."""

LEFT_OF_RATE = 0.1
"""Share of an outer rate that is left when the planned updates are over: a service goes on learning."""


class FewShotLearners:
    """Learners and tasks of the few-shot families.

    Args:
        seed: of the learners' first parameters, with the family's name.
        planned_updates: updates over which a learner's rate falls.
        device: where they learn.
        heartbeat: beaten while images are read.
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
        """The family's tasks, opened when they are first wanted and kept open.

        Raises:
            EnvsError: its images cannot be read any more, or its shapes are no longer those of admission.
        """
        if family.id not in self._tasks:
            tasks = open_few_shot(FamilySpec.from_json(family.spec), report=lambda _count: self._heartbeat.beat())
            if FewShotShapes.of(tasks) != shapes_of(family):
                raise FamilySpecError(
                    operation="opening family",
                    subject=family.name,
                    found=f"its tasks are {FewShotShapes.of(tasks)}, and it was admitted with {shapes_of(family)}.",
                    hint="Remove it and add it anew.",
                )
            self._tasks[family.id] = tasks
        return self._tasks[family.id]

    def training_tasks_of(self, family: Family) -> FewShotFamily:
        """The tasks it is practised on, by its learner's recipe."""
        return self.recipe_of(family).training_tasks(self.tasks_of(family))

    def close_tasks(self, family_id: int) -> None:
        """Let go of a family's tasks."""
        self._tasks.pop(family_id, None)

    @property
    def open_families(self) -> set[int]:
        """Ids of the families whose tasks are kept open."""
        return set(self._tasks)

    # Learners

    def recipe_of(self, family: Family) -> Recipe:
        """How the family's learner is trained.

        Raises:
            FamilySpecError: no learner of that name learns such tasks.
        """
        try:
            return recipe_for(canonical_name(str(family.spec["learner"])), kind_of(self.tasks_of(family)))
        except AgentError as error:
            raise FamilySpecError(
                operation="choosing a learner for",
                subject=family.name,
                found=str(error),
                hint="Remove it and add it anew with another --learner.",
            ) from error

    def learner_of(self, family: Family, name: str) -> FewShotLearner:
        """The family's learner, built when it is first wanted.

        Args:
            family: the family.
            name: its name within the checkpoint.

        Raises:
            FamilySpecError: no learner of that name learns such tasks, or the one there is cannot take them.
        """
        if name not in self._learners:
            self._learners[name] = self._built(family, name)
            log.info("few-shot learner built", family=family.name, learner=self.recipe_of(family).learner)
        return self._learners[name]

    def _built(self, family: Family, name: str) -> FewShotLearner:
        """A new learner that has answered one task: what it cannot take is the family's fault, and stops no other."""
        recipe = self.recipe_of(family)
        config = _with_a_floor(recipe.config(self._planned_updates))
        generator = torch.Generator().manual_seed(_seed_of(self._seed, name))
        task = self.tasks_of(family).sample(1, split=Split.HELD_OUT, first_task=0, device=self._device)
        try:
            learner = build(recipe.learner, shapes_of(family), config, generator=generator, device=self._device)
            learner.adapt(task.support_x, task.support_y)(task.query_x)
        except RuntimeError as error:
            raise FamilySpecError(
                operation="building a learner for",
                subject=family.name,
                found=f"{recipe.learner} cannot take its tasks: {error}.",
                hint="Remove it and add it anew with fewer examples or another --learner.",
            ) from error
        return learner

    def lender_to(self, family: Family, others: Iterable[Family]) -> Family | None:
        """The most practised other family whose amortised head can classify this one's images; None if there is none.

        Args:
            family: a few-shot family that was admitted.
            others: all families.
        """
        wanted = shapes_of(family)
        lenders = [
            other
            for other in others
            if other.id != family.id
            and other.totals.meta_updates > 0
            and is_few_shot(other)
            and _is_amortised(other)
            and (shapes := shapes_of(other)).is_classification
            and wanted.is_classification
            and shapes.input_shape == wanted.input_shape
        ]
        return max(lenders, key=lambda other: other.totals.meta_updates, default=None)

    def keep_only(self, names: set[str]) -> None:
        """Forget the learners of families that are gone."""
        self._learners = {name: learner for name, learner in self._learners.items() if name in names}

    # State

    def to_tensors(self) -> dict[str, Tensor]:
        """The whole state of every learner."""
        return {
            key: tensor
            for name, learner in self._learners.items()
            for key, tensor in as_part(learner.to_tensors(), name).items()
        }

    def to_meta(self) -> dict[str, Any]:
        """What the tensors do not tell, as JSON values by family."""
        return {name: learner.to_meta() for name, learner in self._learners.items()}

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Take the state that :meth:`to_tensors` and :meth:`to_meta` gave, or published initializations alone.

        Raises:
            KeyError, RuntimeError, ValueError: the tensors do not fit.
            UnknownLearnerError: a learner is of a name that is not there any more.
        """
        self._learners = {
            name: restore(part_of(tensors, name), described, device=self._device) for name, described in meta.items()
        }


def part_of(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """One family's tensors, by their own names."""
    start = f"{PREFIX}{name}/"
    return {part.removeprefix(start): tensor for part, tensor in tensors.items() if part.startswith(start)}


def as_part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """A family's tensors by the names that they have among all."""
    return {f"{PREFIX}{name}/{part}": tensor for part, tensor in tensors.items()}


def without_parts(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that belong to no few-shot family: RL²'s own."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)}


def is_few_shot(family: Family) -> bool:
    """Return whether the family's tasks are few-shot tasks; never raise, because every job asks it of all families."""
    return family.spec.get("source") == FamilySource.FEW_SHOT


def shapes_of(family: Family) -> FewShotShapes:
    """The shapes of an admitted few-shot family.

    Raises:
        ValueError: the family is not admitted yet.
    """
    if family.spaces is None:
        raise ValueError(f"family {family.name!r} has not been admitted, so its shapes are not known")
    return FewShotShapes.from_json(family.spaces)


def _is_amortised(family: Family) -> bool:
    entry = LEARNERS.get(canonical_name(str(family.spec["learner"])))
    return entry is not None and entry.is_amortised


def _with_a_floor(config: Any) -> Any:
    """The settings, with rates that do not fall to nothing."""
    names = {field.name for field in dataclasses.fields(config)}
    if "final_outer_lr_scale" not in names:
        return config
    return dataclasses.replace(config, final_outer_lr_scale=LEFT_OF_RATE)


def _seed_of(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7], "big")
