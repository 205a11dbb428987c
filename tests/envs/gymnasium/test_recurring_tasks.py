"""Tests of tasks that are begun in one row, and of tasks that recur."""

from __future__ import annotations

import torch

from envs.family import FamilySource, FamilySpec, Split
from envs.gymnasium.task_drawing import draw_tasks
from envs.gymnasium.variations import Distribution, Variation, VariationTarget
from envs.task_batch import begin_exposure, recurs
from tests.envs.families import all_active, playing, sound, zeros


def test_a_task_begun_in_one_row_is_the_task_of_its_index_and_leaves_the_other_rows_as_they_are() -> None:
    length = Variation(name="length", target=VariationTarget.KWARG, distribution=Distribution.INTEGER, low=3, high=9)
    with playing(sound("Counter", variations=(length,)), 2) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        for _ in range(2):
            tasks.step(zeros(tasks), all_active(2))
        assert tasks.begin_row(1, 17, split=Split.TRAINING).tolist() == [0, 0, 0]
        places = tasks.describe_tasks([0, 1])
        assert [place["index"] for place in places] == [0, 17]
        [drawn] = draw_tasks(tasks.spec, Split.TRAINING, 17, 1)
        assert places[1]["kwargs"] == drawn.to_json()["kwargs"]
        observation = tasks.step(zeros(tasks), all_active(2)).observation
        assert observation[:, 1].tolist() == [3 if places[0]["kwargs"]["length"] > 3 else 0, 1]


def test_the_step_limit_of_a_task_begun_in_one_row_counts_from_its_beginning() -> None:
    with playing(sound("Counter", kwargs={"length": 100}, max_episode_steps=4)) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        for _ in range(3):
            tasks.step(zeros(tasks), all_active(2))
        tasks.begin_row(1, 2, split=Split.TRAINING)
        ends = [tasks.step(zeros(tasks), all_active(2)).truncated.tolist() for _ in range(4)]
        assert ends == [[True, False], [False, False], [False, False], [False, True]]


def test_a_varied_attribute_of_a_task_begun_in_one_row_is_set_in_that_row_only() -> None:
    length = Variation(
        name="length", target=VariationTarget.ATTRIBUTE, distribution=Distribution.INTEGER, low=2, high=50
    )
    with playing(sound("Counter", variations=(length,)), 2) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        tasks.begin_row(1, 9, split=Split.TRAINING)
        lengths = [place["attributes"]["length"] for place in tasks.describe_tasks([0, 1])]
        ended_at = [0, 0]
        for step in range(1, max(lengths) + 1):
            ended = tasks.step(zeros(tasks), all_active(2)).terminated.tolist()
            ended_at = [at or step * has_ended for at, has_ended in zip(ended_at, ended, strict=True)]
        assert ended_at == lengths


MAPS = Variation(
    name="desc",
    target=VariationTarget.KWARG,
    distribution=Distribution.FROZEN_LAKE_MAP,
    options={"size": 4, "p": 0.8},
)


def lakes(recurring: int, *variations: Variation) -> FamilySpec:
    return FamilySpec(
        name="lakes",
        source=FamilySource.GYMNASIUM,
        entry="FrozenLake-v1",
        variations=variations,
        recurring=recurring,
        max_episode_steps=30,
    )


def test_training_tasks_of_a_pool_come_back_with_their_values_and_new_noise() -> None:
    pool, again = (draw_tasks(lakes(3, MAPS), Split.TRAINING, first, 3) for first in (0, 3))
    assert [task.drawn() for task in pool] == [task.drawn() for task in again]
    assert len({str(task.drawn()) for task in pool}) == 3
    assert len({task.seed for task in (*pool, *again)}) == 6
    unpooled = lakes(0, MAPS)
    assert pool == draw_tasks(unpooled, Split.TRAINING, 0, 3)
    assert draw_tasks(lakes(3, MAPS), Split.HELD_OUT, 0, 9) == draw_tasks(unpooled, Split.HELD_OUT, 0, 9)


def test_the_seed_is_what_comes_back_where_nothing_is_varied() -> None:
    assert draw_tasks(lakes(2), Split.TRAINING, 0, 2) == draw_tasks(lakes(2), Split.TRAINING, 2, 2)


def test_tasks_that_recur_begin_again_in_any_row() -> None:
    with playing(lakes(3, MAPS), 3) as tasks:
        assert recurs(tasks)
        begin_exposure(tasks, 3, split=Split.TRAINING)
        first = tasks.describe_tasks([0, 1, 2])
        assert [task["index"] for task in first] == [0, 1, 2]
        begin_exposure(tasks, torch.tensor([5, 0, 5]), split=Split.TRAINING, exposure=1)
        again = tasks.describe_tasks([0, 1, 2])
        assert [task["index"] for task in again] == [2, 0, 2]
        assert [task["kwargs"] for task in again] == [first[index]["kwargs"] for index in (2, 0, 2)]
        assert again[0]["seed"] != first[2]["seed"]


def test_an_exposure_of_tasks_that_do_not_recur_is_the_same_again() -> None:
    with playing(lakes(0, MAPS), 2) as tasks:
        assert not recurs(tasks)
        begin_exposure(tasks, 0, split=Split.TRAINING)
        first = tasks.describe_tasks([0, 1])
        begin_exposure(tasks, 0, split=Split.TRAINING, exposure=1)
        assert tasks.describe_tasks([0, 1]) == first
