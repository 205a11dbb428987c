"""Another trial of a task is begun with the steps of earlier trials."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.in_trial_memory.keys import Keys
from agent.learners.rl2.in_trial_memory.protocol import InTrialMemory, empty_memory
from agent.learners.rl2.in_trial_memory.table import TableMemory
from agent.learners.rl2.pair import observed_width
from envs.spaces import ActionKind, ActionSpec, SpacePair
from tests.agent.learners.rl2.in_trial_memory.steps import read, similarity, write
from tests.agent.learners.rl2.in_trial_memory.test_ring import NUM_TRIALS, Step, add, steps_of
from tests.agent.learners.rl2.scripted_tasks import ALL_SPACES

each_space = pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
TWO_ARMS = ActionSpec(kind=ActionKind.DISCRETE, choices=(2,), start=(0,))


def empty(spaces: SpacePair, *, num_steps: int = 64) -> InTrialMemory:
    memory = empty_memory(
        spaces,
        RL2Config(memory_size=num_steps),
        num_trials=NUM_TRIALS,
        episodes_per_trial=3,
        keys=Keys(projection=torch.eye(observed_width(spaces.observation))),
        device=torch.device("cpu"),
    )
    assert memory is not None
    return memory


def written(spaces: SpacePair, steps: list[Step], **settings: int) -> InTrialMemory:
    memory = empty(spaces, **settings)
    for step in steps:
        add(memory, step)
    return memory


def ended(steps: list[Step]) -> list[Step]:
    """Return the steps, of which the last ends every episode."""
    return [*steps[:-1], replace(steps[-1], terminated=torch.ones(NUM_TRIALS, dtype=torch.bool))]


@each_space
def test_steps_of_the_earlier_trial_are_still_held(spaces: SpacePair) -> None:
    steps = ended([replace(step, active=torch.ones_like(step.active)) for step in steps_of(spaces, 12)])
    again, through = written(spaces, steps), written(spaces, steps)
    again.begin_again(3)
    for step in steps[:5]:
        torch.testing.assert_close(again.read(step.observation), through.read(step.observation))
        add(again, step)
        add(through, step)


@each_space
def test_a_selection_is_independent_of_its_memory(spaces: SpacePair) -> None:
    steps = steps_of(spaces, 12)
    memory, observation = written(spaces, steps), steps[0].observation
    before = memory.read(observation)
    rows = torch.tensor([3, 0])
    selected = memory.select(rows)
    torch.testing.assert_close(selected.read(observation[rows]), before[rows])
    for step in steps:
        add(selected, step.rows(rows))
    assert torch.equal(memory.read(observation), before)


def test_new_steps_replace_places_without_a_step_before_steps_of_earlier_trials() -> None:
    spaces = ALL_SPACES["vector"]
    steps = ended(steps_of(spaces, 9))  # the last row's trial has 3 steps, the others 9
    one, rows = steps_of(spaces, 1)[0], torch.tensor([NUM_TRIALS - 1])
    memory, alone = written(spaces, steps, num_steps=9), empty(spaces, num_steps=9).select(rows)
    for step in steps[:3]:
        add(alone, step.rows(rows))
    for either in (memory, alone):
        either.begin_again(3)
    for _ in range(6):
        add(memory, replace(one, active=torch.ones_like(one.active)))
        add(alone, replace(one, active=torch.ones_like(one.active)).rows(rows))
    found: Tensor = memory.read(steps[1].observation)[rows]
    torch.testing.assert_close(found, alone.read(steps[1].observation[rows]))
    assert found[..., 1].sum() > 0


def test_an_unfinished_episode_of_an_earlier_trial_gains_no_rewards_of_a_later_one() -> None:
    memory = similarity()
    write(memory, [0.0] * 3, 0, 1.0, [0.0] * 3)
    memory.begin_again(1)
    write(memory, [9.0] * 3, 1, 50.0, [9.0] * 3, terminated=True)
    finished = read(memory, [0.0] * 3)[0, 2]
    assert finished == 0.0


def test_episodes_of_earlier_trials_do_not_count_as_episodes_of_this_one() -> None:
    # The width of exploration follows the number of pulls that are left.
    memories = [TableMemory(1, 1, TWO_ARMS, episodes_per_trial=4) for _ in range(2)]
    for memory in memories:
        for _ in range(4):
            write(memory, [0], 0, 1.0, [0], terminated=True)
    over = read(memories[0], [0])
    memories[1].begin_again(4)
    begun = read(memories[1], [0])
    assert (begun[:, 4] > over[:, 4]).all()
    kept = memories[1].select(torch.tensor([0]))
    assert torch.equal(read(kept, [0]), begun)
