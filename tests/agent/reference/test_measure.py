"""Tests of the measurement: it trains and scores a real agent, for a few steps."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.config.settings import Settings
from agent.messages import Finished, Progress, parse_line
from agent.reference import composition
from agent.reference import measure as module
from agent.reference.checkpoint import SavedTraining
from agent.reference.composition import checkpoint_of, measurement_of
from agent.reference.measure import EVALUATION, TRAINING, Measurement, held_out_returns, mean_and_error, measure
from agent.reference_requests import ReferenceRequest
from envs.errors import FamilySpecError
from envs.family import FamilySpec
from envs.spaces import SpacePair
from memory.records import JobOutcome
from tests.envs.families import LIMITS, broken, opened, sound


def spaces_of(spec: FamilySpec) -> SpacePair:
    tasks = opened(spec, 1)
    tasks.close()
    return tasks.spaces


NOWHERE = "/nonexistent/1.safetensors"
"""A checkpoint that cannot be written."""


def request_for(spec: FamilySpec, steps: int = 10, *, checkpoint: str = NOWHERE) -> ReferenceRequest:
    spaces = spaces_of(spec).to_json()
    return ReferenceRequest(run_id=7, spec=spec.to_json(), spaces=spaces, steps=steps, checkpoint=checkpoint)


class Ahead:
    """An agent that takes one action, and the normaliser of its observations."""

    def __init__(self, action: int) -> None:
        self.action = action

    def predict(self, observations: Any, *, deterministic: bool) -> tuple[Any, None]:
        assert deterministic
        return np.full(len(observations), self.action), None

    def normalize_obs(self, observations: Any) -> Any:
        return observations


def test_a_measurement_has_its_provenance(update_steps: int) -> None:
    spec = sound("Counter", episodes_per_trial=2)
    phases = []
    measured = measure(
        Measurement(
            spec=spec, spaces=spaces_of(spec), num_steps=update_steps + 1, num_held_out=5, seed=3, limits=LIMITS
        ),
        report=lambda phase, steps: phases.append((phase, steps)),
        clock=lambda: 1234.5,
    )
    assert (measured.agent, measured.seed, measured.num_tasks, measured.first_task) == ("PPO", 3, 5, 0)
    assert measured.steps == 2 * update_steps  # rounded up to whole updates
    assert measured.library.startswith("stable-baselines3 2.")
    assert measured.measured_at == 1234.5
    assert measured.mean_return == 2 * (1 + 2 + 3 + 4)  # its rewards do not depend on the actions
    assert measured.standard_error == 0.0
    assert {TRAINING, EVALUATION} == {phase for phase, _ in phases}
    assert max(steps for _, steps in phases) == 2 * update_steps


def test_continuous_actions_are_learned_and_scaled_to_the_bounds_of_the_environment() -> None:
    spec = sound("BoxActions", episodes_per_trial=2)  # rewards the sum of its actions, of which one is in [0, 10]
    measured = measure(
        Measurement(spec=spec, spaces=spaces_of(spec), num_steps=2000, num_held_out=2, seed=0, limits=LIMITS),
        report=lambda *_: None,
    )
    random_return = 2 * 4 * 5.0
    assert measured.mean_return > random_return


def test_held_out_returns_sum_over_the_episodes_of_a_trial_in_the_tasks_of_an_evaluation() -> None:
    spec = sound("Counter", episodes_per_trial=3)
    tasks = opened(spec, 2)
    begun = []
    begin = tasks.begin
    tasks.begin = lambda first, *, split: (begun.append((first, str(split))), begin(first, split=split))[1]  # type: ignore[method-assign]
    try:
        agent: Any = Ahead(1)
        assert held_out_returns(agent, agent, tasks, num_tasks=5) == [30.0] * 5
    finally:
        tasks.close()
    assert begun == [(0, "held_out"), (2, "held_out"), (4, "held_out")]


def test_a_trial_that_does_not_end_is_a_fault_of_the_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TRIAL_STEPS", 50)
    tasks = opened(sound("Counter", kwargs={"length": 100}), 2)
    agent: Any = Ahead(1)
    try:
        with pytest.raises(FamilySpecError, match="did not end within 50 steps"):
            held_out_returns(agent, agent, tasks, num_tasks=2)
    finally:
        tasks.close()


def test_the_standard_error_is_that_of_the_mean() -> None:
    assert mean_and_error([1.0, 3.0]) == (2.0, 1.0)
    assert mean_and_error([4.0]) == (4.0, 0.0)


def test_the_held_out_tasks_are_as_many_as_an_evaluation_plays() -> None:
    request = request_for(sound("Counter"))
    settings = Settings(rl2={"num_trials_gymnasium": 20}, evaluation={"trials_gymnasium": 32})
    assert measurement_of(request, settings).num_held_out == 40


def test_the_worker_has_more_time_than_one_of_practice_because_its_priority_is_lower() -> None:
    settings = Settings(workers={"step_timeout_s": "3s", "start_timeout_s": "4s"})
    limits = measurement_of(request_for(sound("Counter")), settings).limits
    assert (limits.step_timeout_s, limits.start_timeout_s) == (30.0, 40.0)
    assert limits.shortest_limit_s == 50.0
    assert limits.memory_mib == settings.workers.limits().memory_mib


def answers(request: ReferenceRequest) -> list[Any]:
    """Return the messages of the measuring process for a request."""
    here, there = socket.socketpair()
    settings = json.dumps(Settings().model_dump(mode="json"))
    thread = threading.Thread(target=composition.run, kwargs={"settings": settings, "connection": there})
    with here, there:
        here.sendall(request.to_line())
        thread.start()
        thread.join()
        there.close()
        return [parse_line(line) for line in here.makefile("rb")]


def test_the_process_reports_progress_and_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "configure_logs", lambda *_, **__: None)
    *progress, finished = answers(request_for(sound("Counter")))
    assert isinstance(finished, Finished)
    assert (finished.run_id, finished.outcome, finished.error) == (7, JobOutcome.SUCCEEDED, "")
    assert finished.detail["measured"]["mean_return"] == 30.0
    assert progress
    assert all(isinstance(message, Progress) and message.run_id == 7 for message in progress)


def test_only_the_same_family_and_seed_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    saved = SavedTraining(tensors={}, num_steps=1, next_task=2, duration_s=3.0, num_resumed=0)
    path = str(tmp_path / "1.safetensors")
    request, other = (request_for(sound(entry), checkpoint=path) for entry in ("Counter", "BoxActions"))
    settings = Settings()
    checkpoint_of(request, measurement_of(request, settings)).write(saved)
    longer = replace(request, run_id=8, steps=20)
    assert checkpoint_of(longer, measurement_of(longer, settings)).read() is not None
    assert checkpoint_of(other, measurement_of(other, settings)).read() is None
    seeded = Settings(learner={"seed": 1})
    assert checkpoint_of(request, measurement_of(request, seeded)).read() is None


def test_a_fault_of_the_environment_is_a_failure_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "configure_logs", lambda *_, **__: None)
    spec = broken("Raises")
    request = request_for(spec)
    finished = answers(request)[-1]
    assert finished.outcome is JobOutcome.FAILED
    assert finished.error
