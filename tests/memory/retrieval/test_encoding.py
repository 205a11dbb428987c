from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.spaces import ActionKind, ActionSpec, ImageShape, ObservationKind, ObservationSpec, SpacePair
from memory.records import EpisodeRecord, TrialRecord
from memory.retrieval.encoding import EMBEDDING_WIDTH, TaskEncoder, first_steps, fit_encoder
from memory.retrieval.index import Floats
from memory.retrieval.random_signs import random_signs

ARMS = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.DISCRETE, size=1),
    action=ActionSpec(kind=ActionKind.DISCRETE, choices=(4,), start=(0,)),
)
CELLS = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.DISCRETE, size=9),
    action=ActionSpec(kind=ActionKind.MULTI_DISCRETE, choices=(2, 2), start=(0, 0)),
)
POINT = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.VECTOR, size=2),
    action=ActionSpec(kind=ActionKind.DISCRETE, choices=(2,), start=(0,)),
)
FILM = SpacePair(
    observation=ObservationSpec(
        kind=ObservationKind.IMAGE, size=1, images=(ImageShape(height=20, width=20, channels=2),)
    ),
    action=ActionSpec(kind=ActionKind.DISCRETE, choices=(2,), start=(0,)),
)
WIDE = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.VECTOR, size=60),
    action=ActionSpec(kind=ActionKind.CONTINUOUS, low=(-1.0,) * 20, high=(1.0,) * 20),
)
GEARED = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.VECTOR, size=3),
    action=ActionSpec(kind=ActionKind.MIXED, choices=(3,), low=(-1.0,), high=(1.0,), start=(0,)),
)


def arms(task: int, draw: np.random.Generator) -> TrialRecord:
    """40 pulls, 10 an episode, by a policy of its own; the arms' rewards are those of the task."""
    rewards = np.random.default_rng(task).normal(size=4)
    preferred = draw.dirichlet(np.ones(4))
    actions = draw.choice(4, size=40, p=preferred)
    received = (rewards[actions] + draw.normal(scale=0.3, size=40)).astype(np.float32)
    return trial_of(np.zeros((41, 1), np.float32), actions, received, lengths=[10] * 4)


def cells(task: int, draw: np.random.Generator) -> TrialRecord:
    moves = np.random.default_rng(task).integers(0, 9, size=(9, 4))
    actions = draw.integers(0, 2, size=(60, 2))
    seen = [0]
    for action in actions:
        seen.append(int(moves[seen[-1], action[0] * 2 + action[1]]))
    rewards = (np.array(seen[1:]) == task % 9).astype(np.float32)
    return trial_of(np.array(seen, np.float32)[:, None], actions, rewards, lengths=[30, 30])


def point(task: int, draw: np.random.Generator) -> TrialRecord:
    push = np.random.default_rng(task).normal(size=2)
    actions = (draw.random(40) < draw.random()).astype(np.int64)
    steps = (2 * actions[:, None] - 1) * push + draw.normal(scale=0.1, size=(40, 2))
    observations = np.concatenate([np.zeros((1, 2)), steps.cumsum(0)]).astype(np.float32)
    return trial_of(observations, actions, draw.normal(size=40).astype(np.float32), lengths=[40])


def wide(task: int, draw: np.random.Generator) -> TrialRecord:
    effect = np.random.default_rng(task).normal(size=(20, 60))
    actions = draw.normal(size=(50, 20)).astype(np.float32)
    observations = np.concatenate([np.zeros((1, 60)), np.clip(actions, -1, 1) @ effect]).astype(np.float32)
    return trial_of(observations, actions, actions[:, 0], lengths=[50])


def geared(task: int, draw: np.random.Generator) -> TrialRecord:
    effects = np.random.default_rng(task).normal(size=(4, 3))
    gears, numbers = draw.integers(0, 3, size=50), draw.normal(size=50).astype(np.float32)
    changes = effects[gears] + np.clip(numbers, -1, 1)[:, None] * effects[3]
    observations = np.concatenate([np.zeros((1, 3)), changes.cumsum(0)]).astype(np.float32)
    actions = np.stack([gears.astype(np.float32), numbers], axis=1)
    return trial_of(observations, actions, draw.normal(size=50).astype(np.float32), lengths=[50])


def film(task: int, draw: np.random.Generator) -> TrialRecord:
    """Each action lights up the areas of the task by amounts that add up."""
    areas = np.random.default_rng(task).random((2, 4, 4, 2))
    actions = (draw.random(40) < draw.uniform(0.2, 0.8)).astype(np.int64)
    light = np.concatenate([np.zeros((1, 4, 4, 2)), areas[actions].cumsum(0)]) * 6.0 + draw.random((41, 4, 4, 2))
    pixels = light.repeat(5, 1).repeat(5, 2).astype(np.uint8).reshape(41, -1)
    speed = draw.normal(size=(41, 1)).astype(np.float32).view(np.uint8)
    return trial_of(np.concatenate([speed, pixels], 1), actions, draw.normal(size=40).astype(np.float32), lengths=[40])


