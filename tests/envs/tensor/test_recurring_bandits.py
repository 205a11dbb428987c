"""Bandits with a barcode follow the rules of Ritter et al. 2018."""

from __future__ import annotations

from dataclasses import replace

import torch

from envs.family import FamilySource, FamilySpec, Split
from envs.registry import open_tasks
from envs.task_batch import RecurringTaskBatch, begin_exposure
from envs.tensor.bandits import BernoulliBandits
from envs.tensor.recurring_bandits import RecurringBandits


def spec(**kwargs: int) -> FamilySpec:
    return FamilySpec(
        name="recurring",
        source=FamilySource.TENSOR,
        entry="recurring_bandits",
        kwargs=kwargs,
        episodes_per_trial=10,
    )


def opened(num_trials: int, *, rows_per_task: int = 1, **kwargs: int) -> RecurringBandits:
    tasks = open_tasks(spec(**kwargs), None, num_trials=num_trials, device="cpu", rows_per_task=rows_per_task)
    assert isinstance(tasks, RecurringBandits)
    return tasks


def pulled(tasks: RecurringBandits, *, exposure: int, arm: int = 0, num_pulls: int = 10) -> torch.Tensor:
    begin_exposure(tasks, 0, split=Split.TRAINING, exposure=exposure)
    action, active = torch.full((tasks.num_trials,), arm), torch.ones(tasks.num_trials, dtype=torch.bool)
    return torch.stack([tasks.step(action, active).reward for _ in range(num_pulls)])


def test_one_arm_pays_with_nine_tenths_and_the_others_with_one_tenth() -> None:
    tasks = opened(4_000)
    tasks.begin(0, split=Split.TRAINING)
    arms = tasks.task_parameters()
    torch.testing.assert_close(arms.sort(dim=1).values[0], torch.tensor([0.1] * 9 + [0.9]))
    assert set(arms.argmax(1).tolist()) == set(range(10))
    is_first = arms[:, 0] > 0.5
    rewards = pulled(tasks, exposure=0)
    assert abs(float(rewards[:, is_first].mean()) - 0.9) < 0.02
    assert abs(float(rewards[:, ~is_first].mean()) - 0.1) < 0.01


def test_contexts_of_an_epoch_have_different_barcodes() -> None:
    tasks = opened(60, num_contexts=20, barcode_bits=5)
    codes = tasks.begin(0, split=Split.HELD_OUT)
    assert set(codes.unique().tolist()) == {0.0, 1.0}
    epochs = codes.view(3, 20, 5)
    assert all(len(epoch.unique(dim=0)) == 20 for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])


def test_a_task_recurs_with_its_barcode_and_its_arms_but_new_outcomes() -> None:
    tasks = opened(200)
    assert isinstance(tasks, RecurringTaskBatch)
    first = tasks.begin(0, split=Split.TRAINING)
    arms = tasks.task_parameters()
    again = begin_exposure(tasks, 0, split=Split.TRAINING, exposure=3)
    assert torch.equal(first, again)
    assert torch.equal(arms, tasks.task_parameters())
    assert not torch.equal(pulled(tasks, exposure=0), pulled(tasks, exposure=3))
    assert torch.equal(pulled(tasks, exposure=3), pulled(tasks, exposure=3))


def test_tasks_of_a_pool_come_back_with_new_outcomes() -> None:
    pooled = open_tasks(replace(spec(), recurring=50), None, num_trials=100, device="cpu")
    codes = pooled.begin(0, split=Split.TRAINING)
    assert torch.equal(codes[:50], codes[50:])
    assert [task["index"] for task in pooled.describe_tasks([49, 50])] == [49, 0]
    action = torch.zeros(100, dtype=torch.int64)
    rewards = torch.stack([pooled.step(action, action == 0).reward for _ in range(10)])
    assert not torch.equal(rewards[:, :50], rewards[:, 50:])
    assert torch.equal(codes[:50], opened(50).begin(0, split=Split.TRAINING))
    assert len(pooled.begin(0, split=Split.HELD_OUT).unique(dim=0)) > 50, "held-out tasks are all new"


def test_rows_may_begin_any_task() -> None:
    tasks = opened(3)
    codes = opened(40).begin(0, split=Split.HELD_OUT)
    found = tasks.begin_tasks(torch.tensor([31, 4, 31]), torch.tensor([0, 0, 1]), split=Split.HELD_OUT)
    assert torch.equal(found, codes[[31, 4, 31]])
    assert [task["index"] for task in tasks.describe_tasks([0, 1])] == [31, 4]


def test_rows_of_one_task_have_the_same_barcode_and_different_outcomes() -> None:
    tasks = opened(400, rows_per_task=2)
    codes = tasks.begin(0, split=Split.TRAINING).view(200, 2, -1)
    assert torch.equal(codes[:, 0], codes[:, 1])
    rewards = pulled(tasks, exposure=0).view(10, 200, 2)
    assert not torch.equal(rewards[..., 0], rewards[..., 1])


def test_a_family_that_cannot_draw_new_noise_begins_the_same_tasks() -> None:
    bandits = BernoulliBandits(
        FamilySpec(name="bandits", source=FamilySource.TENSOR, entry="bernoulli_bandits"), num_trials=3, device="cpu"
    )
    begin_exposure(bandits, 5, split=Split.TRAINING, exposure=2)
    assert [task["index"] for task in bandits.describe_tasks([0, 1, 2])] == [5, 6, 7]
