from __future__ import annotations

import math

import pytest
import torch

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.in_trial_memory.keys import Keys
from agent.learners.rl2.in_trial_memory.protocol import empty_memory, read_size
from agent.learners.rl2.in_trial_memory.table import MAX_BEHIND, TableMemory
from agent.learners.rl2.pair import observed_width
from envs.spaces import ActionKind, ActionSpec, SpacePair
from tests.agent.learners.rl2.in_trial_memory.steps import read, similarity, write
from tests.agent.learners.rl2.scripted_tasks import ALL_SPACES, CONTINUOUS, DISCRETE, VECTOR, WIDE


def test_an_exact_match_reads_the_statistics_of_each_action_by_hand() -> None:
    memory = TableMemory(1, 4, DISCRETE.action, episodes_per_trial=5)
    write(memory, [2], 1, 3.0, [0])
    write(memory, [2], 1, 5.0, [3], terminated=True)
    write(memory, [1], 0, 9.0, [0])
    tried, untried = read(memory, [2])[1], read(memory, [2])[0]
    # Two visits in one episode and one more beforehand: a pace of 3 / 2, with 4 of 5 episodes to come.
    # Usual of the trial, with one step of mean 0 and square 1 before it: mean 17 / 4, square 116 / 4.
    width, deviation = math.sqrt(math.log(1 + 6 / 3) / 3), math.sqrt((34 + 29) / 3 - ((8 + 17 / 4) / 3) ** 2)
    reach = width * deviation
    expected = torch.tensor([4.0, math.log(3), 1 / 3, 8 / 3, width / 2, reach, 0.0, 1 / 4])
    torch.testing.assert_close(tried, expected)
    width, deviation = math.sqrt(math.log(1 + 6)), math.sqrt(29 - (17 / 4) ** 2)
    relative = [-8 / 3 / reach / 4, width * deviation / reach / 4]
    torch.testing.assert_close(untried, torch.tensor([0.0, 0.0, 1.0, 0.0, width / 2, width * deviation, *relative]))
    torch.testing.assert_close(read(memory, [2])[2], untried)


def test_there_is_less_to_find_out_the_oftener_an_action_was_tried_and_the_fewer_visits_are_to_come() -> None:
    memory = TableMemory(1, 1, DISCRETE.action, episodes_per_trial=40)
    widths = []
    for _ in range(39):
        write(memory, [0], 1, 1.0, [0], terminated=True)
        widths.append(read(memory, [0])[:, 4])
    tried, untried = torch.stack(widths)[:, 1], torch.stack(widths)[:, 0]
    assert bool((tried.diff() < 0).all())
    assert bool((untried.diff() < 0).all())
    assert bool((untried > tried).all())


def test_a_gap_weighs_the_more_the_better_the_leading_action_is_known() -> None:
    memory = TableMemory(1, 1, DISCRETE.action, episodes_per_trial=1000)
    gaps = []
    for pull in range(320):
        reward = float(pull % 8 < 6) if pull % 2 else float(pull % 4 == 0)  # three of four against one of two
        write(memory, [0], pull % 2, reward, [0], terminated=True)
        gaps.append(read(memory, [0])[0, 6])
    gap = torch.stack(gaps)[7::8]
    assert bool((gap.diff() < 0).all())
    assert float(gap[-1]) < 2.0 * float(gap[0]) < 0.0


def test_each_dimension_of_an_action_has_its_own_leading_slot() -> None:
    spaces = SpacePair(
        observation=DISCRETE.observation, action=ActionSpec(kind=ActionKind.MULTI_DISCRETE, choices=(2, 3))
    )
    memory = TableMemory(1, 4, spaces.action)
    write(memory, [2], [1, 0], 3.0, [2])
    write(memory, [2], [0, 2], 5.0, [2])
    behind = read(memory, [2])[:, 6]
    assert behind.eq(0.0).tolist() == [True, False, False, False, True]


def test_a_bandits_memory_counts_the_pulls_to_come() -> None:
    memory = TableMemory(1, 1, DISCRETE.action, episodes_per_trial=10)
    for pulled in range(1, 10):
        write(memory, [0], 1, 1.0, [0], terminated=True)
        assert abs(2.0 * float(read(memory, [0])[0, 4]) - math.sqrt(math.log(1 + 10 - pulled))) < 1e-5


def test_trials_that_are_over_are_not_written() -> None:
    for memory, spot in ((TableMemory(1, 4, DISCRETE.action), [2]), (similarity(), [0.0, 0.0, 0.0])):
        write(memory, spot, 1, 3.0, spot, active=False)
        torch.testing.assert_close(read(memory, spot)[:, 1], torch.zeros(len(read(memory, spot))))


def test_planning_finds_the_action_whose_reward_lies_two_steps_away() -> None:
    memory = TableMemory(1, 4, DISCRETE.action, discounts=(0.9,), prior=0.1)
    for _ in range(20):
        write(memory, [0], 0, 0.0, [1])
        write(memory, [0], 1, 0.5, [2])
        for action in range(3):
            write(memory, [1], action, 10.0, [0], terminated=True)
            write(memory, [2], action, 0.0, [0], terminated=True)
    rewards, advantages = read(memory, [0])[:, 0], read(memory, [0])[:, 3]
    assert rewards[1] > rewards[0]
    assert advantages[0] > advantages[1] + 3.0


