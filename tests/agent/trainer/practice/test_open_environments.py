"""Tests of open environments: the usual speed of a family's environment goes on to its next worker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from agent.learners.rl2.config import RL2Config
from agent.trainer.practice.open_environments import OpenEnvironments
from envs.limits import WorkerLimits
from envs.pace import Pace
from memory.store import Store
from tests.agent.trainer.conftest import feed_bandits

QUICK = Pace(longest_step_s=0.0, longest_reset_s=0.0, steps_per_s=1000.0)


class PacedTasks:
    """Tasks whose worker found the environment quick."""

    pace = QUICK

    def close(self) -> None:
        pass


def environments(opened: list[WorkerLimits]) -> OpenEnvironments:
    def open_paced(*_: Any, limits: WorkerLimits, **_named: Any) -> Any:
        opened.append(limits)
        return PacedTasks()

    return OpenEnvironments(
        opener=open_paced,
        config=RL2Config(),
        device=torch.device("cpu"),
        limits=WorkerLimits(memory_mib=77),
        on_wait=lambda: None,
    )


def test_a_worker_begins_with_the_recorded_speed(store: Store) -> None:
    opened: list[WorkerLimits] = []
    environments(opened).tasks_of(replace(feed_bandits(store), pace=QUICK))
    assert opened == [WorkerLimits(memory_mib=77, pace=QUICK)]


def test_a_speed_that_changed_notably_is_returned_once(store: Store) -> None:
    family, opened = feed_bandits(store), []
    open_environments = environments(opened)
    open_environments.tasks_of(family)
    assert open_environments.changed_pace(family, steps_per_s=500.0) == replace(QUICK, steps_per_s=500.0)
    assert open_environments.changed_pace(family, steps_per_s=510.0) is None
    assert open_environments.changed_pace(family, steps_per_s=900.0) == replace(QUICK, steps_per_s=900.0)


def test_the_next_worker_begins_with_what_the_last_one_found(store: Store) -> None:
    family, opened = feed_bandits(store), []
    open_environments = environments(opened)
    open_environments.tasks_of(family)
    open_environments.changed_pace(family, steps_per_s=500.0)
    open_environments.close_tasks(family.id)
    open_environments.tasks_of(family)
    assert [limits.pace for limits in opened] == [Pace(), replace(QUICK, steps_per_s=500.0)]


def test_families_that_no_worker_steps_have_no_speed(store: Store) -> None:
    family = feed_bandits(store)
    assert environments([]).changed_pace(family, steps_per_s=500.0) is None
