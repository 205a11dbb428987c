"""The families that are played in segments."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.segment import LONG_LIMIT_STEPS, LONG_TRIAL_STEPS, MOST_WHOLE_STEPS, is_played_in_segments
from agent.learners.rl2.training import EagerTraining
from agent.learners.rl2.trees import tensors_of
from agent.learners.rl2.trials import num_tasks
from envs.family import FamilySource, Split
from tests.agent.learners.rl2.playing import learner_for
from tests.agent.learners.rl2.row_tasks import RowTasks
from tests.agent.learners.rl2.scripted_tasks import VECTOR


def is_segmented(
    limit: int | None,
    longest_trial: float | None,
    *,
    num_episodes: int = 1,
    config: RL2Config | None = None,
    has_learned_keys: bool = False,
    source: FamilySource = FamilySource.GYMNASIUM,
    recurs: bool = False,
) -> bool:
    tasks = RowTasks(VECTOR, [5], num_trials=2, limit=limit)
    tasks.spec = replace(tasks.spec, source=source)
    if recurs:
        tasks.recurs, tasks.begin_tasks = True, tasks.begin
    return is_played_in_segments(
        tasks,
        config or RL2Config(),
        num_episodes=num_episodes,
        longest_trial=longest_trial,
        has_learned_keys=has_learned_keys,
    )


def test_long_trials_are_played_in_segments() -> None:
    assert is_segmented(LONG_LIMIT_STEPS, LONG_TRIAL_STEPS + 1)
    assert is_segmented(LONG_LIMIT_STEPS, None)
    assert is_segmented(None, LONG_TRIAL_STEPS + 1)


def test_short_trials_are_played_whole() -> None:
    assert not is_segmented(LONG_LIMIT_STEPS - 1, None)
    assert not is_segmented(LONG_LIMIT_STEPS - 1, LONG_LIMIT_STEPS - 1)
    assert not is_segmented(LONG_LIMIT_STEPS, LONG_TRIAL_STEPS)
    assert not is_segmented(None, LONG_TRIAL_STEPS)


def test_trials_of_several_episodes_are_played_whole_if_they_fit_into_memory() -> None:
    assert not is_segmented(1000, 4000, num_episodes=4)
    assert is_segmented(1000, 4000, num_episodes=5)


def test_trials_that_may_not_fit_into_memory_are_played_in_segments() -> None:
    assert is_segmented(100_000, None)
    assert is_segmented(MOST_WHOLE_STEPS + 1, 10.0)
    assert is_segmented(None, None)


def test_only_policies_and_families_that_allow_it_are_played_in_segments() -> None:
    assert not is_segmented(100_000, 5000.0, config=RL2Config(segment_steps=None))
    assert not is_segmented(100_000, 5000.0, has_learned_keys=True)
    assert not is_segmented(100_000, 5000.0, source=FamilySource.TENSOR)
    assert not is_segmented(100_000, 5000.0, recurs=True)


@pytest.mark.parametrize("lengths", [[30, -20, 7], [400]], ids=["short", "longest that is whole"])
def test_short_trials_are_played_and_learned_as_if_there_were_no_segments(lengths: list[int]) -> None:
    def learned(*, in_one_call: bool) -> RL2Learner:
        learner, tasks = learner_for(VECTOR), RowTasks(VECTOR, lengths, num_trials=4, limit=400)
        training = EagerTraining(learner, "scripted", tasks)
        for first_task in (0, 4):
            if in_one_call:
                batch = collect_trials(
                    learner.policy, tasks, first_task=first_task, split=Split.TRAINING, generator=learner.generator
                )
            else:
                batch = training.play(first_task)
            learner.update("scripted", batch)
        return learner

    expected, found = learned(in_one_call=True).to_tensors(), learned(in_one_call=False).to_tensors()
    assert expected.keys() == found.keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def kinds_of(lengths: list[int], *, count: int) -> list[str]:
    """Return how the batches of a training are played."""
    learner = learner_for(VECTOR, segment_steps=128)
    training = EagerTraining(learner, "scripted", RowTasks(VECTOR, lengths, num_trials=2, limit=1000))
    first_task, kinds = 0, []
    for _ in range(count):
        batch = training.play(first_task)
        first_task += num_tasks(batch)
        learner.update("scripted", batch)
        kinds.append("whole" if batch.segment is None else "segment")
    return kinds


def test_trials_that_turn_out_to_be_short_are_played_whole() -> None:
    kinds = kinds_of([60], count=12)
    assert kinds[:9] == ["segment"] * 9  # after which a trial of 1,000 steps would have ended
    assert kinds[-1] == "whole"


def test_a_training_of_long_trials_stays_with_segments() -> None:
    assert set(kinds_of([1000], count=14)) == {"segment"}


def test_a_batch_of_a_segment_has_a_bounded_number_of_steps() -> None:
    learner = learner_for(VECTOR)
    training = EagerTraining(learner, "scripted", RowTasks(VECTOR, [100_000], num_trials=2, limit=100_000))
    batch = training.play(0)
    assert batch.num_steps == learner.config.segment_steps
    assert max(len(tensor) for tensor in tensors_of(batch.steps)) == learner.config.segment_steps
