"""The padding of minibatches has the layout of longer minibatches."""

from __future__ import annotations

import pytest
import torch

from agent.learners.rl2.in_trial_memory.ring import held_trials
from agent.learners.rl2.minibatch import Minibatch, Targets, padding_for, select_minibatch
from agent.learners.rl2.trees import tensors_of
from envs.spaces import SpacePair
from tests.agent.learners.rl2.playing import LENGTHS, learner_for, play
from tests.agent.learners.rl2.scripted_tasks import VECTOR


def minibatch_of(spaces: SpacePair, rows: list[int], *, num_steps: int) -> Minibatch:
    trials = play(learner_for(spaces), spaces, LENGTHS)
    held = held_trials(
        spaces.action,
        observation=trials.observation,
        chosen=trials.action,
        reward=trials.reward,
        ended=trials.terminated | trials.truncated,
        num_steps=8,
    )
    return select_minibatch(
        trials.steps,
        Targets(log_prob=trials.log_prob, advantage=trials.reward, normalised_return=trials.reward),
        held,
        rows=torch.tensor(rows),
        stretches=((num_steps, len(rows)),),
        entropy_coefficient=torch.tensor(0.5),
    )


@pytest.mark.parametrize("rows", [[2], [2, 0, 3]])
def test_padding_is_the_start_of_a_longer_minibatch(rows: list[int]) -> None:
    """A minibatch written into the first rows of its padding is the minibatch of the longer trials, cut off."""
    short, long = (minibatch_of(VECTOR, rows, num_steps=num_steps) for num_steps in (4, 9))
    padding = padding_for(short, 9)
    assert padding.stretches == long.stretches
    for source, target, expected in zip(*map(tensors_of, (short, padding, long)), strict=True):
        assert target.shape == expected.shape
        assert not target.any()
        assert torch.equal(source, expected[: len(source)] if source.ndim else expected)
