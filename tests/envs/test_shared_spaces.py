"""All tasks of a family share their spaces: a task with other ones is refused, with what differs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from envs.admission import probe
from envs.errors import FamilySpecError
from envs.family import FamilySpec, Split
from envs.gymnasium.variations import Distribution, Variation, VariationTarget
from tests.envs.environments.environments_of_own_spaces import ACTIONS, OBSERVATIONS
from tests.envs.families import LIMITS, all_active, family, opened


def varying(name: str, target: VariationTarget, **kwargs: Any) -> FamilySpec:
    value = Variation(name="value", target=target, distribution=Distribution.CHOICE, values=(2, 3))
    return family(f"environments_of_own_spaces:{name}", kwargs=kwargs, variations=(value,))


def begin(spec: FamilySpec) -> None:
    tasks = opened(spec, 8)
    try:
        tasks.begin(0, split=Split.TRAINING)
    finally:
        tasks.close()


@pytest.mark.parametrize("target", [VariationTarget.ATTRIBUTE, VariationTarget.KWARG, VariationTarget.RESET_OPTION])
@pytest.mark.parametrize("kind", ACTIONS)
def test_another_action_space_is_refused_with_the_task_and_both_values(kind: str, target: VariationTarget) -> None:
    with pytest.raises(
        FamilySpecError, match=r"training task \d \(value=[23]\) has the action space .* it was "
    ) as caught:
        begin(varying("OwnSpaces", target, action=kind))
    assert "tasks of a family share their spaces" in caught.value.hint


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_another_observation_space_is_refused_with_the_task_and_both_values(kind: str) -> None:
    with pytest.raises(FamilySpecError, match=r"training task \d \(value=[23]\) has the observation space .* it was "):
        begin(varying("OwnSpaces", VariationTarget.KWARG, observation=kind))


def test_the_differing_part_of_a_composite_space_is_named() -> None:
    with pytest.raises(FamilySpecError, match=r"n of observation\['b'\]\[0\] is [23], and it was [23]"):
        begin(varying("OwnSpaces", VariationTarget.KWARG, observation="part"))


def test_a_space_that_is_changed_in_place_is_noticed() -> None:
    with pytest.raises(FamilySpecError, match="upper bound of action"):
        begin(varying("WidensInPlace", VariationTarget.ATTRIBUTE))


def test_a_space_that_changes_in_a_later_episode_of_a_task_is_noticed() -> None:
    tasks = opened(family("environments_of_own_spaces:WidensLater"), 2)
    tasks.begin(0, split=Split.TRAINING)
    for _ in range(7):
        tasks.step(torch.zeros(2, dtype=torch.int64), all_active(2))
    with pytest.raises(FamilySpecError, match="n of action is 3, and it was 2"):
        tasks.step(torch.zeros(2, dtype=torch.int64), all_active(2))


def test_bounds_of_observations_may_differ_for_nothing_is_computed_from_them() -> None:
    begin(varying("OwnObservationBounds", VariationTarget.KWARG))


@pytest.mark.parametrize("target", [VariationTarget.KWARG, VariationTarget.RESET_OPTION])
def test_admission_refuses_a_rare_task_with_other_spaces(target: VariationTarget) -> None:
    rare = Variation(name="value", target=target, distribution=Distribution.CHOICE, values=(2,) * 30 + (3,))
    spec = family("environments_of_own_spaces:OwnSpaces", kwargs={"action": "n"}, variations=(rare,))
    with pytest.raises(FamilySpecError, match="n of action is"):
        probe(spec, limits=LIMITS)
