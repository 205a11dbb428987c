"""The harmful environments of the benchmark of isolation harm, and its readings tell faults and time by family."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.hostile_environments import EPISODE_STEPS, TRIP_FILE
from benchmarks.isolation import HARMFUL, OTHERS, faults_of, trainer_time
from envs.errors import WorkerFaultError
from envs.family import FamilySource, FamilySpec, Split
from envs.gymnasium.batch import WorkerTaskBatch
from envs.limits import WorkerLimits

ROOT = str(Path(__file__).parents[2])
LIMITS = WorkerLimits(memory_mib=256, step_timeout_s=1.0, shortest_limit_s=1.0)


@pytest.mark.parametrize("name", HARMFUL)
def test_an_isolated_worker_sees_the_trip_file_and_harms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = FamilySpec(name=name, source=FamilySource.GYMNASIUM, entry=OTHERS[name], import_paths=(ROOT,))
    with tempfile.TemporaryDirectory() as folder:
        trip = Path(folder, "trip")
        monkeypatch.setenv(TRIP_FILE, str(trip))
        tasks = WorkerTaskBatch(spec, num_trials=32, device="cpu", limits=LIMITS)
        try:
            play_episodes(tasks, num_episodes=1)
            trip.touch()
            with pytest.raises(WorkerFaultError):
                play_episodes(tasks)
        finally:
            tasks.close()


def play_episodes(tasks: WorkerTaskBatch, *, num_episodes: int = 10) -> None:
    actions, active = torch.zeros(tasks.num_trials, 1, dtype=torch.long), torch.ones(tasks.num_trials, dtype=torch.bool)
    for _episode in range(num_episodes):
        tasks.begin(0, split=Split.TRAINING)
        for _step in range(EPISODE_STEPS):
            tasks.step(actions, active)


def run(job: str, family: str | None, started_at: float, finished_at: float | None, **detail: Any) -> dict[str, Any]:
    return {"job": job, "family": family, "started_at": started_at, "finished_at": finished_at, "detail": detail}


def test_faults_are_those_that_jobs_ended_with_in_the_window() -> None:
    runs = [
        run("practise", "hanging", 5.0, 9.0, fault="hung"),
        run("practise", "hanging", 9.0, 11.0, fault="hung"),
        run("evaluate", None, 11.0, 12.0, faults={"hanging": "it hung", "leaking": "it leaked"}, under_way=["slow"]),
        run("practise", "cartpole", 12.0, 15.0),
        run("practise", "segfaulting", 15.0, None),
    ]
    assert faults_of(runs, 10.0, 20.0) == {"hanging": 2, "segfaulting": 0, "leaking": 1, "slow": 0}


def test_the_time_of_the_trainer_is_told_by_family_and_kind_of_job() -> None:
    runs = [
        run("practise", "cartpole", 5.0, 12.0),
        run("practise", "pendulum", 12.0, 15.0),
        run("practise", "slow", 15.0, 16.0),
        run("evaluate", None, 16.0, None),
        run("backup", None, 10.0, 20.0),
    ]
    assert trainer_time(runs, 10.0, 20.0) == {"good": 0.5, "evaluate": 0.4, "slow": 0.1}
