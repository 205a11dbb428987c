"""Keys that are learned: whole trials read at once are what was read step by step, and gradients are the true ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from agent.learners.rl2.in_trial_memory.keys import KeyEmbedding, Keys
from agent.learners.rl2.in_trial_memory.ring import held_trials
from agent.learners.rl2.in_trial_memory.similarity import SimilarityMemory, read_trials
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.packing import Stretches, lay_out, stretches_of
from agent.learners.rl2.policy_state import PolicyInput
from agent.learners.rl2.trees import map_tensors, select_trials
from envs.random_actions import random_actions
from envs.spaces import SpacePair
from tests.agent.learners.rl2.playing import learner_for, play
from tests.agent.learners.rl2.scripted_tasks import CONTINUOUS, DISCRETE, MIXED, VECTOR, WIDE

VECTORS = {"vector": VECTOR, "multi_discrete": WIDE, "continuous": CONTINUOUS, "mixed": MIXED}
LENGTHS = [[30, -12, 25], [1, 1, 1], [-14, 9, -3], [2, 40, -1]]


def learner_with_keys(spaces: SpacePair, **settings: Any) -> RL2Learner:
    """One whose learned term is already something."""
    learner = learner_for(spaces, learned_keys=True, **settings)
    embedding = learner.policy.pair(spaces).key_embedding
    assert embedding is not None
    torch.nn.init.normal_(embedding.leave, std=0.3, generator=torch.Generator().manual_seed(5))
    return learner


def by_length(lengths: torch.Tensor) -> tuple[torch.Tensor, Stretches]:
    rows = lengths.argsort(descending=True, stable=True)
    return rows, stretches_of(lengths[rows].tolist())


@pytest.mark.parametrize("spaces", VECTORS.values(), ids=VECTORS.keys())
@pytest.mark.parametrize("memory_size", [11, 256], ids=["overwritten", "all_held"])
def test_an_update_reads_what_the_rollout_read(spaces: SpacePair, memory_size: int) -> None:
    learner = learner_with_keys(spaces, memory_size=memory_size)
    trials = play(learner, spaces, LENGTHS * 8)
    held = learner._held(trials)
    assert held is not None
    rows, stretches = by_length(trials.lengths)
    assert len(stretches) > 1
    inputs = lay_out(trials.inputs, rows, stretches)
    with torch.no_grad():
        reads = learner.policy.read_again(spaces, select_trials(held, rows, len(trials.reward)), stretches)
    assert inputs.read is not None
    is_valid = lay_out(trials.is_valid, rows, stretches)
    assert float(inputs.read[is_valid].abs().max()) > 1.0
    torch.testing.assert_close(reads[is_valid], inputs.read[is_valid], rtol=0, atol=1e-4)
    again = PolicyInput(**{**vars(inputs), "read": reads})
    action = lay_out(trials.action, rows, stretches)
    for given in (inputs, again):
        log_prob = learner.policy.unroll_stretches(spaces, given, stretches).distribution.log_prob(action)
        expected = lay_out(trials.log_prob, rows, stretches)
        torch.testing.assert_close(log_prob[is_valid], expected[is_valid], rtol=0, atol=1e-5)


@pytest.mark.parametrize("spaces", VECTORS.values(), ids=VECTORS.keys())
def test_gradients_to_the_keys_are_those_of_finite_differences(spaces: SpacePair) -> None:
    generator = torch.Generator().manual_seed(2)
    num_steps, num_trials = 9, 3
    chosen: torch.Tensor
    if spaces is CONTINUOUS:
        chosen = torch.rand(num_steps, num_trials, 2, generator=generator) - 0.5
    elif spaces is MIXED:
        rows = [random_actions(MIXED.action, num_trials, generator) for _ in range(num_steps)]
        chosen = torch.stack(rows) * torch.tensor([1.0, 1.0, 0.5, 0.5])
    elif spaces is WIDE:
        chosen = torch.randint(2, (num_steps, num_trials, 2), generator=generator)
    else:
        chosen = torch.randint(2, (num_steps, num_trials), generator=generator)
    held = held_trials(
        spaces.action,
        observation=torch.zeros(num_steps, num_trials, 1),
        chosen=chosen,
        reward=torch.randn(num_steps, num_trials, generator=generator),
        ended=torch.rand(num_steps, num_trials, generator=generator) < 0.4,
        num_steps=6,
    )
    held = map_tensors(lambda values: values.double() if values.is_floating_point() else values, held)
    keys = torch.randn(num_steps, num_trials, 4, generator=generator, dtype=torch.float64, requires_grad=True)

    def reads(of_keys: torch.Tensor) -> torch.Tensor:
        return read_trials(of_keys, held, ((5, 3), (4, 2)), num_steps=6)

    assert torch.autograd.gradcheck(reads, (keys,), atol=1e-6)
    assert float(torch.autograd.grad(reads(keys).sum(), keys)[0].abs().max()) > 1e-3


def test_equal_observations_weigh_as_one_step_whatever_was_learned() -> None:
    generator = torch.Generator().manual_seed(0)
    embedding = KeyEmbedding(3, 3, generator=generator)
    torch.nn.init.normal_(embedding.leave, std=3.0, generator=generator)
    keys = Keys(projection=torch.eye(3), embedding=embedding)
    memory = SimilarityMemory(1, VECTOR.action, keys=keys, num_steps=4)
    met, nothing = torch.tensor([[0.3, -2.0, 1.0]]), torch.zeros(1, dtype=torch.bool)
    with torch.no_grad():
        memory.write(
            observation=met,
            action=torch.ones(1, dtype=torch.int64),
            reward=torch.ones(1),
            next_observation=met,
            terminated=nothing,
            active=~nothing,
        )
        assert memory.read(met)[0, 1, 1].item() == pytest.approx(math.log(2), rel=1e-4)


@pytest.mark.parametrize("spaces", VECTORS.values(), ids=VECTORS.keys())
def test_an_update_moves_the_keys(spaces: SpacePair) -> None:
    learner = learner_for(spaces, learned_keys=True)
    embedding = learner.policy.pair(spaces).key_embedding
    assert embedding is not None
    assert (embedding.leave == 0).all(), "keys begin as the fixed ones"
    for first_task in (0, 1):
        trials = play(learner, spaces, LENGTHS, first_task=first_task)
        assert all(math.isfinite(value) for value in learner.update("scripted", trials).values())
    assert all((parameter.grad != 0).any() for parameter in embedding.parameters() if parameter.grad is not None)
    assert (embedding.leave != 0).any()


def test_keys_are_learned_of_vectors_that_are_read_step_by_step_alone() -> None:
    for spaces, settings in (
        (DISCRETE, {}),
        (VECTOR, {"reads": False}),
        (VECTOR, {"learned_keys": False}),
    ):
        learner = learner_for(spaces, **{"learned_keys": True, **settings})
        assert learner.policy.pair(spaces).key_embedding is None
        assert learner._held(play(learner, spaces)) is None


def test_what_stands_in_padding_is_never_read() -> None:
    plain, spoiled = (learner_with_keys(VECTOR, minibatch_steps=20, min_minibatch_trials=1) for _ in range(2))
    expected, found = play(plain, VECTOR, LENGTHS), play(spoiled, VECTOR, LENGTHS)
    padding = ~found.is_valid
    found.inputs.observation[padding] = 1e3
    found.reward[padding] = 1e6
    assert plain.update("scripted", expected) == spoiled.update("scripted", found)
    tensors, others = plain.to_tensors(), spoiled.to_tensors()
    assert [name for name in tensors if not torch.equal(tensors[name], others[name])] == []
