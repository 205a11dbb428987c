"""Which learners learn which families, and how one is assigned to the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.foreground.few_shot import FewShotAssignment
from agent.foreground.rl2 import RL2, RL2Assignment
from agent.foreground.scores import Measure
from agent.foreground.trainee import Assignment, AssignmentError
from agent.learners.recipes import RECIPES, kind_of, recipe_for
from agent.learners.registry import LEARNERS, canonical_name
from envs.family import FamilySource, FamilySpec
from envs.few_shot.image_folder import ImageFamily
from envs.few_shot.tasks import FewShotFamily
from envs.limits import WorkerLimits
from envs.registry import open_few_shot


@dataclass(frozen=True, kw_only=True)
class OpenFamily:
    """A family that learners are assigned to.

    Attributes:
        spec: as it was declared.
        few_shot: its tasks; None for a family of environments, which each learner opens for itself.
        limits: bounds of its worker, where it has one.
    """

    spec: FamilySpec
    few_shot: FewShotFamily | None
    limits: WorkerLimits

    @property
    def measure(self) -> Measure:
        """What learners of it are scored by."""
        if self.few_shot is None:
            return Measure.EPISODE_RETURN
        return Measure.ACCURACY if self.few_shot.is_classification else Measure.SQUARED_ERROR

    @property
    def learners(self) -> tuple[str, ...]:
        """The learners that can learn it."""
        return (RL2,) if self.few_shot is None else tuple(RECIPES[kind_of(self.few_shot)])


def open_family(spec: FamilySpec, *, limits: WorkerLimits, report: Callable[[int], None] | None = None) -> OpenFamily:
    """Open a family.

    Args:
        spec: as it was declared.
        limits: bounds of its worker, where it has one.
        report: called with the number of images read so far.

    Raises:
        EnvsError: it cannot be opened.
    """
    is_few_shot = spec.source is FamilySource.FEW_SHOT
    return OpenFamily(spec=spec, few_shot=open_few_shot(spec, report=report) if is_few_shot else None, limits=limits)


def assign(learner: str, family: OpenFamily, *, given: Sequence[str] = (), seed: int = 0) -> Assignment:
    """Assign a learner to a family.

    Args:
        learner: its name, or another that people know it by.
        family: an open one.
        given: settings laid over the recipe's, such as ``inner_lr=0.02``.
        seed: of the initial parameters and of the training tasks.

    Raises:
        AssignmentError: there is no such learner, it has no such setting, or it cannot learn such a family.
        RecipeError: no recipe says how it learns such tasks.
    """
    name = canonical_name(learner)
    if name not in {RL2, *LEARNERS}:
        raise AssignmentError(
            operation="choosing learner",
            subject=learner,
            found="there is none of that name.",
            hint=f"There are: {', '.join((RL2, *LEARNERS))}.",
        )
    if family.few_shot is None:
        return _to_environments(name, family, tuple(given), seed)
    return _to_few_shot(name, family.spec, family.few_shot, tuple(given), seed)


def _to_environments(name: str, family: OpenFamily, given: tuple[str, ...], seed: int) -> Assignment:
    if name != RL2:
        raise AssignmentError(
            operation=f"assigning {name} to",
            subject=family.spec.name,
            found="it is a family of environments to act in.",
            hint=f"What learns it: {', '.join(family.learners)}. {name} learns few-shot families.",
        )
    assignment = RL2Assignment(spec=family.spec, limits=family.limits, given=given, seed=seed)
    assignment.config(1)  # so that a wrong setting is refused before anything is begun
    return assignment


def _to_few_shot(
    name: str, spec: FamilySpec, family: FewShotFamily, given: tuple[str, ...], seed: int
) -> FewShotAssignment:
    if name == RL2:
        raise AssignmentError(
            operation=f"assigning {name} to",
            subject=spec.name,
            found="its tasks have a support and a query set, and nothing to act in.",
            hint=f"What learns it: {', '.join(RECIPES[kind_of(family)])}. {name} learns families of environments.",
        )
    recipe = recipe_for(name, kind_of(family))
    training: FewShotFamily = family
    if recipe.training_ways is not None and isinstance(family, ImageFamily):
        training = family.with_training_ways(max(family.ways, recipe.training_ways))
    assignment = FewShotAssignment(spec=spec, family=family, training=training, recipe=recipe, given=given, seed=seed)
    assignment.config(1)  # so that a wrong setting is refused before anything is begun
    return assignment
