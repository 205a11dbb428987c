"""Held-out returns on fewer tasks than a batch has rows."""

from __future__ import annotations

import torch

from agent.learners.evaluation.trials import held_out_returns
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from envs.family import FamilySource, FamilySpec
from envs.registry import open_tasks
from envs.task_batch import TaskBatch

SPEC = FamilySpec(
    name="bandits",
    source=FamilySource.TENSOR,
    entry="bernoulli_bandits",
    kwargs={"num_arms": 3},
    episodes_per_trial=5,
)


def opened(num_trials: int) -> tuple[RL2Learner, TaskBatch]:
    tasks = open_tasks(SPEC, None, num_trials=num_trials, device="cpu")
    learner = RL2Learner(RL2Config(hidden_size=16, input_size=16), device="cpu", seed=3)
    learner.add_family("bandits", tasks.spaces)
    return learner, tasks


def test_fewer_tasks_than_rows_are_the_first_tasks_of_the_batch() -> None:
    learner, tasks = opened(32)
    whole = held_out_returns(learner.policy, tasks, first_task=0, num_trials=32)
    few = held_out_returns(learner.policy, tasks, first_task=0, num_trials=5)
    assert torch.equal(few.trials, whole.trials[:5])
    assert torch.equal(few.episodes, whole.episodes[:, :5])
    assert few.standard_error > 0


def test_more_tasks_than_rows_are_played_in_whole_batches() -> None:
    learner, tasks = opened(32)
    assert len(held_out_returns(learner.policy, tasks, first_task=0, num_trials=40).trials) == 64


def test_tasks_that_are_left_out_are_not_stepped() -> None:
    learner, tasks = opened(8)
    active_rows: list[int] = []
    step = tasks.step

    def counted(action: torch.Tensor, active: torch.Tensor) -> object:
        active_rows.append(int(active.sum()))
        return step(action, active)

    tasks.step = counted  # type: ignore[method-assign, assignment]
    held_out_returns(learner.policy, tasks, first_task=0, num_trials=3)
    assert set(active_rows) == {3}
