from __future__ import annotations

import itertools
import math

import pytest
import torch

from agent.learners.rl2.in_trial_memory.similarity import BANDWIDTH, SimilarityMemory, kernel_weights
from envs.spaces import SpacePair
from tests.agent.learners.rl2.in_trial_memory.test_protocol import read, similarity, write
from tests.agent.learners.rl2.scripted_tasks import CONTINUOUS, MIXED, VECTOR, WIDE
from tests.agent.learners.rl2.test_rollout import LENGTHS, learner_for, play

EPISODES = [([1.0, 0.0, 0.0], 0, 1.0), ([0.0, 1.0, 0.0], 0, 4.0), ([0.0, 0.5, 1.0], 1, 2.0), ([0.9, 0.1, 0.0], 1, 7.0)]
"""Observation, action and reward of episodes of one step."""


def fill(memory: SimilarityMemory, episodes: list[tuple[list[float], int, float]]) -> None:
    for observation, action, reward in episodes:
        write(memory, observation, action, reward, observation, terminated=True)


def test_a_step_at_a_distance_of_the_bandwidth_in_every_dimension_weighs_by_the_root_of_e() -> None:
    key, held = torch.zeros(1, 1, 3), torch.full((1, 3, 1), BANDWIDTH)
    with_square = torch.cat([held, held.square().sum(1, keepdim=True)], dim=1)
    assert kernel_weights(key, with_square).item() == pytest.approx(math.exp(-0.5))


def test_the_order_of_one_step_episodes_does_not_matter() -> None:
    reads = []
    for order in itertools.permutations(EPISODES):
        memory = similarity()
        fill(memory, list(order))
        reads.append(read(memory, [0.3, 0.2, 0.1]))
    for found in reads[1:]:
        torch.testing.assert_close(found, reads[0])


def test_a_full_memory_forgets_its_oldest_step() -> None:
    full, short = similarity(num_steps=2), similarity(num_steps=2)
    fill(full, EPISODES)
    fill(short, EPISODES[2:])
    torch.testing.assert_close(read(full, [0.3, 0.2, 0.1]), read(short, [0.3, 0.2, 0.1]))


@pytest.mark.parametrize(
    "spaces", [VECTOR, WIDE, CONTINUOUS, MIXED], ids=["vector", "multi_discrete", "continuous", "mixed"]
)
def test_a_policy_learns_from_what_it_read_when_it_acted(spaces: SpacePair) -> None:
    learner = learner_for(spaces)
    trials = play(learner, spaces, LENGTHS)
    output = learner.policy.unroll(spaces, trials.inputs)
    log_prob = output.distribution.log_prob(trials.action)
    torch.testing.assert_close(log_prob[trials.is_valid], trials.log_prob[trials.is_valid], rtol=0, atol=1e-5)
    assert all(math.isfinite(value) for value in learner.update("scripted", trials).values())
