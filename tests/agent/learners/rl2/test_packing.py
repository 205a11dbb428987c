"""Minibatches in stretches: hardly any padding, and the same update."""

from __future__ import annotations

import pytest
import torch

from agent.learners.rl2.packing import MIN_TRIALS, NARROWING, lay_out, stretches_of
from envs.spaces import SpacePair
from tests.agent.learners.rl2.playing import NUM_PACKED_TRIALS, learner_for, play_scripted
from tests.agent.learners.rl2.scripted_tasks import ALL_SPACES, VECTOR

UNLIKE = sorted((1 + (trial * trial) % 97 for trial in range(64)), reverse=True)


@pytest.mark.parametrize("lengths", [UNLIKE, [5] * 40, [9, 1], [7], [50, *[3] * 63]])
def test_stretches_hold_every_step_and_little_else(lengths: list[int]) -> None:
    stretches = stretches_of(lengths)
    assert sum(num_steps for num_steps, _ in stretches) == lengths[0]
    start = 0
    for num_steps, width in stretches:
        assert width == sum(length > start for length in lengths)
        if width > MIN_TRIALS:
            # At the last step of a stretch no more trials are over than it may hold.
            assert sum(length > start + num_steps - 1 for length in lengths) > NARROWING * width - 1
        start += num_steps


def test_trials_of_one_length_make_one_stretch() -> None:
    assert stretches_of([12] * 100) == ((12, 100),)


def test_steps_are_found_where_they_stand() -> None:
    lengths = torch.tensor(UNLIKE)
    num_trials, trials = 70, torch.randperm(70)[:64]
    where = torch.arange(lengths[0] * num_trials).view(-1, num_trials)
    steps = lay_out(where, trials, stretches_of(UNLIKE))
    is_valid = torch.arange(int(lengths[0])).unsqueeze(1) < lengths
    wanted = where[:, trials][is_valid]
    assert set(wanted.tolist()) <= set(steps.tolist())
    assert len(steps.unique()) == len(steps)
    assert len(wanted) > 0.8 * len(steps)


@pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
def test_unrolling_stretches_is_unrolling(spaces: SpacePair) -> None:
    learner = learner_for(spaces)
    trials = play_scripted(learner, spaces)
    order = trials.lengths.argsort(descending=True)
    stretches = stretches_of(trials.lengths[order].tolist())
    assert len(stretches) > 2
    found = learner.policy.unroll_stretches(spaces, lay_out(trials.inputs, order, stretches), stretches)
    expected = learner.policy.unroll(spaces, trials.inputs)
    is_valid = lay_out(trials.is_valid, order, stretches)
    for name in ("hidden", "features"):
        of_all = lay_out(getattr(expected, name), order, stretches)
        torch.testing.assert_close(getattr(found, name)[is_valid], of_all[is_valid], rtol=0, atol=1e-5)


@pytest.mark.parametrize("reads", [True, False])
def test_an_update_in_stretches_is_the_update(reads: bool) -> None:
    settings = {"reads": reads, "max_minibatches": 2, "minibatch_steps": 1}
    narrow, padded = learner_for(VECTOR, **settings), learner_for(VECTOR, **settings)
    trials = play_scripted(narrow, VECTOR)
    assert trials.num_trials == NUM_PACKED_TRIALS
    play_scripted(padded, VECTOR)  # so that both have drawn as much
    losses = narrow.update("scripted", trials)
    padded_losses = padded.update("scripted", trials, minibatch_step=padded.minibatch_step)
    assert losses == pytest.approx(padded_losses, rel=1e-3, abs=1e-5)
    expected, found = padded.to_tensors(), narrow.to_tensors()
    for name in expected:
        if expected[name].is_floating_point():
            torch.testing.assert_close(found[name], expected[name], rtol=2e-3, atol=2e-4, msg=name)