def trial_of(observations: NDArray[Any], actions: np.ndarray, rewards: Floats, *, lengths: list[int]) -> TrialRecord:
    bounds = np.cumsum([0, *lengths])
    episodes = tuple(
        EpisodeRecord(
            observations=observations[start : end + 1],
            actions=actions[start:end],
            rewards=rewards[start:end],
            is_terminated=True,
        )
        for start, end in pairwise(bounds)
    )
    return TrialRecord(task={}, episodes=episodes)


KINDS = {
    "arms": (ARMS, arms),
    "cells": (CELLS, cells),
    "point": (POINT, point),
    "wide": (WIDE, wide),
    "geared": (GEARED, geared),
    "film": (FILM, film),
}
Maker = Callable[[int, np.random.Generator], TrialRecord]


@pytest.mark.parametrize(("spaces", "make"), KINDS.values(), ids=KINDS)
def test_trials_of_a_task_by_different_policies_are_nearer_than_those_of_other_tasks(
    spaces: SpacePair, make: Maker
) -> None:
    draw = np.random.default_rng(0)
    once, again = ([make(task, draw) for task in range(12)] for _ in range(2))
    encoder = TaskEncoder(spaces, fit_encoder(spaces, once), generation=1)
    keys, queries = (encoder.embed(first_steps(trials, num_steps=None, spaces=spaces)) for trials in (once, again))
    assert keys.shape == (12, EMBEDDING_WIDTH)
    assert keys.dtype == np.float32
    distances = np.linalg.norm(queries[:, None] - keys[None], axis=2)
    assert (distances.argmin(1) == np.arange(12)).mean() > 0.9


@pytest.mark.parametrize(("spaces", "make"), KINDS.values(), ids=KINDS)
def test_an_embedding_depends_on_the_first_steps_of_its_own_trial_alone(spaces: SpacePair, make: Maker) -> None:
    draw = np.random.default_rng(1)
    trials = [make(task, draw) for task in range(5)]
    encoder = TaskEncoder(spaces, fit_encoder(spaces, trials), generation=1)
    together = encoder.embed(first_steps(trials, num_steps=12, spaces=spaces))
    for index, trial in enumerate(trials):
        alone = encoder.embed(first_steps([trial], num_steps=12, spaces=spaces))
        np.testing.assert_allclose(alone[0], together[index], atol=1e-5)
    assert not np.allclose(together, encoder.embed(first_steps(trials, num_steps=30, spaces=spaces)), atol=1e-3)


def test_the_first_steps_go_over_episodes_and_end_where_they_are_counted() -> None:
    draw = np.random.default_rng(2)
    steps = first_steps([arms(0, draw), arms(1, draw)], num_steps=25)
    assert steps.trial.tolist() == [0] * 25 + [1] * 25
    assert np.flatnonzero(steps.terminated).tolist() == [9, 19, 34, 44]
    assert len(first_steps([arms(0, draw)], num_steps=1_000).trial) == 40


def test_a_pair_that_was_never_visited_counts_as_the_mean_of_the_family() -> None:
    """Two arms of known mean rewards, by hand: the embedding is the difference from the family, times n / (n + 1)."""
    spaces = SpacePair(
        observation=ARMS.observation, action=ActionSpec(kind=ActionKind.DISCRETE, choices=(2,), start=(0,))
    )

    def pulls(actions: list[int], rewards: list[float]) -> TrialRecord:
        observations = np.zeros((len(actions) + 1, 1), np.float32)
        return trial_of(observations, np.array(actions), np.array(rewards, np.float32), lengths=[len(actions)])

    family = [pulls([0, 1], [0.0, 1.0]), pulls([0, 1], [1.0, 0.0])]
    parameters = fit_encoder(spaces, family)
    assert (parameters.reward_mean[0], parameters.reward_spread[0]) == (0.5, 0.5)
    encoder = TaskEncoder(spaces, parameters, generation=1)
    [embedding] = encoder.embed(first_steps([pulls([0, 0, 0], [1.0, 1.0, 1.0])], num_steps=2))
    # Arm 0: reward (1 - 0.5) / 0.5 = 1, the family's mean is 0; none of 2 visits ended an episode, and none of the
    # family's visits of arm 0 did. Arm 1 was not visited.
    assert embedding[:4].tolist() == pytest.approx([2 / 3, 0.0, 0.0, 0.0])
    assert not embedding[4:].any()


def test_a_trial_without_steps_has_the_mean_of_the_family() -> None:
    draw = np.random.default_rng(3)
    trials = [point(task, draw) for task in range(4)]
    encoder = TaskEncoder(POINT, fit_encoder(POINT, trials), generation=1)
    assert not encoder.embed(first_steps(trials, num_steps=0)).any()


def test_random_signs_keep_distances_and_never_change() -> None:
    signs = random_signs(np.arange(5_000))
    assert np.allclose(np.abs(signs), 1 / 8)
    values = np.random.default_rng(0).normal(size=(200, 5_000)).astype(np.float32)
    ratio = np.linalg.norm(values @ signs, axis=1) / np.linalg.norm(values, axis=1)
    assert abs(ratio.mean() - 1.0) < 0.05
    assert ratio.std() < 0.15
    # The hash of 0, as published for SplitMix64 with seed 0: 0xE220A8397B1DCDAF, least byte first.
    expected = np.unpackbits(np.frombuffer(bytes.fromhex("afcd1d7b39a820e2"), np.uint8))
    assert (signs[0] > 0).astype(int).tolist() == expected.tolist()
