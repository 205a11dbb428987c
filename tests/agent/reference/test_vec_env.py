"""Tests of the adapter of a worker's tasks to stable-baselines3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from agent.reference.vec_env import TrainingTasks, action_space, actions_of, observation_space
from envs.family import FamilySpec
from envs.gymnasium.variations import Distribution, Variation, VariationTarget
from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec
from tests.envs.families import opened, sound

CONTINUOUS = ActionSpec(kind=ActionKind.CONTINUOUS, low=(-2.0,), high=(2.0,))
MIXED = ActionSpec(kind=ActionKind.MIXED, choices=(3, 2), low=(-2.0,), high=(2.0,), start=(0, 0))
LENGTH = Variation(name="length", target=VariationTarget.ATTRIBUTE, distribution=Distribution.INTEGER, low=2, high=9)


@contextmanager
def environments(spec: FamilySpec, num: int = 2, steps: list[int] | None = None) -> Iterator[TrainingTasks]:
    tasks = opened(spec, num)
    try:
        yield TrainingTasks(tasks, on_step=lambda count: None if steps is None else steps.append(count))
    finally:
        tasks.close()


def test_spaces_of_every_kind_have_a_space_of_gymnasium() -> None:
    vector, index = ObservationKind.VECTOR, ObservationKind.DISCRETE
    assert observation_space(ObservationSpec(kind=vector, size=3)) == spaces.Box(-np.inf, np.inf, (3,), np.float32)
    assert observation_space(ObservationSpec(kind=index, size=5)) == spaces.Discrete(5)
    assert action_space(CONTINUOUS) == spaces.Box(-1.0, 1.0, (1,), np.float32)
    discrete = ActionSpec(kind=ActionKind.DISCRETE, choices=(3,), start=(5,))
    assert action_space(discrete) == spaces.Discrete(3)
    several = ActionSpec(kind=ActionKind.MULTI_DISCRETE, choices=(3, 2), start=(0, 0))
    assert action_space(several) == spaces.MultiDiscrete([3, 2])
    assert action_space(MIXED) == spaces.Box(-1.0, 1.0, (6,), np.float32)


def test_a_mixed_action_has_the_choices_of_the_largest_numbers_and_then_its_numbers() -> None:
    given = np.float32([[0.1, 0.9, -1.0, -0.5, -0.2, 7.0], [0.3, 0.2, 0.1, 1.0, -1.0, 0.5]])
    assert actions_of(given, MIXED).tolist() == [[1.0, 1.0, 1.0], [0.0, 0.0, 0.5]]


def test_continuous_actions_are_clipped_to_what_a_worker_scales() -> None:
    assert actions_of(np.array([[-7.0], [0.5]]), CONTINUOUS).tolist() == [[-1.0], [0.5]]


def test_an_episode_that_ends_is_followed_by_a_new_task_and_keeps_its_last_observation() -> None:
    steps: list[int] = []
    with environments(sound("Counter", kwargs={"ends_by": "truncated"}), steps=steps) as envs:
        first = envs.reset()
        assert first.tolist() == [[0.0, 0.0, 0.0]] * 2
        for _ in range(4):
            observation, reward, done, infos = envs.step(np.array([0, 1]))
        assert done.tolist() == [True, True]
        assert reward.tolist() == [4.0, 4.0]
        # The episode of a new task is its first: the counter of episodes begins again.
        assert observation.tolist() == [[0.0, 0.0, 0.0]] * 2
        assert [info["TimeLimit.truncated"] for info in infos] == [True, True]
        assert infos[1]["terminal_observation"].tolist() == [0.0, 4.0, 6.0]
        assert infos[0]["terminal_observation"].tolist() == [0.0, 4.0, 5.0]
    assert steps == [2, 2, 2, 2]


def test_a_terminated_episode_is_not_bootstrapped() -> None:
    with environments(sound("Counter", kwargs={"length": 1})) as envs:
        envs.reset()
        _, _, done, infos = envs.step(np.array([0, 0]))
        assert done.all()
        assert not any(info["TimeLimit.truncated"] for info in infos)


def test_each_episode_is_a_task_that_was_not_begun_before() -> None:
    with environments(sound("Counter", variations=(LENGTH,))) as envs:
        envs.reset()
        seen = [place["index"] for place in envs._tasks.describe_tasks([0, 1])]
        for _ in range(60):
            _, _, done, _ = envs.step(np.array([0, 0]))
            seen += [envs._tasks.describe_tasks([int(row)])[0]["index"] for row in np.flatnonzero(done)]
    assert len(seen) > 8
    assert sorted(seen) == list(range(len(seen)))


def test_discrete_observations_are_indices() -> None:
    with environments(FamilySpec.from_json(sound("Counter").to_json() | {"entry": "FrozenLake-v1"})) as envs:
        observation: Any = envs.reset()
        assert (observation.dtype, observation.tolist()) == (np.int64, [0, 0])


def test_the_environments_of_a_worker_have_no_attributes_here() -> None:
    with environments(sound("Counter")) as envs:
        assert envs.get_attr("render_mode") == [None, None]
        with pytest.raises(AttributeError, match="length"):
            envs.get_attr("length")
        with pytest.raises(AttributeError, match="cannot be set"):
            envs.set_attr("length", 3)
        with pytest.raises(AttributeError, match="cannot be called"):
            envs.env_method("observe")
