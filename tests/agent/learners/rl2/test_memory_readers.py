"""Matching attention and prototypes as readers of the in-trial memory: by hand, and where they must agree."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from agent.learners.config_json import config_from_json, config_to_json
from agent.learners.rl2.config import MemoryReader, RL2Config
from agent.learners.rl2.in_trial_memory.keys import Keys
from agent.learners.rl2.in_trial_memory.protocol import InTrialMemory
from agent.learners.rl2.in_trial_memory.prototypes import PrototypeMemory
from agent.learners.rl2.in_trial_memory.similarity import SimilarityMemory
from envs.spaces import SpacePair
from tests.agent.learners.rl2.in_trial_memory.test_protocol import read, similarity, write
from tests.agent.learners.rl2.scripted_tasks import CONTINUOUS, VECTOR, WIDE
from tests.agent.learners.rl2.test_rollout import LENGTHS, learner_for, play

EPISODES = [([1.0, 0.0, 0.0], 0, 1.0), ([0.0, 1.0, 0.0], 0, 4.0), ([0.0, 0.5, 1.0], 1, 2.0), ([0.9, 0.1, 0.0], 1, 7.0)]
"""Observation, action and reward of episodes of one step."""


def prototypes(spaces: SpacePair = VECTOR, **settings: Any) -> PrototypeMemory:
    width = spaces.observation.width
    return PrototypeMemory(
        1, spaces.action, keys=Keys(projection=torch.eye(width)), **{"num_steps": 8, "bandwidth": 0.5, **settings}
    )


def weights_at(memory: SimilarityMemory, query: torch.Tensor) -> torch.Tensor:
    steps = memory._steps
    is_held = steps.values[:, :1]
    return memory._likeness.weights(query.unsqueeze(1), steps.keys_and_squares, is_held).squeeze(1)


def fill(memory: InTrialMemory, episodes: Any) -> None:
    for observation, action, reward in episodes:
        write(memory, observation, action, reward, observation, terminated=True)


def test_matching_attention_by_hand() -> None:
    """Cosines 1 and 0 and h = 1: weights e / (e + 1) and 1 / (e + 1), both of slot 0."""
    memory = similarity(is_matching=True, bandwidth=1.0)
    write(memory, [2.0, 0.0, 0.0], 0, 3.0, [0.0, 0.0, 0.0])
    write(memory, [0.0, 1.0, 0.0], 0, 5.0, [0.0, 0.0, 0.0])
    share = math.e / (math.e + 1)
    found = read(memory, [1.0, 0.0, 0.0])
    assert found[0, 0].item() == pytest.approx(3 * share + 5 * (1 - share))
    assert found[0, 1].item() == pytest.approx(math.log(2))
    assert found[1, 1].item() == 0.0


def test_matching_attention_is_the_kernel_over_its_sum_where_all_keys_are_of_norm_root_q() -> None:
    generator = torch.Generator().manual_seed(0)
    keys = torch.nn.functional.normalize(torch.randn(7, 3, generator=generator), dim=-1) * 3**0.5
    kernel, matching = similarity(), similarity(is_matching=True)
    for memory in (kernel, matching):
        fill(memory, [(key, index % 2, float(index)) for index, key in enumerate(keys[:6].tolist())])
    weights = weights_at(kernel, keys[6:])
    torch.testing.assert_close(weights_at(matching, keys[6:]), weights / weights.sum(1, keepdim=True))


def test_prototypes_by_hand() -> None:
    """Returns 1, 4, 2, 7 of mean 3.5: slot 0 has one better step and one worse, and so has slot 1."""
    memory = prototypes()
    fill(memory, EPISODES)
    width = 2 * 3 * 0.25
    better = torch.tensor([[0.0, 1.0, 0.0], [0.9, 0.1, 0.0]])
    worse = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 1.0]])
    query = torch.tensor([0.5, 0.5, 0.0])
    d_better, d_worse = ((c - query).square().sum(-1) / width for c in (better, worse))
    chance = torch.exp(-d_better) / (torch.exp(-d_better) + torch.exp(-d_worse))
    found = read(memory, query.tolist())
    torch.testing.assert_close(found[:, 0], 2 * chance - 1)
    torch.testing.assert_close(found[:, 1], torch.exp(-d_better))
    torch.testing.assert_close(found[:, 2:4], torch.full((2, 2), math.log(2)))
    torch.testing.assert_close(found[:, 4], torch.full((2,), math.log(1 + 3.5)))


def test_prototypes_are_means_of_several_steps() -> None:
    memory = prototypes()
    fill(memory, [([0.0, 0.0, 0.0], 0, 0.0), ([2.0, 0.0, 0.0], 0, 9.0), ([4.0, 0.0, 0.0], 0, 9.0)])
    assert read(memory, [3.0, 0.0, 0.0])[0, 1].item() == pytest.approx(1.0)


def test_one_class_alone_says_nothing_of_better_or_worse() -> None:
    memory = prototypes()
    fill(memory, [([0.0, 0.0, 0.0], 0, 1.0), ([0.0, 0.0, 0.0], 1, 3.0)])
    assert (read(memory, [0.0, 0.0, 0.0])[:, 0] == 0).all()
    fill(memory, [([0.0, 0.0, 0.0], 0, 9.0)])
    assert (read(memory, [0.0, 0.0, 0.0])[0, 2:4] == math.log(2)).all()


def test_an_unfinished_episode_moves_no_prototype() -> None:
    memory = prototypes()
    fill(memory, EPISODES)
    before = read(memory, [0.2, 0.2, 0.2])
    write(memory, [5.0, 5.0, 5.0], 0, 9.0, [0.0, 0.0, 0.0])
    assert torch.equal(read(memory, [0.2, 0.2, 0.2]), before)


def test_prototypes_of_continuous_actions_tell_which_way_the_better_ones_went() -> None:
    memory = prototypes(CONTINUOUS)
    fill(memory, [([1.0, 0.0, 0.0], [1.0, 1.0], 9.0), ([-1.0, 0.0, 0.0], [-1.0, 1.0], 9.0)])
    fill(memory, [([0.0, 0.0, 0.0], [0.0, 0.0], 0.0)])
    left, right = read(memory, [-1.0, 0.0, 0.0]), read(memory, [1.0, 0.0, 0.0])
    assert right[0, 0] > 0.5
    assert left[0, 0] < -0.5
    assert right[1, 0] == left[1, 0] == 0.0


@pytest.mark.parametrize("make", [similarity, lambda: similarity(is_matching=True), prototypes])
def test_the_order_of_one_step_episodes_does_not_matter(make: Any) -> None:
    reads = []
    for order in itertools.permutations(EPISODES):
        memory = make()
        fill(memory, order)
        reads.append(read(memory, [0.3, 0.2, 0.1]))
    for found in reads[1:]:
        torch.testing.assert_close(found, reads[0])


@pytest.mark.parametrize("make", [lambda: similarity(is_matching=True, num_steps=2), lambda: prototypes(num_steps=2)])
def test_a_full_memory_forgets_its_oldest_step_and_works_no_harder(make: Any) -> None:
    full, short = make(), make()
    fill(full, EPISODES)
    fill(short, EPISODES[2:])
    torch.testing.assert_close(read(full, [0.3, 0.2, 0.1]), read(short, [0.3, 0.2, 0.1]))


def test_trials_that_are_over_are_not_attended_to() -> None:
    memory = similarity(is_matching=True)
    fill(memory, EPISODES[:2])
    before = read(memory, [0.3, 0.2, 0.1])
    write(memory, [0.3, 0.2, 0.1], 1, 50.0, [0.0, 0.0, 0.0], active=False)
    assert torch.equal(read(memory, [0.3, 0.2, 0.1]), before)
    nothing = similarity(is_matching=True)
    write(nothing, [0.3, 0.2, 0.1], 1, 50.0, [0.0, 0.0, 0.0], active=False)
    assert (read(nothing, [0.3, 0.2, 0.1]) == 0).all()


@pytest.mark.parametrize("reader", MemoryReader)
@pytest.mark.parametrize("spaces", [VECTOR, WIDE, CONTINUOUS], ids=["vector", "multi_discrete", "continuous"])
def test_a_policy_learns_by_any_reader_from_what_it_read_when_it_acted(spaces: SpacePair, reader: MemoryReader) -> None:
    learner = learner_for(spaces, memory_reader=reader)
    trials = play(learner, spaces, LENGTHS)
    output = learner.policy.unroll(spaces, trials.inputs)
    log_prob = output.distribution.log_prob(trials.action)
    torch.testing.assert_close(log_prob[trials.is_valid], trials.log_prob[trials.is_valid], rtol=0, atol=1e-5)
    assert all(math.isfinite(value) for value in learner.update("scripted", trials).values())


def test_the_settings_choose_the_reader_and_survive_json() -> None:
    def memory_by(reader: str) -> object:
        config = config_from_json(RL2Config, {**config_to_json(RL2Config()), "memory_reader": reader})
        assert config_from_json(RL2Config, config_to_json(config)) == config
        policy = learner_for(VECTOR, memory_reader=config.memory_reader).policy
        return policy.begin(VECTOR, num_trials=1, episodes_per_trial=1, device=torch.device("cpu")).memory

    kernel, matching = memory_by("kernel"), memory_by("matching")
    assert isinstance(kernel, SimilarityMemory)
    assert isinstance(matching, SimilarityMemory)
    assert (kernel._likeness.is_matching, matching._likeness.is_matching) == (False, True)
    assert isinstance(memory_by("prototypes"), PrototypeMemory)
    with pytest.raises(ValueError, match="memory_reader: it should be 'kernel', 'matching' or 'prototypes'"):
        memory_by("nearest")
