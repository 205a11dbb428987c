"""Dark rooms follow their rules, and their splits share no goal."""

from __future__ import annotations

import torch

from envs.family import FamilySource, FamilySpec, Split
from envs.registry import open_tasks
from envs.tensor.dark_rooms import DarkRooms

NORTH, EAST, SOUTH, WEST, STAY = range(5)


def opened(num_trials: int, *, max_episode_steps: int | None = None, **kwargs: int) -> DarkRooms:
    spec = FamilySpec(
        name="rooms",
        source=FamilySource.TENSOR,
        entry="dark_rooms",
        kwargs=kwargs,
        max_episode_steps=max_episode_steps,
    )
    tasks = open_tasks(spec, None, num_trials=num_trials, device="cpu")
    assert isinstance(tasks, DarkRooms)
    return tasks


def walk(tasks: DarkRooms, actions: list[int]) -> tuple[list[float], torch.Tensor]:
    """Return the cells after each action in the first row, and the rewards."""
    tasks.begin(0, split=Split.HELD_OUT)
    active = torch.ones(tasks.num_trials, dtype=torch.bool)
    steps = [tasks.step(torch.full((tasks.num_trials,), action), active) for action in actions]
    return [float(step.final_observation[0, 0]) for step in steps], torch.stack([step.reward for step in steps])


def test_moves_lead_to_the_neighbouring_cell_and_walls_stop_them() -> None:
    cells, _ = walk(opened(1), [NORTH, WEST, EAST, EAST, SOUTH, STAY, WEST, NORTH])
    assert cells == [0, 0, 1, 2, 12, 12, 11, 1]


def test_every_step_at_the_goal_is_paid() -> None:
    tasks = opened(20)
    tasks.begin(0, split=Split.HELD_OUT)
    goals = tasks.task_parameters()[:, 0].long()
    row = int((goals == 21).nonzero())  # 2 south, 1 east
    _, rewards = walk(tasks, [SOUTH, SOUTH, EAST, STAY, STAY, EAST, WEST])
    assert rewards[:, row].tolist() == [0, 0, 1, 1, 1, 0, 1]


def test_an_episode_terminates_after_its_steps_and_begins_in_the_corner() -> None:
    tasks = opened(2, max_episode_steps=3)
    tasks.begin(0, split=Split.TRAINING)
    active = torch.tensor([True, False])
    steps = [tasks.step(torch.full((2,), EAST), active) for _ in range(4)]
    assert [step.terminated.tolist() for step in steps] == [[False] * 2, [False] * 2, [True, False], [False] * 2]
    assert steps[2].final_observation[0, 0] == 3
    assert steps[2].observation[0, 0] == 0
    assert all(step.observation[1, 0] == 0 for step in steps)


def test_splits_share_no_goal_and_hold_out_one_in_five() -> None:
    for kwargs in ({}, {"split": 3}, {"size": 5}):
        tasks = opened(2_000, **kwargs)
        goals = []
        for split in Split:
            tasks.begin(0, split=split)
            goals.append(set(tasks.task_parameters()[:, 0].tolist()))
        size = kwargs.get("size", 10) ** 2
        assert len(goals[0] | goals[1]) == size
        assert len(goals[1]) == size // 5


def test_the_published_split_is_that_of_rooms_of_ten_by_ten() -> None:
    tasks = opened(20)
    tasks.begin(0, split=Split.HELD_OUT)
    assert tasks.describe_tasks([0, 3])[0]["goal"] == [9, 0]
    assert tasks.describe_tasks([3])[0] == {"split": "held_out", "index": 3, "goal": [6, 5]}
