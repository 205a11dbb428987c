"""Tests of images that a worker sends to the trainer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from envs.errors import WorkerFaultError
from envs.family import FamilySpec, Split
from envs.gymnasium.host.observations import form_of
from envs.gymnasium.shared_arrays import FEWEST_TRIALS, MAX_IMAGE_BYTES, memory_layout
from envs.gymnasium.task_drawing import draw_tasks
from tests.envs.environments.image_environments import Camera, Robot
from tests.envs.families import all_active, family, opened


def filmed(name: str, **settings: Any) -> FamilySpec:
    return family(f"image_environments:{name}", **settings)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("Camera", {}),
        ("Camera", {"shape": [3, 96, 80]}),
        ("Camera", {"shape": [10, 10, 4], "dtype": "bool", "high": 1}),
        ("Robot", {}),
    ],
)
def test_a_worker_sends_the_bytes_of_each_image_of_an_episode_and_of_its_last_one(
    name: str, kwargs: dict[str, Any]
) -> None:
    env: Any = {"Camera": Camera, "Robot": Robot}[name](**kwargs)
    form = form_of(env.observation_space, image_size=64)

    def bytes_of(value: Any) -> Any:
        row = np.zeros(form.width, form.dtype)
        form.write(value, row)
        return row

    spec = filmed(name, kwargs=kwargs)
    tasks = opened(spec)
    try:
        assert tasks.spaces.observation.dtype == "uint8"
        first = tasks.begin(3, split=Split.TRAINING)
        assert first.dtype is torch.uint8
        seeds = [task.seed for task in draw_tasks(spec, Split.TRAINING, 3, 2)]
        assert np.array_equal(first[1].numpy(), bytes_of(env.reset(seed=seeds[1])[0]))
        for _ in range(6):
            transition = tasks.step(torch.zeros(2, dtype=torch.int64), all_active(2))
            last, _, is_over, _, _ = env.step(0)
            assert np.array_equal(transition.final_observation[1].numpy(), bytes_of(last))
            following = env.reset()[0] if is_over else last
            assert np.array_equal(transition.observation[1].numpy(), bytes_of(following))
    finally:
        tasks.close()


def test_images_are_bytes_in_the_shared_memory() -> None:
    tasks = opened(filmed("Camera"))
    tasks.close()
    layout, size = memory_layout(tasks.spaces, 2)
    assert layout["observation"][1:] == ("uint8", [2, 3600])
    assert size < 2 * 2 * 3600 + 1000


def test_a_number_that_is_not_finite_beside_an_image_is_a_fault() -> None:
    tasks = opened(filmed("BrokenRobot"))
    try:
        tasks.begin(0, split=Split.TRAINING)
        tasks.step(torch.zeros(2, dtype=torch.int64), all_active(2))
        with pytest.raises(WorkerFaultError, match="NaN"):
            tasks.step(torch.zeros(2, dtype=torch.int64), all_active(2))
    finally:
        tasks.close()


@pytest.mark.parametrize(("limit", "expected"), [(10, 6), (1800, MAX_IMAGE_BYTES // (3 * 1800 * 12288)), (10**6, 4)])
def test_long_trials_with_images_are_fewer_so_that_a_batch_fits_into_memory(limit: int, expected: int) -> None:
    assert FEWEST_TRIALS == 4
    spec = filmed("Camera", kwargs={"shape": [64, 64, 3]}, max_episode_steps=limit)
    tasks = opened(spec, num_trials=6)
    tasks.close()
    assert tasks.num_trials == max(FEWEST_TRIALS, min(6, expected))


def test_a_declared_size_is_the_largest_side_of_the_images() -> None:
    tasks = opened(filmed("Camera", image_size=20))
    tasks.close()
    [image] = tasks.spaces.observation.images
    assert (image.height, image.width, image.channels) == (20, 15, 3)
