"""A memory of trials returns the newest trials of a task, with their age."""

from __future__ import annotations

import numpy as np

from agent.policies.trial_memory import MAX_TRIALS_OF_A_TASK, ExactTrialMemory
from memory.records import EpisodeRecord, TrialRecord
from tests.agent.learners.rl2.scripted_tasks import DISCRETE, VECTOR


def trial_from(first: list[float], *, reward: float = 0.0) -> TrialRecord:
    episode = EpisodeRecord(
        observations=np.array([first, first], np.float32),
        actions=np.zeros(1, np.int64),
        rewards=np.array([reward], np.float32),
        is_terminated=True,
    )
    return TrialRecord(task={}, episodes=(episode,))


def rewards_of(memory: ExactTrialMemory, first: list[float]) -> list[float]:
    found = memory.recall(VECTOR, np.array(first, np.float32))
    return [float(trial.episodes[0].rewards[0]) for trial in found.trials]


def test_trials_are_recalled_by_their_first_observation_oldest_first() -> None:
    memory = ExactTrialMemory()
    for reward, first in enumerate([[0.0, 1.0, 2.0], [5.0, 1.0, 2.0], [-0.0, 1.0, 2.0]]):
        memory.store(VECTOR, trial_from(first, reward=float(reward)))
    assert rewards_of(memory, [0.0, 1.0, 2.0]) == [0.0, 2.0]
    assert rewards_of(memory, [5.0, 1.0, 2.0]) == [1.0]
    assert rewards_of(memory, [5.0, 1.0, 2.5]) == []


def test_spaces_do_not_share_trials() -> None:
    memory = ExactTrialMemory()
    memory.store(VECTOR, trial_from([1.0]))
    assert memory.recall(DISCRETE, np.array([1.0], np.float32)).trials == ()


def test_only_the_newest_trials_of_a_task_are_kept() -> None:
    memory = ExactTrialMemory()
    for reward in range(MAX_TRIALS_OF_A_TASK + 3):
        memory.store(VECTOR, trial_from([1.0], reward=float(reward)))
    assert rewards_of(memory, [1.0]) == [float(3 + number) for number in range(MAX_TRIALS_OF_A_TASK)]


def test_the_age_counts_trials_of_the_same_spaces_since_the_last_recalled() -> None:
    memory = ExactTrialMemory()
    memory.store(VECTOR, trial_from([1.0]))
    assert memory.recall(VECTOR, np.ones(1, np.float32)).age == 0.0
    memory.store(DISCRETE, trial_from([1.0]))
    memory.store(VECTOR, trial_from([2.0]))
    memory.store(VECTOR, trial_from([3.0]))
    assert memory.recall(VECTOR, np.ones(1, np.float32)).age == 2.0
