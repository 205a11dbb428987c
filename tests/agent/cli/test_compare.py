"""Tests of ``learnd compare``: several learners with equal budgets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from agent.experiments.run import LearningRun
from tests.agent.cli.conftest import Learnd

SINUSOIDS = ("compare", "sinusoids", "--tasks", "20", "--points", "2")


def test_the_best_comes_first_and_every_run_is_told(empty: Learnd) -> None:
    words = ("--learners", "maml,reptile,versa", "--budget", "3u", "--seeds", "2", "--seed", "4")
    answer = empty.json(*SINUSOIDS, *words)
    scores = [learner["score"]["mean"] for learner in answer["learners"]]
    assert scores == sorted(scores)
    assert {learner["learner"] for learner in answer["learners"]} == {"maml", "reptile", "versa"}
    assert [(run["learner"], run["seed"]) for run in answer["runs"]] == [
        (learner, seed) for seed in (4, 5) for learner in ("maml", "reptile", "versa")
    ]
    for run in answer["runs"]:
        assert (run["updates"], run["error"]) == (3, None)
        assert [point["updates"] for point in run["points"]] == [0, 2]
    for learner in answer["learners"]:
        assert learner["lowest"] <= learner["score"]["mean"] <= learner["highest"]
        assert (learner["learner"] == "versa") == (learner["unadapted"] is None)
    assert not empty.folder.exists()


def test_a_run_of_its_own_scores_the_same(empty: Learnd) -> None:
    [run] = empty.json(*SINUSOIDS, "--learners", "maml", "--budget", "3u", "--seed", "1")["runs"]
    alone = empty.json("learn", "maml", "--family", "sinusoids", "--tasks", "20", "--budget", "3u", "--seed", "1")
    assert run["score"]["adapted"] == alone["score"]["adapted"]


@pytest.mark.timeout(600)  # Two interpreters load torch, which takes minutes on busy cores.
def test_processes_side_by_side_come_to_the_same(empty: Learnd) -> None:
    words = (*SINUSOIDS, "--learners", "maml,versa", "--budget", "2u")
    one, two = empty.json(*words), empty.json(*words, "--jobs", "2")
    assert scores(two) == scores(one)


def test_seeds_whose_tasks_cannot_be_numbered_are_refused(empty: Learnd) -> None:
    words = (*SINUSOIDS, "--learners", "maml", "--budget", "1u")
    assert empty.json(*words, "--seed", "16777215")["runs"][0]["error"] is None
    error = empty.json(*words, "--seed", "16777215", "--seeds", "2", code=1)["error"]
    assert "the largest seed is 16,777,215" in error["found"]
    empty(*words, "--seed", "16777216", code=2)


@pytest.mark.timeout(600)
def test_processes_end_with_the_one_that_began_them(tmp_path: Path) -> None:
    words = ("compare", "sinusoids", "--learners", "maml,reptile", "--budget", "1h", "--jobs", "2")
    with subprocess.Popen([sys.executable, "-m", "agent.cli", *words, "--state", str(tmp_path / "runs")]) as begun:
        workers: list[psutil.Process] = []
        while len(workers) < 3 and begun.poll() is None:  # Two training processes, and their resource tracker.
            workers = psutil.Process(begun.pid).children(recursive=True)
            time.sleep(0.1)
        begun.kill()
    gone, alive = psutil.wait_procs(workers, timeout=300)
    assert (len(gone), alive) == (3, [])


def test_it_goes_on_with_the_runs_that_are_kept(empty: Learnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*SINUSOIDS, "--learners", "maml,versa", "--budget", "3u")
    whole = empty.json(*words)
    state = ("--state", str(tmp_path / "runs"))
    interrupt_at_update(2, "versa", monkeypatch)
    stopped = empty.json(*words, *state, code=130)
    assert stopped["is_interrupted"]
    assert [run["updates"] for run in stopped["runs"]] == [3, 2]
    assert [learner["score"] is None for learner in stopped["learners"]] == [False, True]
    monkeypatch.undo()
    finished = empty.json(*words, *state)
    assert scores(finished) == scores(whole)
    assert {file.name for file in (tmp_path / "runs").iterdir()} == {
        "maml-seed0.safetensors",
        "versa-seed0.safetensors",
    }


def test_a_learner_that_fails_does_not_stop_the_others(empty: Learnd, monkeypatch: pytest.MonkeyPatch) -> None:
    real = LearningRun._learn_once

    def diverge(run: LearningRun) -> None:
        if run.assignment.learner == "maml":
            monkeypatch.setattr(run.trainee, "update", lambda: {"loss": float("nan")})
        real(run)

    monkeypatch.setattr(LearningRun, "_learn_once", diverge)
    words = (*SINUSOIDS, "--budget", "2u", "--learners")
    answer = empty.json(*words, "maml,versa")
    assert [learner["learner"] for learner in answer["learners"]] == ["versa", "maml"]
    assert "of update" in answer["learners"][1]["errors"][0]
    assert "maml failed" in empty(*words, "maml,versa").stdout
    assert empty.json(*words, "maml", code=1)["learners"][0]["score"] is None


def test_the_curves_are_drawn(empty: Learnd, tmp_path: Path) -> None:
    picture = tmp_path / "curves.png"
    words = (*SINUSOIDS, "--learners", "maml,reptile", "--budget", "2u")
    assert empty.json(*words, "--png", str(picture))["png"] == str(picture)
    with Image.open(picture) as image:
        assert image.size[0] > 800
    shown = empty(*words).stdout
    assert "squared error, adapted, over updates" in shown
    assert "before adaptation" in shown


def test_environments_are_compared_over_what_can_act(empty: Learnd) -> None:
    words = ("compare", "bernoulli_bandits", "--learners", "rl2", "--episodes", "2", "--budget", "1u", "--tasks", "16")
    answer = empty.json(*words)
    assert (answer["measure"], answer["is_larger_better"]) == ("episode_return", True)


def test_learners_are_compared_on_the_family_of_a_file(empty: Learnd, tmp_path: Path) -> None:
    (tmp_path / "waves.toml").write_text('entry = "sinusoids"\nshots = 3\n')
    words = ("compare", str(tmp_path / "waves.toml"), "--learners", "maml", "--budget", "1u", "--tasks", "4")
    answer = empty.json(*words)
    assert (answer["family"]["name"], answer["family"]["kwargs"]["shots"]) == ("waves", 3)
    error = empty.json(*words, "--recurring", "3", code=1)["error"]
    assert error["found"].startswith("--recurring does not apply")


def test_what_cannot_be_compared_is_refused(empty: Learnd, tmp_path: Path) -> None:
    def refusal(*words: str) -> str:
        return str(empty.json("compare", *words, "--budget", "1u", code=1)["error"]["found"])

    assert "cannot learn few-shot tasks of regression" in refusal("sinusoids", "--learners", "maml,matching")
    assert "no learner of that name" in refusal("sinusoids", "--learners", "maml,,reptile")
    assert "no family of that name" in refusal("waves")
    (tmp_path / "file").touch()
    assert "it is a file" in refusal("sinusoids", "--state", str(tmp_path / "file"))


def interrupt_at_update(update: int, learner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = LearningRun._learn_once

    def learn_and_be_interrupted(run: LearningRun) -> None:
        real(run)
        if run.assignment.learner == learner and run.trainee.num_updates == update:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(LearningRun, "_learn_once", learn_and_be_interrupted)


def scores(answer: dict[str, Any]) -> dict[str, Any]:
    return {run["learner"]: [point["adapted"] for point in (*run["points"], run["score"])] for run in answer["runs"]}
