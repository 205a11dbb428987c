"""Trials that begin in some rows of an in-trial memory find it empty, while the other rows keep their steps."""

from __future__ import annotations

import pytest
import torch

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.in_trial_memory.protocol import InTrialMemory, empty_memory
from agent.learners.rl2.policy_state import PolicyState
from envs.spaces import ObservationKind, SpacePair
from tests.agent.learners.rl2.playing import learner_for
from tests.agent.learners.rl2.scripted_tasks import CHOICES, CONTINUOUS, DISCRETE, MIXED, VECTOR

SPACES = {"discrete": DISCRETE, "vector": VECTOR, "choices": CHOICES, "continuous": CONTINUOUS, "mixed": MIXED}


def memory_for(spaces: SpacePair) -> InTrialMemory:
    learner = learner_for(spaces, memory_size=8)
    memory = empty_memory(
        spaces,
        RL2Config(memory_size=8),
        num_trials=3,
        episodes_per_trial=2,
        keys=learner.policy.pair(spaces).keys,
        device=torch.device("cpu"),
    )
    assert memory is not None
    return memory


def write(memory: InTrialMemory, spaces: SpacePair, *, seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for step in range(count):
        action = torch.zeros(3, spaces.action.width) if spaces.action.has_numbers else torch.tensor([0, 1, 1])
        memory.write(
            observation=observed(spaces, generator),
            action=action,
            reward=torch.rand(3, generator=generator),
            next_observation=observed(spaces, generator),
            terminated=torch.zeros(3, dtype=torch.bool),
            active=torch.ones(3, dtype=torch.bool),
        )
        memory.end_episodes(torch.tensor([step % 3 == 2] * 3))


def observed(spaces: SpacePair, generator: torch.Generator) -> torch.Tensor:
    if spaces.observation.kind is ObservationKind.DISCRETE:
        return torch.randint(4, (3, 1), generator=generator).float()
    numbers = torch.randn(3, spaces.observation.width, generator=generator)
    return (numbers > 0.0).float() if spaces.observation.num_distinct else numbers


@pytest.mark.parametrize("count", [2, 5, 20])
@pytest.mark.parametrize("spaces", SPACES.values(), ids=SPACES)
def test_a_row_that_was_emptied_reads_as_a_new_memory_does(spaces: SpacePair, count: int) -> None:
    used, kept, new = memory_for(spaces), memory_for(spaces), memory_for(spaces)
    for memory in (used, kept):
        write(memory, spaces, seed=1, count=count)
    used.forget(torch.tensor([1]))
    for memory in (used, kept, new):
        write(memory, spaces, seed=2, count=4)
    observation = observed(spaces, torch.Generator().manual_seed(2))
    found = used.read(observation)
    torch.testing.assert_close(found[1], new.read(observation)[1])
    torch.testing.assert_close(found[[0, 2]], kept.read(observation)[[0, 2]])


def test_a_state_that_begins_again_is_that_of_a_new_trial() -> None:
    learner = learner_for(VECTOR)

    def begun() -> PolicyState:
        return learner.policy.begin(VECTOR, num_trials=2, episodes_per_trial=2, device=torch.device("cpu"))

    state, new = begun(), begun()
    learner.policy.take(
        VECTOR,
        state,
        hidden=torch.ones_like(state.hidden),
        observation=torch.ones(2, 3),
        action=torch.tensor([1, 1]),
        reward=torch.ones(2),
        final_observation=torch.ones(2, 3),
        terminated=torch.tensor([True, True]),
        active=torch.ones(2, dtype=torch.bool),
    )
    learner.policy.end_episodes(
        state,
        terminated=torch.tensor([True, False]),
        truncated=torch.tensor([False, True]),
        active=torch.ones(2, dtype=torch.bool),
    )
    state.begin_again(torch.tensor([True, False]))
    observation = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    found, expected = (learner.policy.look(VECTOR, each, observation) for each in (state, new))
    torch.testing.assert_close(found.context[0], expected.context[0])
    torch.testing.assert_close(found.change[0], expected.change[0])
    torch.testing.assert_close(found.previous_action[0], expected.previous_action[0])
    torch.testing.assert_close(found.read[0], expected.read[0])
    assert state.hidden[:, 0].tolist() == [0.0, 1.0]
    assert found.context[1, 3] == 1.0
