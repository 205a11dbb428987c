"""Tests of a run's totals and state, with a trainee whose updates each take one second of a fake clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agent.experiments import run as run_module
from agent.experiments.budget import Budget
from agent.experiments.run import LearningRun, Plan, TrainingDivergedError
from agent.experiments.scores import HeldOutScores, Measure
from agent.experiments.state_file import StateFileError


class Clerk:
    """An assignment that is its own trainee: each update takes ``seconds``, and each score takes an hour."""

    learner = "clerk"
    measure = Measure.ACCURACY

    def __init__(self, *, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.num_updates = 0
        self.scored: list[tuple[int, int]] = []
        self.losses: list[float] = []
        self.planned: list[int] = []

    def describe(self) -> dict[str, Any]:
        return {"learner": self.learner}

    def config(self, planned_updates: int) -> Any:
        raise NotImplementedError("a clerk has no settings")

    def begin(self, planned_updates: int) -> Clerk:
        self.num_updates = 0
        self.planned.append(planned_updates)
        return self

    def go_on(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], planned_updates: int) -> Clerk:
        self.num_updates = meta["num_updates"]
        self.planned.append(planned_updates)
        return self

    def processor_seconds(self) -> float:
        return self.now

    def update(self) -> dict[str, float]:
        self.now += self.seconds
        self.num_updates += 1
        return {"loss": self.losses.pop(0) if self.losses else 1.0}

    def score(self, num_tasks: int, *, progress: Callable[[int], None]) -> HeldOutScores:
        self.now += 3600.0
        progress(num_tasks)
        self.scored.append((self.num_updates, num_tasks))
        return HeldOutScores(adapted=torch.arange(float(num_tasks)))

    def to_tensors(self) -> dict[str, Tensor]:
        return {"nothing": torch.zeros(1)}

    def to_meta(self) -> dict[str, Any]:
        return {"num_updates": self.num_updates}

    def export(self, provenance: Mapping[str, Any]) -> bytes:
        return b""

    def close(self) -> None:
        """Do nothing, because nothing is open."""


def carry_out(clerk: Clerk, plan: Plan, *, is_stopped: Callable[[], bool] = lambda: False) -> LearningRun:
    run = LearningRun(clerk, plan, report=lambda _: None, is_stopped=is_stopped)
    run.finish()
    return run


def test_scoring_and_measuring_are_not_counted() -> None:
    clerk = Clerk()
    run = carry_out(clerk, Plan(budget=Budget(cpu_s=10.0), num_points=2, tasks_along=5, tasks_at_end=7))
    assert run.ledger.cpu_s == 10.0
    assert run.ledger.planned_updates == 10
    assert clerk.scored == [(0, 5), (5, 5), (10, 7)]


def test_slow_updates_are_measured_by_few_of_them() -> None:
    clerk = Clerk()
    clerk.seconds = 30.0
    run = LearningRun(clerk, Plan(budget=Budget(cpu_s=60.0)), report=lambda _: None, is_stopped=lambda: False)
    assert run.ledger.planned_updates == 2
    assert clerk.now == 60.0, "one update for the time, and one for the memory"


def test_time_that_runs_out_ends_a_run_within_one_update() -> None:
    clerk = Clerk()
    run = LearningRun(clerk, Plan(budget=Budget(cpu_s=10.0)), report=lambda _: None, is_stopped=lambda: False)
    clerk.seconds = 3.0
    run.finish()
    assert (run.trainee.num_updates, run.ledger.cpu_s) == (4, 12.0)


def test_updates_that_are_faster_than_planned_use_the_whole_time() -> None:
    clerk = Clerk()
    run = LearningRun(clerk, Plan(budget=Budget(cpu_s=100.0)), report=lambda _: None, is_stopped=lambda: False)
    assert run.ledger.planned_updates == 100
    clerk.seconds = 0.5
    run.finish()
    assert (run.trainee.num_updates, run.ledger.cpu_s) == (200, 100.0)
    assert run.ledger.planned_updates == 200


def test_updates_that_become_slower_end_with_the_time_and_the_rates_are_planned_for_it() -> None:
    clerk = Clerk()
    run = LearningRun(clerk, Plan(budget=Budget(cpu_s=300.0)), report=lambda _: None, is_stopped=lambda: False)
    clerk.seconds = 3.0
    run.finish()
    assert (run.trainee.num_updates, run.ledger.cpu_s, run.ledger.planned_updates) == (100, 300.0, 100)


def test_the_rates_fall_to_the_end_of_the_time_when_updates_grow_all_along() -> None:
    """The rates fall over the planned updates, so the last plan must be near the number of updates taken."""
    clerk = Clerk()
    run = LearningRun(clerk, Plan(budget=Budget(cpu_s=1000.0)), report=lambda _: None, is_stopped=lambda: False)
    while not run.is_finished:
        clerk.seconds = 1.0 + 4.0 * run.ledger.cpu_s / 1000.0
        run._learn_once()
        run._estimate_again_if_due()
    assert 1000.0 <= run.ledger.cpu_s <= 1005.0
    assert abs(run.trainee.num_updates / run.ledger.planned_updates - 1.0) < 0.1


def test_a_trainee_follows_a_new_plan_without_losing_updates() -> None:
    clerk = Clerk()
    run = LearningRun(clerk, Plan(budget=Budget(cpu_s=100.0)), report=lambda _: None, is_stopped=lambda: False)
    clerk.seconds = 0.5
    run.finish()
    assert clerk.planned == [100, 100, 200]


def test_a_stopped_run_with_a_budget_in_seconds_goes_on_to_the_same_books(tmp_path: Path) -> None:
    budget = Budget(cpu_s=100.0)

    def changing(clerk: Clerk) -> Callable[[], bool]:
        def is_stopped() -> bool:
            clerk.seconds = 0.5 if clerk.num_updates < 40 else 2.0
            return False

        return is_stopped

    clerk = Clerk()
    whole = carry_out(clerk, Plan(budget=budget, tasks_at_end=3), is_stopped=changing(clerk))
    for stop_at in (7, 43, 60):
        state = tmp_path / f"state-{stop_at}"
        clerk = Clerk()
        change = changing(clerk)
        run = LearningRun(
            clerk, Plan(budget=budget, tasks_at_end=3, state=state), report=lambda _: None, is_stopped=change
        )
        run._is_stopped = lambda clerk=clerk, change=change, at=stop_at: change() or clerk.num_updates >= at
        run.finish()
        resumed = Clerk()
        plan = Plan(budget=budget, tasks_at_end=3, state=state)
        assert carry_out(resumed, plan, is_stopped=changing(resumed)).ledger == whole.ledger


def test_a_stopped_run_goes_on_to_the_same_books(tmp_path: Path) -> None:
    plan = Plan(budget=Budget(updates=8), num_points=4, tasks_along=3, tasks_at_end=4, state=tmp_path / "state")
    whole = carry_out(Clerk(), Plan(budget=Budget(updates=8), num_points=4, tasks_along=3, tasks_at_end=4))
    clerk = Clerk()
    stopped = carry_out(clerk, plan, is_stopped=lambda: bool(clerk.scored) and clerk.num_updates >= 3)
    assert stopped.is_interrupted
    resumed = carry_out(Clerk(), plan)
    assert resumed.is_resumed
    assert resumed.ledger == whole.ledger


def test_another_budget_is_planned_by_what_the_run_has_taken(tmp_path: Path) -> None:
    state = tmp_path / "state"
    carry_out(Clerk(seconds=2.0), Plan(budget=Budget(updates=4), tasks_at_end=3, state=state))
    longer = carry_out(Clerk(seconds=2.0), Plan(budget=Budget(cpu_s=20.0), tasks_at_end=3, state=state))
    assert (longer.ledger.planned_updates, longer.trainee.num_updates, longer.ledger.cpu_s) == (10, 10, 20.0)
    shorter = carry_out(Clerk(), Plan(budget=Budget(updates=2), tasks_at_end=3, state=state))
    assert shorter.trainee.num_updates == 10, "what is learned stays learned"


def test_a_last_score_on_fewer_tasks_than_asked_is_taken_anew(tmp_path: Path) -> None:
    state = tmp_path / "state"
    carry_out(Clerk(), Plan(budget=Budget(updates=2), tasks_at_end=3, state=state))
    clerk = Clerk()
    carry_out(clerk, Plan(budget=Budget(updates=2), tasks_at_end=9, state=state))
    assert clerk.scored == [(2, 9)]


def test_it_is_kept_at_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "SAVE_EVERY_S", 0.0)
    clerk = Clerk()
    plan = Plan(budget=Budget(updates=5), tasks_at_end=3, state=tmp_path / "state")
    run = LearningRun(clerk, plan, report=lambda _: None, is_stopped=lambda: False)
    clerk.losses = [1.0, 1.0, float("nan")]
    with pytest.raises(TrainingDivergedError, match="the loss of update 3"):
        run.finish()
    assert carry_out(Clerk(), plan).is_resumed


def test_what_another_run_has_kept_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    plan = Plan(budget=Budget(updates=3), tasks_at_end=3, state=tmp_path / "state")
    first, second = (LearningRun(Clerk(), plan, report=lambda _: None, is_stopped=lambda: False) for _ in range(2))
    second.finish()
    kept = (tmp_path / "state").read_bytes()
    with pytest.raises(StateFileError, match="another run has written it"):
        first.finish()
    assert (tmp_path / "state").read_bytes() == kept


def test_what_diverged_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "SAVE_EVERY_S", 0.0)
    clerk, plan = Clerk(), Plan(budget=Budget(updates=5), tasks_at_end=3, state=tmp_path / "state")
    run = LearningRun(clerk, plan, report=lambda _: None, is_stopped=lambda: False)
    clerk.losses = [1.0, float("inf")]
    with pytest.raises(TrainingDivergedError):
        run.finish()
    again = LearningRun(Clerk(), plan, report=lambda _: None, is_stopped=lambda: False)
    assert again.trainee.num_updates == 1