def test_planning_on_a_known_chain_reaches_the_values_of_value_iteration() -> None:
    memory = TableMemory(1, 2, VECTOR.action, discounts=(0.5,), prior=1e-6)
    for _ in range(400):
        write(memory, [0], 0, 1.0, [1])
        write(memory, [1], 0, 2.0, [0])
        write(memory, [0], 1, 0.0, [0])
        write(memory, [1], 1, -4.0, [1])
    # V(0) = 1 + V(1)/2 and V(1) = 2 + V(0)/2, so V(0) = 8/3; it is read as (1 - γ) V.
    assert abs(float(read(memory, [0])[0, 5]) - 0.5 * 8 / 3) < 0.01


KNOWN_ADVANTAGE, KNOWN_VALUE = 4, 6
"""Places of the plan over known ways in a read of a memory with one discount."""


def test_a_way_that_was_gone_once_leads_back_to_a_distant_reward() -> None:
    memory = TableMemory(1, 8, DISCRETE.action, discounts=(0.95,))
    for cell in range(6):
        write(memory, [cell], 1, 0.0, [cell + 1])
    for _ in range(40):
        write(memory, [6], 2, 1.0, [6])
    first = read(memory, [0])
    # 40 sweeps at the goal: V(6) = (1 - γ^40) / (1 - γ), less the sweeps that the way back takes.
    value = 0.95**6 * (1 - 0.95**34) / 0.05
    assert abs(float(first[0, KNOWN_VALUE]) - 0.05 * value) < 1e-4
    assert first[:, KNOWN_ADVANTAGE].tolist() == [
        -MAX_BEHIND,
        0.0,
        -MAX_BEHIND,
    ]  # untried actions are worth 0, and bounded
    with_prior = first[:, 3]
    assert float(with_prior[1]) < float(with_prior[0])  # with a prior, the untried actions look better


def test_untried_actions_are_no_better_than_a_known_way_that_costs() -> None:
    memory = TableMemory(1, 8, DISCRETE.action, discounts=(0.95,))
    for _ in range(3):
        for cell in range(5):
            write(memory, [cell], 1, -1.0, [cell + 1], terminated=cell == 4)
    first = read(memory, [0])
    assert abs(float(first[0, KNOWN_VALUE]) + 1 - 0.95**5) < 1e-5
    assert first[:, KNOWN_ADVANTAGE].tolist() == [-MAX_BEHIND, 0.0, -MAX_BEHIND]
    torch.testing.assert_close(read(memory, [7])[:, KNOWN_VALUE], torch.full((3,), -1.0))  # unknown: -1 for ever


def test_similar_observations_are_read_and_distant_ones_are_not() -> None:
    memory = similarity()
    write(memory, [0.0, 0.0, 0.0], 1, 3.0, [0.0, 0.0, 0.0])
    write(memory, [9.0, 9.0, 9.0], 0, 7.0, [0.0, 0.0, 0.0])
    near = read(memory, [0.1, 0.0, 0.0])
    assert abs(near[1, 0] - 3.0) < 1e-3
    assert abs(near[1, 1] - math.log(1 + math.exp(-0.01 / (2 * 3 * 0.25)))) < 1e-4
    assert near[0, 1] < 1e-6


def test_returns_to_go_are_read_when_their_episode_has_ended_and_not_before() -> None:
    memory, here = similarity(discount=0.5), [0.0, 0.0, 0.0]
    write(memory, here, 1, 1.0, here)
    assert read(memory, here)[1, 2] == 0.0
    write(memory, [9.0, 9.0, 9.0], 0, 4.0, here, truncated=True)
    assert abs(read(memory, here)[1, 2] - math.log(2)) < 1e-6
    assert abs(read(memory, here)[0, 4] - math.log(1 + 1.0 + 0.5 * 4.0)) < 1e-5


def test_a_full_similarity_memory_forgets_its_oldest_step() -> None:
    memory = similarity(num_steps=2)
    for spot in (0.0, 10.0, 20.0):
        write(memory, [spot] * 3, 0, 1.0, [spot] * 3)
    assert read(memory, [0.0] * 3)[0, 1] < 1e-6
    assert read(memory, [20.0] * 3)[0, 1] > 0.5


def test_continuous_actions_that_returned_more_pull_the_read_towards_them() -> None:
    memory, here = similarity(CONTINUOUS), [0.0, 0.0, 0.0]
    for action, reward in (([1.0, -1.0], 5.0), ([-1.0, -1.0], 0.0)):
        write(memory, here, action, reward, here, terminated=True)
    mean, pull = read(memory, here)[:, 0], read(memory, here)[:, 1]
    torch.testing.assert_close(mean, torch.tensor([0.0, -1.0]))
    assert pull[0] > 0.5
    assert abs(pull[1]) < 1e-5


@pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
def test_an_empty_memory_reads_as_many_features_as_it_says(spaces: SpacePair) -> None:
    config = RL2Config()
    width = observed_width(spaces.observation)
    memory = empty_memory(
        spaces,
        config,
        num_trials=2,
        episodes_per_trial=3,
        keys=Keys(projection=torch.eye(width)),
        device=torch.device("cpu"),
    )
    assert memory is not None
    assert memory.read(torch.zeros(2, width)).shape[-1] == read_size(spaces, config)


def test_multi_discrete_actions_fill_one_slot_a_dimension() -> None:
    memory = similarity(WIDE)
    write(memory, [0.0] * 40, [1, 2], 3.0, [0.0] * 40)
    counts = read(memory, [0.0] * 40)[:, 1]
    torch.testing.assert_close(counts, torch.tensor([0.0, math.log(2), 0.0, 0.0, math.log(2)]))
