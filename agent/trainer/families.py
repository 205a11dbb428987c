"""Values that the trainer derives from a family's row: its name within files, its spaces and numbers of trials."""

from __future__ import annotations

from collections.abc import Iterable

from agent.config.settings import ConsolidationSettings, EvaluationSettings
from envs.family import FamilySource
from envs.few_shot.tasks import FewShotShapes
from envs.kinds import FamilyKind
from envs.pace import UNKNOWN_PACE
from envs.spaces import SpacePair
from memory.records import Family, FamilyState

FEWEST_TRIALS = 4
"""Held-out trials on which the dearest family is scored; fewer give no standard error worth the name."""


def of_kind(kind: FamilyKind, families: Iterable[Family]) -> list[Family]:
    """Return the families of one kind."""
    return [family for family in families if family.kind is kind]


def is_tensor_native(family: Family) -> bool:
    """Return whether the family's tasks are stepped as tensors in the trainer, not by a worker."""
    return family.require_spec().source is FamilySource.TENSOR


def is_played_in_background(family: Family) -> bool:
    """Return whether a worker steps the family while the trainer does something else.

    Tasks that recur are played in the trainer's own thread, because trials begin with what those before them left.
    """
    return not is_tensor_native(family) and not family.require_spec().recurring


def patience_with(family: Family) -> bool | None:
    """Return how the trainer waits for a play of a family: see ``is_patient`` of ``BackgroundPlays.run``.

    A family that failed is not waited for, because it may hang or fail again.
    """
    return False if family.strikes else None


def can_be_played(family: Family, *, max_strikes: int) -> bool:
    """Return whether a practised family can be scored: it is active, or paused with fewer than ``max_strikes``.

    A paused family is not quarantined, so its strikes tell whether its environment is broken.
    """
    is_paused_sound = family.state is FamilyState.PAUSED and family.strikes < max_strikes
    return family.totals.meta_updates > 0 and (family.state is FamilyState.ACTIVE or is_paused_sound)


def held_out_trials(family: Family, section: EvaluationSettings | ConsolidationSettings) -> int:
    """Return the number of held-out trials (few-shot: tasks) on which a family is scored.

    It is that of a section of the settings. A family that a worker steps is scored on fewer trials if these would take
    longer than the section allows, at the usual speed of its environment.
    """
    source = family.require_spec().source
    if source is FamilySource.GYMNASIUM:
        return affordable_trials(family, most=section.trials_gymnasium, within_s=section.max_s)
    return section.trials_tensor if source is FamilySource.TENSOR else section.trials_few_shot


def affordable_trials(family: Family, *, most: int, within_s: float) -> int:
    """Return the number of trials that can be played within a time, ``FEWEST_TRIALS`` to ``most``.

    Args:
        family: a family that a worker steps.
        most: the number if time allows, or if the family's speed or the length of its trials is not known.
        within_s: the time, in seconds.
    """
    totals, pace = family.totals, family.pace or UNKNOWN_PACE
    # Long trials may not have ended yet.
    steps = totals.env_steps / max(1, totals.trials) if totals.env_steps else pace.trial_steps
    if pace.steps_per_s is None or steps is None:
        return most
    trial_s = steps / pace.steps_per_s
    return min(most, max(FEWEST_TRIALS, int(within_s / max(trial_s, 1e-9))))


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
