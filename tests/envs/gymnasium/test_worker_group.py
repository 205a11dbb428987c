"""A family whose process can hold few copies runs in several processes, and its rows are those of one worker."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from envs.declaration import parse_variation
from envs.family import Split
from envs.gymnasium.batch import WorkerTaskBatch
from envs.gymnasium.worker_group import WorkerGroup, open_worker_tasks
from envs.task_batch import MaskedTaskBatch, RecurringTaskBatch, RowTaskBatch
from tests.envs.families import LIMITS, family, opened

SEVERAL = replace(LIMITS, num_processes=2)


def test_the_rows_of_several_processes_are_those_of_one() -> None:
    spec = family("CartPole-v1", variations=(parse_variation("gravity=5:20"),), max_episode_steps=6)
    two_of_two = open_worker_tasks(replace(spec, copies=2), num_trials=3, device="cpu", limits=SEVERAL)
    with closing(opened(spec, 3)) as one, closing(two_of_two) as group:
        assert isinstance(group, WorkerGroup)
        assert (group.num_trials, group.max_episode_steps) == (3, 6)
        assert torch.equal(group.begin(5, split=Split.TRAINING), one.begin(5, split=Split.TRAINING))
        assert torch.equal(group.task_parameters(), one.task_parameters())
        active = torch.tensor([True, True, True])
        for step in range(8):
            transitions = [tasks.step(torch.tensor([step % 2, 1, 0]), active) for tasks in (group, one)]
            for name in ("observation", "reward", "terminated", "truncated", "final_observation"):
                assert torch.equal(*(getattr(transition, name) for transition in transitions)), name
        assert torch.equal(*(tasks.begin_row(2, 40, split=Split.TRAINING) for tasks in (group, one)))
        assert group.describe_tasks([2, 0]) == one.describe_tasks([2, 0])
        assert group.context_digests([0, 2]) == [None, None]
        assert group.allowed_choices() is None
        assert isinstance(group, RowTaskBatch)
        assert isinstance(group, RecurringTaskBatch)
        assert isinstance(group, MaskedTaskBatch)


def test_a_family_without_a_bound_of_copies_runs_in_one_process() -> None:
    with closing(open_worker_tasks(family("CartPole-v1"), num_trials=2, device="cpu", limits=SEVERAL)) as tasks:
        assert isinstance(tasks, WorkerTaskBatch)


ONLY_ONE = """
import os
import gymnasium


class Only(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(2)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if not hasattr(self, "lock"):
            self.lock = os.open("LOCK", os.O_CREAT | os.O_EXCL)
        return 0, {}

    def step(self, action):
        return 0, 1.0, True, False, {}
"""


def test_a_simulator_that_runs_only_once_on_the_machine_keeps_one_process(tmp_path: Path) -> None:
    (tmp_path / "only_one.py").write_text(ONLY_ONE.replace("LOCK", str(tmp_path / "lock")))
    spec = family("only_one:Only", import_paths=(str(tmp_path),), copies=1)
    limits = replace(SEVERAL, writable=(str(tmp_path),))
    with closing(open_worker_tasks(spec, num_trials=2, device="cpu", limits=limits)) as tasks:
        assert tasks.num_trials == 1
        tasks.begin(0, split=Split.TRAINING)
        assert tasks.step(torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.bool)).terminated.all()
