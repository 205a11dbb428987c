"""A trial that is played in segments is the trial that is played whole, in bounded memory."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.segment import MOST_WHOLE_STEPS
from agent.learners.rl2.segment_rollout import SegmentRollout
from agent.learners.rl2.targets import update_targets
from agent.learners.rl2.trees import tensors_of
from agent.learners.rl2.trials import TrialBatch, episode_returns, horizon_steps, num_tasks, trial_returns
from envs.family import Split
from envs.spaces import SpacePair
from tests.agent.learners.rl2.playing import learner_for
from tests.agent.learners.rl2.row_tasks import RowTasks
from tests.agent.learners.rl2.scripted_tasks import CONTINUOUS, DISCRETE, MIXED, VECTOR, WIDE

SEGMENT = 16
SPACES = {"discrete": DISCRETE, "vector": VECTOR, "wide": WIDE, "continuous": CONTINUOUS, "mixed": MIXED}


def played(learner: RL2Learner, rollout: SegmentRollout, count: int, *, num_steps: int = SEGMENT) -> list[TrialBatch]:
    """Play segments one after another with the same policy."""
    first_task, batches = 0, []
    for _ in range(count):
        batch = rollout.play(learner.policy, first_task=first_task, num_steps=num_steps, generator=learner.generator)
        first_task += num_tasks(batch)
        batches.append(batch)
    return batches


def whole(learner: RL2Learner, tasks: RowTasks, **asked: Any) -> TrialBatch:
    return collect_trials(
        learner.policy, tasks, first_task=0, split=Split.TRAINING, generator=learner.generator, **asked
    )


@pytest.mark.parametrize("spaces", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("episodes_per_trial", [1, 2])
def test_segments_of_a_trial_are_the_whole_trial(spaces: SpacePair, episodes_per_trial: int) -> None:
    learner = learner_for(spaces)
    length = 3 * SEGMENT // episodes_per_trial

    def tasks() -> RowTasks:
        return RowTasks(spaces, [length], num_trials=4, episodes_per_trial=episodes_per_trial)

    learner.generator.manual_seed(1)
    expected = whole(learner, tasks())
    learner.generator.manual_seed(1)
    segments = played(learner, SegmentRollout(tasks(), num_episodes=episodes_per_trial), 3)
    for name in ("observation", "action", "reward", "log_prob", "features", "terminated", "episode_index"):
        found = torch.cat([getattr(segment, name) for segment in segments])
        torch.testing.assert_close(found, getattr(expected, name), msg=name)
    torch.testing.assert_close(segments[2].segment.returns, trial_returns(expected))
    assert [len(segment.segment.returns) for segment in segments] == [0, 0, 4]


def test_the_value_after_a_segment_is_that_of_the_next_segments_first_step() -> None:
    learner = learner_for(VECTOR)
    first, second = played(learner, SegmentRollout(RowTasks(VECTOR, [1000], num_trials=4), num_episodes=1), 2)
    assert first.cut.tolist() == [(SEGMENT - 1) * 4 + row for row in range(4)]
    torch.testing.assert_close(first.cut_features, second.features[0])


def test_a_trial_that_ends_is_followed_by_the_next_task_in_its_row() -> None:
    learner = learner_for(VECTOR)
    tasks = RowTasks(VECTOR, [5, 1000, -7, 1000, 1000], num_trials=3)
    [batch] = played(learner, SegmentRollout(tasks, num_episodes=1), 1)
    assert tasks.begun == [(0, 3), (2, 4)]
    assert batch.lengths.tolist() == [5, 16, 7, 11, 9]
    assert batch.segment.begins.all()
    assert [task["index"] for task in batch.segment.tasks] == [0, 1, 2, 3, 4]
    assert num_tasks(batch) == 5


def test_a_trial_that_begins_within_a_segment_is_like_one_that_begins_a_rollout() -> None:
    learner = learner_for(VECTOR)
    learner.generator.manual_seed(2)
    [batch] = played(learner, SegmentRollout(RowTasks(VECTOR, [5, -4, 1000, 1000], num_trials=2), num_episodes=1), 1)
    fresh = RowTasks(VECTOR, [1000], num_trials=2)
    fresh.begin(2, split=Split.TRAINING)
    state = learner.policy.begin(VECTOR, num_trials=2, episodes_per_trial=1, device=torch.device("cpu"))
    # Task 3 began in row 0 after task 2 had begun in row 1, which ended first.
    first = learner.policy.look(VECTOR, state, batch.observation[0, [2, 3]])
    for found, expected in zip(tensors_of(batch.inputs), tensors_of(first), strict=True):
        torch.testing.assert_close(found[0, [2, 3]], expected)
    assert (batch.left[[2, 3]] == 0.0).all()


@pytest.mark.parametrize("spaces", [DISCRETE, VECTOR, CONTINUOUS], ids=["discrete", "vector", "continuous"])
def test_an_update_computes_the_decisions_of_pieces_from_their_stored_hidden_states(spaces: SpacePair) -> None:
    learner = learner_for(spaces)
    tasks = RowTasks(spaces, [9, 23, -31, 50], num_trials=3)
    for batch in played(learner, SegmentRollout(tasks, num_episodes=1), 3):
        output = learner.policy.unroll(spaces, batch.inputs, left=batch.left)
        log_prob = output.distribution.log_prob(batch.action)
        torch.testing.assert_close(log_prob[batch.is_valid], batch.log_prob[batch.is_valid])


def test_a_segment_follows_every_step_exactly_once() -> None:
    learner = learner_for(VECTOR)
    tasks = RowTasks(VECTOR, [1, 2, 3, 40], num_trials=4)
    for batch in played(learner, SegmentRollout(tasks, num_episodes=1), 4):
        assert int(batch.is_valid.sum()) == 4 * SEGMENT
        assert int((batch.terminated | batch.truncated).sum()) == len(batch.end) == len(batch.segment.returns)


def test_returns_of_trials_over_several_segments_are_whole() -> None:
    learner = learner_for(VECTOR)
    segments = played(learner, SegmentRollout(RowTasks(VECTOR, [40], num_trials=2), num_episodes=1), 3)
    rewards = torch.cat([segment.reward[:, :2] for segment in segments])[:40]
    torch.testing.assert_close(segments[2].segment.returns, rewards.sum(0))


def test_trials_under_way_are_dropped_where_something_else_began_the_tasks() -> None:
    learner = learner_for(VECTOR)
    tasks = RowTasks(VECTOR, [1000], num_trials=2)
    rollout = SegmentRollout(tasks, num_episodes=1)
    played(learner, rollout, 1)
    tasks.begin(500, split=Split.HELD_OUT)
    batch = rollout.play(learner.policy, first_task=2, num_steps=4, generator=learner.generator)
    assert batch.segment.begins.all()
    assert [task["index"] for task in batch.segment.tasks] == [2, 3]


def test_trials_under_way_are_dropped_after_a_segment_that_failed() -> None:
    learner = learner_for(VECTOR)
    rollout = SegmentRollout(RowTasks(VECTOR, [1000], num_trials=2), num_episodes=1)

    def give_up(num_steps: int) -> None:
        if num_steps > 10:
            raise RuntimeError

    played(learner, rollout, 1)
    with pytest.raises(RuntimeError):
        rollout.play(learner.policy, first_task=2, num_steps=99, generator=learner.generator, progress=give_up)
    batch = rollout.play(learner.policy, first_task=2, num_steps=4, generator=learner.generator)
    assert batch.segment.begins.all()


def test_the_length_of_trials_is_estimated_without_waiting_for_long_ones() -> None:
    learner = learner_for(VECTOR)
    short = played(learner, SegmentRollout(RowTasks(VECTOR, [8], num_trials=4), num_episodes=1), 3)
    assert short[-1].segment.trial_steps == pytest.approx(8.0)
    unended = played(learner, SegmentRollout(RowTasks(VECTOR, [1000], num_trials=4), num_episodes=1), 2)
    assert unended[-1].segment.trial_steps == MOST_WHOLE_STEPS
    bounded = played(learner, SegmentRollout(RowTasks(VECTOR, [50], num_trials=4, limit=50), num_episodes=1), 2)
    assert bounded[-1].segment.trial_steps == 50.0


@pytest.mark.parametrize(
    ("lengths", "num_episodes", "expected"),
    [([8], 1, 8.0), ([-8], 1, 0.0), ([8, -8], 1, 4.0), ([1000], 1, 0.0), ([-8], 2, 16.0)],
    ids=["terminated", "cut off", "half of each", "none ended", "two episodes that are cut off"],
)
def test_the_horizon_is_that_of_trials_that_terminate(lengths: list[int], num_episodes: int, expected: float) -> None:
    tasks = RowTasks(VECTOR, lengths, num_trials=4, episodes_per_trial=num_episodes)
    *_, last = played(learner_for(VECTOR), SegmentRollout(tasks, num_episodes=num_episodes), 3)
    assert horizon_steps(last) == pytest.approx(expected)


@pytest.mark.parametrize(("length", "least", "most"), [(-80, 0.99, 0.99), (80, 0.996, 0.998)])
def test_the_discount_follows_from_the_horizon(length: int, least: float, most: float) -> None:
    learner = learner_for(VECTOR)
    *_, batch = played(learner, SegmentRollout(RowTasks(VECTOR, [length], num_trials=4), num_episodes=1), 10)
    discount = RL2Config().discount_for(horizon_steps(batch))
    assert least <= discount <= most
    critic = learner.critics["scripted"]
    expected, _ = update_targets(copy.deepcopy(critic), batch, RL2Config(discount=discount))
    found, _ = update_targets(copy.deepcopy(critic), batch, RL2Config())
    torch.testing.assert_close(found.advantage, expected.advantage)


@pytest.mark.parametrize("spaces", [DISCRETE, VECTOR], ids=["discrete", "vector"])
def test_an_update_learns_from_segments(spaces: SpacePair) -> None:
    """The reward is the action, so the policy comes to prefer the last action."""
    learner = learner_for(
        spaces, learning_rate=1e-2, minibatch_steps=64, min_minibatch_trials=2, discount=0.5, gae_lambda=0.0
    )
    rollout = SegmentRollout(RowTasks(spaces, [30, 200, 70], num_trials=8), num_episodes=1)
    chosen = []
    first_task = 0
    for _ in range(10):
        batch = rollout.play(learner.policy, first_task=first_task, num_steps=32, generator=learner.generator)
        first_task += num_tasks(batch)
        learner.update("scripted", batch)
        chosen.append(float(batch.action[batch.is_valid].float().mean()))
    most = spaces.action.choices[0] - 1
    assert chosen[-1] > 0.5 * (chosen[0] + most)
    assert learner.longest_trial("scripted") > 150


def test_episode_returns_need_no_whole_trials_to_be_counted() -> None:
    learner = learner_for(VECTOR)
    [batch] = played(learner, SegmentRollout(RowTasks(VECTOR, [5], num_trials=2), num_episodes=1), 1)
    assert episode_returns(batch).shape == (1, batch.num_trials)
