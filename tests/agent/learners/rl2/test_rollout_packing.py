"""Packed rows: the policy decides for trials under way alone, and the trials are the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agent.learners.rl2 import rollout
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.trials import TrialBatch, to_records
from envs.default_families import VARIED_CARTPOLE
from envs.family import FamilySource, FamilySpec, Split
from envs.registry import open_tasks
from envs.spaces import SpacePair
from tests.agent.learners.rl2.playing import NUM_PACKED_TRIALS, PACKED_LENGTHS, learner_for, play_scripted
from tests.agent.learners.rl2.scripted_tasks import ALL_SPACES, VECTOR, ScriptedTasks


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A rollout that packs no trials."""

    def play(learner: RL2Learner, spaces: SpacePair) -> TrialBatch:
        with monkeypatch.context() as patch:
            patch.setattr(rollout, "PACKING_SHARE", 0.0)
            return play_scripted(learner, spaces)

    return play


@pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not_reading"])
def test_packed_trials_are_the_trials(spaces: SpacePair, reads: bool, unpacked: Any) -> None:
    learner = learner_for(spaces, reads=reads)
    packed, plain = play_scripted(learner, spaces), unpacked(learner, spaces)
    valid = plain.is_valid
    for name in ("is_valid", "terminated", "truncated", "end", "cut"):
        assert torch.equal(getattr(packed, name), getattr(plain, name)), name
    for name in ("action", "episode_index"):
        torch.testing.assert_close(getattr(packed, name)[valid], getattr(plain, name)[valid], rtol=0, atol=1e-5)
    for name in ("log_prob", "features", "reward", "observation"):
        torch.testing.assert_close(getattr(packed, name)[valid], getattr(plain, name)[valid], rtol=1e-5, atol=1e-5)
    for name in ("cut_features", "final_observation"):
        torch.testing.assert_close(getattr(packed, name), getattr(plain, name), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
def test_unrolling_gives_the_log_probabilities_of_packed_trials(spaces: SpacePair) -> None:
    learner = learner_for(spaces)
    for _update in range(2):
        trials = play_scripted(learner, spaces)
        output = learner.policy.unroll(spaces, trials.inputs)
        log_prob, _ = output.distribution.log_prob_and_entropy(trials.action)
        valid = trials.is_valid
        torch.testing.assert_close(log_prob[valid], trials.log_prob[valid], rtol=0, atol=1e-5)
        learner.update("scripted", trials)


def test_the_policy_decides_for_few_rows_whose_trial_is_over() -> None:
    learner, rows = learner_for(VECTOR), 0
    step = learner.policy.step

    def watched(*arguments: Any) -> Any:
        nonlocal rows
        rows += len(arguments[2])
        return step(*arguments)

    learner.policy.step = watched  # type: ignore[method-assign, assignment]
    trials = play_scripted(learner, VECTOR)
    num_steps = int(trials.is_valid.sum())
    assert trials.is_valid.numel() > 1.5 * num_steps
    assert num_steps <= rows < 1.25 * num_steps


def test_records_of_packed_trials_are_of_their_own_rows() -> None:
    learner, tasks = learner_for(VECTOR), ScriptedTasks(VECTOR, PACKED_LENGTHS)
    trials = collect_trials(learner.policy, tasks, first_task=0, split=Split.TRAINING, generator=learner.generator)
    rows = [0, 41, NUM_PACKED_TRIALS - 1]
    for row, record in zip(rows, to_records(trials, rows=rows, tasks=tasks.describe_tasks(rows)), strict=True):
        assert [len(episode.rewards) for episode in record.episodes] == [abs(length) for length in PACKED_LENGTHS[row]]


def test_packed_cartpoles_are_balanced_and_learned_from() -> None:
    spec = FamilySpec(
        name="cartpole",
        source=FamilySource.TENSOR,
        entry=VARIED_CARTPOLE,
        episodes_per_trial=2,
        max_episode_steps=40,
    )
    tasks = open_tasks(spec, None, num_trials=NUM_PACKED_TRIALS, device="cpu")
    learner = learner_for(tasks.spaces)
    learner.add_family("cartpole", tasks.spaces)
    trials = collect_trials(learner.policy, tasks, first_task=0, split=Split.TRAINING, generator=learner.generator)
    lengths = trials.lengths
    assert int(lengths.min()) < 0.7 * int(lengths.max())
    assert torch.equal(trials.reward.sum(0), lengths.float())
    assert trials.features is not None
    assert bool((trials.features[~trials.is_valid] == 0.0).any())
    losses = learner.update("cartpole", trials)
    assert all(torch.tensor(value).isfinite() for value in losses.values())
