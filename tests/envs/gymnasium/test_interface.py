"""Tests of the changes between policy and environment: actions, observations and rewards of a batch of tasks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from envs.gymnasium.interface import Interface
from envs.gymnasium.task_drawing import Task
from envs.gymnasium.variations import Distribution, InterfaceChange, Variation, VariationTarget
from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair

VECTOR = ObservationSpec(kind=ObservationKind.VECTOR, size=3)
DISCRETE = ActionSpec(kind=ActionKind.DISCRETE, choices=(3,), start=(0,))
CONTINUOUS = ActionSpec(kind=ActionKind.CONTINUOUS, low=(-1.0, 0.0), high=(1.0, 4.0))
ACTIVE, INACTIVE = torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)


def interface_of(
    *rows: dict[InterfaceChange, Any],
    action: ActionSpec = DISCRETE,
    observation: ObservationSpec = VECTOR,
    longest_delay: float = 3,
) -> Interface:
    """Return an interface of two tasks with the given values."""
    names = dict.fromkeys(name for row in rows for name in row)
    variations = [
        Variation(
            name=name,
            target=VariationTarget.INTERFACE,
            distribution=Distribution.INTEGER,
            high=longest_delay,
        )
        for name in names
    ]
    interface = Interface(variations, SpacePair(observation=observation, action=action), num_trials=2)
    interface.begin(
        [
            Task(
                seed=7 + place,
                attributes={},
                kwargs={},
                reset_options={},
                interface={str(k): v for k, v in row.items()},
            )
            for place, row in enumerate(rows)
        ]
    )
    return interface


def test_without_changes_everything_passes_as_it_is() -> None:
    interface = interface_of({}, {})
    action, observation, reward = torch.tensor([2, 1]), torch.rand(2, 3), torch.rand(2)
    assert not interface.has_changes
    assert interface.change_actions(action, ACTIVE) is action
    assert interface.change_observations(observation) is observation
    assert interface.finish_step(reward, ACTIVE, ACTIVE) is reward


def test_each_row_s_discrete_actions_are_permuted_by_its_own_permutation() -> None:
    interface = interface_of({InterfaceChange.ACTIONS: [[2, 0, 1]]}, {InterfaceChange.ACTIONS: [[0, 2, 1]]})
    assert interface.change_actions(torch.tensor([0, 1]), ACTIVE).tolist() == [2, 2]
    assert interface.change_actions(torch.tensor([2, 0]), ACTIVE).tolist() == [1, 0]


def test_the_choices_of_each_dimension_of_a_multi_discrete_action_are_permuted_apart() -> None:
    several = ActionSpec(kind=ActionKind.MULTI_DISCRETE, choices=(2, 3), start=(0, 0))
    row = {InterfaceChange.ACTIONS: [[1, 0], [1, 2, 0]]}
    interface = interface_of(row, row, action=several)
    assert interface.change_actions(torch.tensor([[0, 0], [1, 2]]), ACTIVE).tolist() == [[1, 1], [0, 0]]


def test_a_sign_mirrors_a_continuous_action_within_its_bounds_and_dimensions_are_permuted() -> None:
    changed = {InterfaceChange.ACTIONS: [[1, 0]], InterfaceChange.ACTION_SIGNS: [1, -1]}
    interface = interface_of(changed, {}, action=CONTINUOUS)
    action = torch.tensor([[0.5, -0.25], [0.5, -0.25]])
    taken = interface.change_actions(action, ACTIVE)
    assert taken.tolist() == [[-0.25, -0.5], [0.5, -0.25]]
    assert CONTINUOUS.to_environment(taken.numpy())[0].tolist() == [-0.25, 1.0]


def test_a_vector_s_values_are_permuted_scaled_and_negated() -> None:
    changed = {
        InterfaceChange.OBSERVATIONS: [[2, 0, 1]],
        InterfaceChange.OBSERVATION_SCALES: [1.0, 2.0, 0.5],
        InterfaceChange.OBSERVATION_SIGNS: [1, 1, -1],
    }
    interface = interface_of(changed, {})
    seen = interface.change_observations(torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]]))
    assert seen.tolist() == [[4.0, 2.0, -1.0], [1.0, 2.0, 4.0]]


def test_the_numbers_of_a_discrete_observation_are_permuted() -> None:
    index = ObservationSpec(kind=ObservationKind.DISCRETE, size=4)
    interface = interface_of({InterfaceChange.OBSERVATIONS: [[3, 1, 0, 2]]}, {}, observation=index)
    assert interface.change_observations(torch.tensor([[0.0], [0.0]])).tolist() == [[3.0], [0.0]]


def test_a_scaled_observation_stays_finite() -> None:
    row = {InterfaceChange.OBSERVATION_SCALES: [2.0, 2.0, 2.0]}
    seen = interface_of(row, row).change_observations(torch.full((2, 3), torch.finfo(torch.float32).max))
    assert seen.isfinite().all()


def played(interface: Interface, rewards: list[float], ends: set[int]) -> list[float]:
    """Return the rewards that the policy gets in row 0."""
    paid = []
    for step, reward in enumerate(rewards):
        has_ended = ACTIVE if step in ends else None
        paid.append(interface.finish_step(torch.full((2,), float(reward)), has_ended, ACTIVE)[0].item())
    return paid


def test_a_delayed_reward_comes_steps_later_and_the_end_of_an_episode_pays_the_rest() -> None:
    row = {InterfaceChange.REWARD_DELAY: 2}
    assert played(interface_of(row, row), [1, 2, 3, 4, 5, 6], ends={3}) == [0, 0, 1, 9, 0, 0]


def test_a_delay_of_nothing_and_a_delay_beyond_the_episode_keep_its_return() -> None:
    prompt, late = {InterfaceChange.REWARD_DELAY: 0}, {InterfaceChange.REWARD_DELAY: 3}
    assert played(interface_of(prompt, prompt), [1, 2, 3], ends={2}) == [1, 2, 3]
    assert played(interface_of(late, late), [1, 2, 1, 2], ends={1, 3}) == [0, 3, 0, 3]


def test_a_row_that_is_not_stepped_gets_no_reward_and_loses_none() -> None:
    row = {InterfaceChange.REWARD_DELAY: 1}
    interface = interface_of(row, row)
    interface.finish_step(torch.tensor([5.0, 5.0]), None, ACTIVE)
    assert interface.finish_step(torch.zeros(2), None, INACTIVE).tolist() == [0.0, 0.0]
    assert interface.finish_step(torch.zeros(2), None, ACTIVE).tolist() == [5.0, 5.0]


def test_a_new_task_in_a_row_owes_nothing_of_the_last_one() -> None:
    row = {InterfaceChange.REWARD_DELAY: 1}
    interface = interface_of(row, row)
    interface.finish_step(torch.tensor([5.0, 5.0]), None, ACTIVE)
    interface.begin_row(
        0, Task(seed=1, attributes={}, kwargs={}, reset_options={}, interface={InterfaceChange.REWARD_DELAY: 1})
    )
    assert interface.finish_step(torch.zeros(2), None, ACTIVE).tolist() == [0.0, 5.0]


def taken_actions(interface: Interface, num_steps: int, episode: int) -> tuple[Tensor, Tensor]:
    """Return the policy's actions and those taken, [T] of row 0, with an end after every ``episode`` steps."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.rand(num_steps, generator=generator) * 2 - 1
    taken = []
    for step, action in enumerate(chosen):
        taken.append(interface.change_actions(action.expand(2, 1).clone(), ACTIVE)[0, 0])
        interface.finish_step(torch.zeros(2), ACTIVE if step % episode == episode - 1 else None, ACTIVE)
    return chosen, torch.stack(taken)


