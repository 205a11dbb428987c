"""Recall finds the stored trials of a task by its context, its first observation and its first steps."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NoReturn

import numpy as np
import pytest

from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair
from memory.errors import TrialNotFoundError
from memory.records import ContextKey, EpisodeRecord, TrialRecord
from memory.retrieval.digests import context_digests
from memory.retrieval.key_upkeep import recall_among
from memory.retrieval.recall import MAX_TRIALS_OF_A_TASK, TaskRecall

SPACES = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.DISCRETE, size=8),
    action=ActionSpec(kind=ActionKind.DISCRETE, choices=(4,), start=(0,)),
)


def play(task: int, *, seed: int, first: int = 0, named: bool = True, num_steps: int = 32) -> TrialRecord:
    """Return a trial of a task whose transitions and rewards depend on its number, with random actions."""
    rng, dynamics = np.random.default_rng(seed), np.random.default_rng(1_000 + task)
    following, rewards = dynamics.integers(8, size=(8, 4)), dynamics.random((8, 4)).astype(np.float32)
    states, paid, actions = [first], [], rng.integers(4, size=num_steps)
    for action in actions:
        paid.append(rewards[states[-1], action])
        states.append(int(following[states[-1], action]))
    episode = EpisodeRecord(
        observations=np.array(states, np.float32)[:, None],
        actions=actions,
        rewards=np.array(paid, np.float32),
        is_terminated=False,
    )
    return TrialRecord(task={"split": "training", "index": task} if named else {}, episodes=(episode,))


def recall_of(trials: list[TrialRecord], *, contexts: list[bytes | None] | None = None) -> TaskRecall:
    digests = context_digests(np.stack([trial.episodes[0].observations[0] for trial in trials]), contexts)
    keyed = [replace(trial, context=ContextKey(digest=digest)) for trial, digest in zip(trials, digests, strict=True)]

    def load(number: int) -> TrialRecord:
        if number >= len(keyed):
            raise TrialNotFoundError(operation="loading trial", subject=str(number), found="it was pruned.")
        return keyed[number]

    return recall_among(SPACES, ["f"] * len(keyed), load)


def start(trial: TrialRecord) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return trial.episodes[0].observations[0]


def tasks_of(trials: tuple[TrialRecord, ...]) -> set[int]:
    return {trial.task["index"] for trial in trials}


def test_a_context_recalls_the_newest_trials_of_its_task_alone() -> None:
    contexts: list[bytes | None] = [bytes([number % 5]) * 16 for number in range(60)]
    trials = [play(number % 5, seed=number) for number in range(60)]
    recall = recall_of(trials, contexts=contexts)
    found = recall.find(start(trials[0]), context=contexts[3])
    assert tasks_of(found.trials) == {3}
    assert len(found.trials) == MAX_TRIALS_OF_A_TASK
    expected = [trials[number] for number in range(60) if number % 5 == 3][-MAX_TRIALS_OF_A_TASK:]
    assert [trial.episodes for trial in found.trials] == [trial.episodes for trial in expected], "oldest first"
    assert found.likeness > 0.9
    assert found.age == 1


def test_equal_tasks_of_a_pool_are_recalled_as_one_task() -> None:
    drawn = [play(number % 4, seed=number) for number in range(32)]
    trials = [
        replace(trial, task={"split": "training", "index": number % 8, "kwargs": {"map": number % 4}})
        for number, trial in enumerate(drawn)
    ]
    contexts: list[bytes | None] = [bytes([number % 4]) * 16 for number in range(32)]
    recall = recall_of(trials, contexts=contexts)
    found = recall.find(start(trials[0]), context=contexts[1])
    assert tasks_of(found.trials) == {1, 5}
    assert len(recall.tasks) == 4
    assert found.likeness > 0.9


def test_a_context_that_was_never_met_recalls_nothing() -> None:
    recall = recall_of([play(0, seed=1)], contexts=[b"a" * 16])
    assert recall.find(np.zeros(1, np.float32), context=b"b" * 16).trials == ()


def test_a_first_observation_of_its_own_recalls_the_task() -> None:
    trials = [play(number % 8, seed=number, first=number % 8) for number in range(48)]
    found = recall_of(trials).find(np.array([5.0], np.float32))
    assert tasks_of(found.trials) == {5}
    assert found.likeness > 0.9


def test_a_first_observation_of_all_tasks_is_doubted_until_the_first_steps_tell_which_it_is() -> None:
    trials = [play(number % 6, seed=number) for number in range(90)]
    recall = recall_of(trials)
    assert recall.find(start(trials[0])).likeness < 0.3
    for task in range(6):
        found = recall.find(start(trials[0]), begun=play(task, seed=500 + task))
        assert tasks_of(found.trials) == {task}
        assert found.likeness > 0.7


def test_the_first_steps_of_a_task_that_was_never_met_are_doubted() -> None:
    trials = [play(number if number % 2 else number % 4, seed=number) for number in range(120)]
    recall = recall_of(trials)
    new, met = (recall.find(start(trials[0]), begun=play(task, seed=900)).likeness for task in (5_000, 2))
    assert new < met


def test_a_recall_of_few_trials_believes_an_equal_context() -> None:
    recall = recall_of([play(1, seed=1)], contexts=[b"a" * 16])
    assert recall.find(np.zeros(1, np.float32), context=b"a" * 16).likeness == pytest.approx(0.95, abs=0.01)


def test_an_added_trial_is_recalled_and_later_than_all_others() -> None:
    recall = recall_of([play(0, seed=1, named=False)])
    added = play(3, seed=2, named=False, first=4)
    assert recall.find(start(added)).trials == ()
    recall.add(added)
    found = recall.find(start(added))
    assert found.trials == (added,)
    assert (found.age, len(recall)) == (0.0, 2)


def test_a_trial_that_was_pruned_in_the_meantime_is_left_out() -> None:
    recall = recall_of([play(0, seed=1), play(0, seed=2)])
    recall._of_task[next(iter(recall._of_task))].append(99)
    assert len(recall.find(np.zeros(1, np.float32)).trials) == 2


def test_trials_of_which_none_can_be_loaded_recall_nothing() -> None:
    trials = [play(0, seed=1), play(1, seed=2)]
    recall = recall_of(trials)
    recall._load = lru_cache(4)(gone)
    assert recall.find(start(trials[0]), begun=play(0, seed=3)).trials == ()


def gone(number: int) -> NoReturn:
    raise TrialNotFoundError(operation="loading trial", subject=str(number), found="it was pruned.")
