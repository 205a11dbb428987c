"""A worker draws its environment after each reset and step, if it is asked to."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from envs.errors import FamilySpecError, WorkerFaultError
from envs.family import FamilySource, FamilySpec, Split
from envs.gymnasium.batch import WorkerTaskBatch
from tests.envs.families import LIMITS, all_active

DRAWS_NONSENSE = """
from gymnasium.envs.classic_control import CartPoleEnv

class Draws(CartPoleEnv):
    def render(self):
        return "no picture"

class Blind(CartPoleEnv):
    metadata = {"render_modes": []}
    def __init__(self):
        super().__init__()
"""
FROZEN = FamilySpec(
    name="lake",
    source=FamilySource.GYMNASIUM,
    entry="FrozenLake-v1",
    kwargs={"is_slippery": False},
    max_episode_steps=2,
)


def drawing(spec: FamilySpec, mode: str | None) -> Any:
    return closing(WorkerTaskBatch(spec, num_trials=1, device="cpu", limits=LIMITS, render_mode=mode))


def step(tasks: WorkerTaskBatch, action: int) -> None:
    tasks.step(torch.tensor([action]), all_active(1))


def test_texts_are_drawn_after_each_reset_and_step_and_the_last_step_of_an_episode_draws_both() -> None:
    with drawing(FROZEN, "ansi") as tasks:
        tasks.begin(0, split=Split.HELD_OUT)
        [start] = tasks.frames()
        assert "\x1b[41mS\x1b[0mFFF" in start
        step(tasks, 1)
        [down] = tasks.frames()
        assert "(Down)" in down
        step(tasks, 1)
        last, first_of_next = tasks.frames()
        assert "(Down)" in last
        assert first_of_next == start
        assert tasks.frames() == []


def test_pictures_arrive_as_the_environment_draws_them() -> None:
    import gymnasium

    plain = gymnasium.make("FrozenLake-v1", is_slippery=False, render_mode="rgb_array")
    plain.reset(seed=0)
    with drawing(FROZEN, "rgb_array") as tasks:
        tasks.begin(0, split=Split.HELD_OUT)
        [picture] = tasks.frames()
        assert picture.dtype == np.uint8
        assert np.array_equal(picture, np.asarray(plain.render()))
        assert tasks.frames_per_s == 4
    plain.close()


def test_a_worker_that_is_not_asked_to_draw_draws_nothing() -> None:
    with drawing(FROZEN, None) as tasks:
        tasks.begin(0, split=Split.HELD_OUT)
        assert not tasks.is_drawing
        assert tasks.frames() == []


def own(name: str, folder: Path) -> FamilySpec:
    (folder / "drawn.py").write_text(DRAWS_NONSENSE)
    return FamilySpec(name="drawn", source=FamilySource.GYMNASIUM, entry=f"drawn:{name}", import_paths=(str(folder),))


def test_an_environment_without_the_mode_is_refused_with_those_that_it_has(tmp_path: Path) -> None:
    with pytest.raises(FamilySpecError, match=r"it has 'human', 'rgb_array'.* Write --video FILE\.mp4"):
        drawing(own("Draws", tmp_path), "ansi")


def test_an_environment_that_takes_no_render_mode_is_told_what_draws(tmp_path: Path) -> None:
    with pytest.raises(
        FamilySpecError, match=r"takes no argument 'render_mode'\. To be drawn, its class takes render_mode"
    ):
        drawing(own("Blind", tmp_path), "rgb_array")


def test_a_picture_that_is_none_is_a_fault_of_the_environment(tmp_path: Path) -> None:
    with drawing(own("Draws", tmp_path), "rgb_array") as tasks, pytest.raises(WorkerFaultError, match="render should"):
        tasks.begin(0, split=Split.HELD_OUT)
