"""Families whose copies cannot share a process: they declare ``copies`` and are admitted and practised."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agent.experiments.rl2 import RL2Assignment
from envs.admission import probe
from envs.effort import Effort
from envs.errors import FamilySpecError
from envs.family import FamilySpec, Split
from tests.envs.families import LIMITS, all_active, drifting, family, opened

ONE_AT_A_TIME = """
import gymnasium
import numpy as np

OPEN = []


class Simulator(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-100.0, 100.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    gravity = 1.0

    def __init__(self, size=3):
        if OPEN:
            raise RuntimeError("there is a simulator in this process already")
        OPEN.append(self)
        self.size = size

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = float(self.np_random.uniform(-1, 1)), 0
        return self.observed(), {}

    def step(self, action):
        self.place += (2.0 * action - 1.0) * self.gravity
        self.steps += 1
        return self.observed(), self.place, False, self.steps >= 10, {}

    def observed(self):
        return np.array([self.place, self.size], np.float32)

    def close(self):
        OPEN.remove(self)
"""
"""A simulator of which a process can hold one, and which must not be closed twice."""

SHORT = Effort(contract_steps=20, contract_s=20.0, spaces_s=0.05, enough_s=0.05)


@pytest.fixture
def simulator(tmp_path: Path) -> FamilySpec:
    (tmp_path / "one_at_a_time.py").write_text(ONE_AT_A_TIME)
    return family("one_at_a_time:Simulator", import_paths=(str(tmp_path),), copies=1)


def test_a_world_that_copies_share_is_refused_and_the_option_that_admits_it_is_named() -> None:
    with pytest.raises(FamilySpecError) as caught:
        probe(drifting("OneWorld"), limits=LIMITS, num_copies=4, effort=SHORT)
    assert "declare --copies 1" in caught.value.hint


def test_a_world_that_copies_share_is_admitted_with_one_copy_a_process() -> None:
    admission = probe(drifting("OneWorld", copies=1), limits=LIMITS, num_copies=4, effort=SHORT)
    assert not admission.warnings


def test_a_simulator_of_which_a_process_holds_one_is_admitted_with_one_copy(simulator: FamilySpec) -> None:
    admission = probe(simulator, limits=LIMITS, num_copies=4, effort=SHORT)
    assert not admission.warnings
    assert admission.report["is_replayed"] is True


def test_variations_are_drawn_for_the_only_copy(simulator: FamilySpec) -> None:
    from envs.declared_values import parse_variation

    varied = tuple(map(parse_variation, ("gravity=1:2", "kwarg.size=3|5|7")))
    with closing(opened(replace(simulator, variations=varied), 4)) as tasks:
        assert tasks.num_trials == 1
        sizes = {tasks.begin(first, split=Split.TRAINING)[0, 1].item() for first in range(8)}
        assert sizes == {3.0, 5.0, 7.0}
        tasks.step(torch.zeros(1, dtype=torch.int64), all_active(1))
    admission = probe(replace(simulator, variations=varied), limits=LIMITS, num_copies=4, effort=SHORT)
    assert any("share a process (--copies)" in finding.text() for finding in admission.findings)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_simulator_with_one_copy_a_process_is_practised(simulator: FamilySpec, num_processes: int) -> None:
    limits = replace(LIMITS, num_processes=num_processes)
    given = ("hidden_size=8", "input_size=8", "scorer_size=4", "num_trials_gymnasium=4")
    trainee = RL2Assignment(replace(simulator, episodes_per_trial=1), limits, given=given).begin(2)
    with closing(trainee):
        returns = [trainee.update()["trial return"] for _ in range(2)]
        assert trainee.num_updates == 2
        assert trainee.next_task >= 2 * num_processes
        assert trainee.score(4, progress=lambda _: None).adapted.shape == (4,)
    assert returns[0] != returns[1]