ONE_NUMBER = ActionSpec(kind=ActionKind.CONTINUOUS, low=(-1.0,), high=(1.0,))


def test_a_sticky_action_repeats_the_one_taken_before_with_the_task_s_probability() -> None:
    row = {InterfaceChange.STICKY_ACTIONS: 0.25}
    chosen, taken = taken_actions(interface_of(row, row, action=ONE_NUMBER), 4000, episode=4001)
    is_stuck = taken != chosen
    assert is_stuck.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(taken[1:][is_stuck[1:]], taken[:-1][is_stuck[1:]])


def test_the_first_action_of_an_episode_is_never_stuck() -> None:
    row = {InterfaceChange.STICKY_ACTIONS: 0.9}
    chosen, taken = taken_actions(interface_of(row, row, action=ONE_NUMBER), 600, episode=3)
    assert torch.equal(chosen[::3], taken[::3])
    assert not torch.equal(chosen[1::3], taken[1::3])


def test_the_same_task_is_stuck_at_the_same_steps_again() -> None:
    row = {InterfaceChange.STICKY_ACTIONS: 0.5}
    runs = [taken_actions(interface_of(row, row, action=ONE_NUMBER), 50, episode=20)[1] for _ in range(2)]
    assert torch.equal(runs[0], runs[1])
