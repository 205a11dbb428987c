"""Replayed inputs are those of the rollout."""

from __future__ import annotations

import pytest
import torch

from agent.learners.rl2.rehearsal.lessons import divergences, lesson_of
from agent.learners.rl2.rehearsal.past_trials import PastTrials, past_trials
from agent.learners.rl2.rehearsal.replay import replayed_inputs
from agent.learners.rl2.trees import tensors_of
from agent.learners.rl2.trials import TrialBatch, to_records
from envs.spaces import SpacePair
from memory.files.episode_codec import pack_episode, unpack_episode
from memory.records import TrialRecord
from tests.agent.learners.rl2.playing import learner_for, play
from tests.agent.learners.rl2.scripted_tasks import ALL_SPACES, DISCRETE, VECTOR


def stored(trials: TrialBatch) -> list[TrialRecord]:
    """Return trials as the store gives them back."""
    rows = list(range(trials.num_trials))
    records = to_records(trials, rows=rows, tasks=[{} for _ in rows], decisions=trials.decisions)
    return [
        TrialRecord(task={}, episodes=tuple(unpack_episode(pack_episode(episode)) for episode in record.episodes))
        for record in records
    ]


def replayable(trials: TrialBatch, spaces: SpacePair) -> PastTrials:
    return past_trials(stored(trials), spaces, device=torch.device("cpu"))


@pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not_reading"])
def test_inputs_of_stored_trials_are_those_of_the_rollout(spaces: SpacePair, reads: bool) -> None:
    learner = learner_for(spaces, reads=reads)
    learner.update("scripted", play(learner, spaces))  # so that the scales are not those of the start
    trials = play(learner, spaces, first_task=1)
    inputs = replayed_inputs(learner.policy, replayable(trials, spaces))
    valid = trials.is_valid
    for name in ("observation", "previous_action", "context", "read", "change"):
        found, expected = getattr(inputs, name), getattr(trials.inputs, name)
        if expected is None:
            assert found is None
        else:
            torch.testing.assert_close(found[valid], expected[valid], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
def test_the_policy_that_played_a_trial_does_not_diverge_from_it(spaces: SpacePair) -> None:
    learner = learner_for(spaces)
    trials = play(learner, spaces)
    lesson = lesson_of(learner.policy, replayable(trials, spaces), family=1)
    with torch.no_grad():
        sums, steps = divergences(learner.policy, lesson, torch.tensor([2, 0]), num_families=2)
    assert steps.tolist() == [0, int(trials.lengths[2] + trials.lengths[0])]
    assert abs(float(sums[1] / steps[1])) < 1e-5  # decisions are stored with 11 bits


def test_a_divergence_is_the_mean_kl_of_the_steps() -> None:
    learner = learner_for(VECTOR)
    trials = play(learner, VECTOR)
    with torch.no_grad():
        learner.policy.pair(VECTOR).head.bias += torch.tensor([1.0, 0.0])
    lesson = lesson_of(learner.policy, replayable(trials, VECTOR), family=0)
    with torch.no_grad():
        sums, steps = divergences(learner.policy, lesson, torch.arange(4), num_families=1)
        now = learner.policy.unroll(VECTOR, trials.inputs).distribution.scores.log_softmax(-1)
    then = trials.decisions.log_softmax(-1)
    by_hand = (then.exp() * (then - now)).sum(-1)[trials.is_valid]
    assert float(steps[0]) == len(by_hand)
    assert float(sums[0]) == pytest.approx(float(by_hand.sum()), rel=1e-3)


def test_padding_of_a_shorter_trial_does_not_count() -> None:
    learner = learner_for(DISCRETE)
    trials = replayable(play(learner, DISCRETE), DISCRETE)
    assert trials.lengths.tolist() == [9, 3, 14, 5]
    assert all(len(values) == 14 for values in tensors_of(trials))
