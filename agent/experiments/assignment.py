"""Assigning learners to the families that they can learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.experiments.scores import Measure
from agent.experiments.trainable import ExperimentCase, ExperimentCaseError
from agent.learners.registry import RL2, acting_learners, canonical_name, names_where
from envs.family import FamilySource, FamilySpec
from envs.few_shot.tasks import FewShotFamily
from envs.gymnasium.automatic_variations import complete
from envs.limits import WorkerLimits
from envs.registry import open_few_shot


@dataclass(frozen=True, kw_only=True)
class OpenFamily:
    """A family to which learners are assigned.

    Attributes:
        spec: the family as declared.
        few_shot: the family's few-shot tasks; None for a family of environments, which each learner opens itself.
        limits: limits of the family's worker, if it has one.
    """

    spec: FamilySpec
    few_shot: FewShotFamily | None
    limits: WorkerLimits

    @property
    def measure(self) -> Measure:
        """The measure by which learners of the family are scored."""
        if self.few_shot is None:
            return Measure.EPISODE_RETURN
        return Measure.ACCURACY if self.few_shot.is_classification else Measure.SQUARED_ERROR

    @property
    def learners(self) -> tuple[str, ...]:
        """The names of the learners that can learn the family."""
        if self.few_shot is None:
            return tuple(acting_learners())
        from agent.learners.recipes import RECIPES, kind_of

        return tuple(RECIPES[kind_of(self.few_shot)])


def open_family(spec: FamilySpec, *, limits: WorkerLimits, report: Callable[[int], None] | None = None) -> OpenFamily:
    """Open a family, and complete its automatic variations.

    Args:
        spec: the family as declared.
        limits: limits of the family's worker, if it has one.
        report: called with the number of images read so far.

    Raises:
        EnvsError: the family cannot be opened.
    """
    is_few_shot = spec.source is FamilySource.FEW_SHOT
    spec = complete(spec, limits=limits)
    return OpenFamily(spec=spec, few_shot=open_few_shot(spec, report=report) if is_few_shot else None, limits=limits)


def assign(learner: str, family: OpenFamily, *, given: Sequence[str] = (), seed: int = 0) -> ExperimentCase:
    """Assign a learner to a family.

    Args:
        learner: the learner's name or another known name of it.
        family: an open family.
        given: settings that override the recipe's, such as ``inner_lr=0.02``.
        seed: seed of the initial parameters and of the training tasks.

    Raises:
        ExperimentCaseError: there is no such learner, it has no such setting, or it cannot learn the family.
    """
    name = canonical_name(learner)
    known = names_where(lambda entry: entry.form_of is None)
    if name not in known:
        raise ExperimentCaseError(
            operation="choosing learner",
            subject=learner,
            found="there is no learner of that name.",
            hint=f"The learners are: {', '.join(known)}.",
        )
    if name not in family.learners:
        raise ExperimentCaseError(
            operation=f"assigning {name} to",
            subject=family.spec.name,
            found=f"it cannot learn {_kind(family)}.",
            hint=f"Learners that can: {', '.join(family.learners)}.",
        )
    if family.few_shot is not None:
        return _to_few_shot(name, family.spec, family.few_shot, tuple(given), seed)
    return _to_environments(name, family, tuple(given), seed)


def _kind(family: OpenFamily) -> str:
    """Return the kind of a family's tasks as text."""
    if family.few_shot is None:
        return "environments to act in"
    from agent.learners.recipes import kind_of

    return f"few-shot tasks of {kind_of(family.few_shot)}"


def _to_environments(name: str, family: OpenFamily, given: tuple[str, ...], seed: int) -> ExperimentCase:
    if name == RL2:
        from agent.experiments.rl2 import RL2Assignment

        acting: ExperimentCase = RL2Assignment(spec=family.spec, limits=family.limits, given=given, seed=seed)
    else:
        from agent.experiments.policy_gradient import PolicyCase

        acting = PolicyCase(name, spec=family.spec, limits=family.limits, given=given, seed=seed)
    acting.describe()  # This raises for a wrong setting before anything is begun.
    return acting


def _to_few_shot(
    name: str, spec: FamilySpec, family: FewShotFamily, given: tuple[str, ...], seed: int
) -> ExperimentCase:
    from agent.experiments.few_shot import FewShotCase
    from agent.learners.recipes import kind_of, recipe_for

    recipe = recipe_for(name, kind_of(family))
    assignment = FewShotCase(spec=spec, family=family, recipe=recipe, given=given, seed=seed)
    assignment.describe()  # This raises for a wrong setting before anything is begun.
    return assignment
