"""Values that the trainer derives from a family's row: its name within files, its spaces and numbers of trials."""

from __future__ import annotations

from collections.abc import Iterable

from agent.config.settings import ConsolidationSettings, EvaluationSettings
from envs.family import FamilySource
from envs.few_shot.tasks import FewShotShapes
from envs.kinds import FamilyKind
from envs.spaces import SpacePair
from memory.records import Family, FamilyState


def of_kind(kind: FamilyKind, families: Iterable[Family]) -> list[Family]:
    """Return the families of one kind."""
    return [family for family in families if family.kind is kind]


def is_tensor_native(family: Family) -> bool:
    """Return whether the family's tasks are stepped as tensors in the trainer, not by a worker."""
    return family.require_spec().source is FamilySource.TENSOR


def can_be_played(family: Family, *, max_strikes: int) -> bool:
    """Return whether a practised family can be scored: it is active, or paused with fewer than ``max_strikes``.

    A paused family is not quarantined, so its strikes tell whether its environment is broken.
    """
    is_paused_sound = family.state is FamilyState.PAUSED and family.strikes < max_strikes
    return family.totals.meta_updates > 0 and (family.state is FamilyState.ACTIVE or is_paused_sound)


def held_out_trials(family: Family, section: EvaluationSettings | ConsolidationSettings) -> int:
    """Return the number of held-out trials (few-shot: tasks) that a section of the settings has for the family."""
    return {
        FamilySource.TENSOR: section.trials_tensor,
        FamilySource.GYMNASIUM: section.trials_gymnasium,
        FamilySource.FEW_SHOT: section.trials_few_shot,
    }[family.require_spec().source]


def learner_name(family: Family) -> str:
    """Return the family's name within checkpoints and versions.

    It includes the id, so a family that is added again under an old name gets another one.
    """
    return f"{family.name}@{family.id}"


def family_id(learner_name: str) -> int:
    """Return the id of the family that has this name within checkpoints and versions."""
    return int(learner_name.rpartition("@")[2])


def spaces_of(family: Family) -> SpacePair:
    """Return the spaces of an admitted family of environments.

    Raises:
        ValueError: the family is not admitted yet.
    """
    if family.spaces is None:
        raise ValueError(f"family {family.name!r} has not been admitted, so its spaces are unknown")
    return SpacePair.from_json(family.spaces)


def shapes_of(family: Family) -> FewShotShapes:
    """Return the shapes of an admitted few-shot family.

    Raises:
        ValueError: the family is not admitted yet.
    """
    if family.spaces is None:
        raise ValueError(f"family {family.name!r} has not been admitted, so its shapes are unknown")
    return FewShotShapes.from_json(family.spaces)
