from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from agent.cli.family_pages import STARTS
from agent.devices import default_threads, with_threads
from agent.learners.rl2.warm_start import WarmStart
from envs.errors import EnvsError
from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint, FamilyState
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.cli.unscaled import add_unscaled

BROKEN = """
import gymnasium

class Broken(gymnasium.Env):
    def __init__(self):
        raise RuntimeError("the simulator is not plugged in")
"""


def test_a_family_goes_from_fed_to_removed(learnd: Learnd, filled: DataFolder) -> None:
    added = learnd.json("env", "add", "MountainCar-v0", "--name", "hill", "--vary", "gravity=0.002:0.003", "--no-check")
    assert added["admission"] is None
    assert (added["family"]["name"], added["family"]["state"]) == ("hill", "pending")
    assert learnd.json("env", "pause", "hill", "--reason", "later")["family"]["state_reason"] == "later"
    assert learnd.json("env", "show", "hill")["state"] == "paused"
    assert learnd.json("env", "resume", "hill")["family"]["state"] == "pending", "it was never tried"
    assert learnd.json("env", "remove", "hill")["family"]["state"] == "removed"
    names = [family["name"] for family in learnd.json("env", "list")["families"]]
    assert "hill" not in names
    assert "hill" in [family["name"] for family in learnd.json("env", "list", "--all")["families"]]
    again = learnd.json("env", "add", "MountainCar-v0", "--name", "hill", "--no-check")
    assert again["family"]["state"] == "pending"


def test_what_was_declared_is_in_the_store(learnd: Learnd, filled: DataFolder, tmp_path: Path) -> None:
    learnd(
        *("env", "add", "my_envs:Maze", "--name", "maze", "--no-check", "--episodes", "5", "--max-steps", "40"),
        *(
            "--vary",
            "kwarg.size=int:4:8",
            "--vary",
            "mode=easy|hard",
            "--kwarg",
            "walls=[1, 2]",
            "--kwarg",
            "fast=true",
        ),
        *("--reference", "12.5", "--path", str(tmp_path), "--python", sys.executable, "--image-size", "48"),
    )
    with Store.open(filled, is_reader=True) as store:
        spec = store.families.get("maze").require_spec()
    assert spec.image_size == 48
    assert spec.entry == "my_envs:Maze"
    assert spec.kwargs == {"walls": [1, 2], "fast": True}
    assert [variation.name for variation in spec.variations] == ["size", "mode"]
    assert (spec.episodes_per_trial, spec.max_episode_steps, spec.reference_return) == (5, 40, 12.5)
    assert spec.import_paths == (str(tmp_path),)
    assert spec.python == sys.executable


def test_a_pool_of_tasks_that_recur_is_declared_and_shown(learnd: Learnd, filled: DataFolder) -> None:
    added = learnd.json("env", "add", "CartPole-v1", "--name", "poles", "--recurring", "100", "--no-check")
    assert added["family"]["spec"]["recurring"] == 100
    assert "100 training tasks recur" in learnd("env", "show", "poles").stdout
    assert "recur" not in learnd("env", "show", "bandits").stdout
    with Store.open(filled, is_reader=True) as store:
        assert store.families.get("poles").require_spec().recurring == 100


def test_the_return_in_met_tasks_is_shown(learnd: Learnd, filled: DataFolder) -> None:
    assert "met_tasks" not in learnd.json("env", "show", "bandits")
    with Store.open(filled) as store:
        points = [
            CurvePoint(metric=metric, label=label, value=value, standard_error=0.125)
            for metric, label, value in (
                (CurveMetric.MET_RETURN, "memory", 0.75),
                (CurveMetric.MET_RETURN, "empty", 0.25),
                (CurveMetric.MET_TRIAL_RETURN, "memory", 7.5),
                (CurveMetric.MET_TRIAL_RETURN, "empty", 6.5),
            )
        ]
        store.curves.commit_evaluation("bandits", points)
    shown = learnd.json("env", "show", "bandits")["met_tasks"]
    assert shown == {
        "memory": {"return": 0.75, "standard_error": 0.125, "trial_return": 7.5, "trial_return_standard_error": 0.125},
        "empty": {"return": 0.25, "standard_error": 0.125, "trial_return": 6.5, "trial_return_standard_error": 0.125},
    }
    text = learnd("env", "show", "bandits").stdout.replace("\n", " ")
    assert "first episode in tasks that were met: return 0.75" in text
    assert "whole trial: 7.5" in text


def test_families_that_have_no_tasks_that_recur_refuse_a_pool(learnd: Learnd, filled: DataFolder) -> None:
    for entry in ("bernoulli_bandits", "sinusoids"):
        answer = learnd("env", "add", entry, "--name", "more", "--recurring", "5", "--no-check", code=1)
        assert "recurring" in answer.stderr


OWN_FILE = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

class Pole(CartPoleEnv):
    pass

class Lifted(gymnasium.ObservationWrapper):
    def observation(self, observation):
        return observation
"""


def test_a_python_file_is_an_entry_and_its_only_class_and_its_wrappers_are_shown(empty: Learnd, tmp_path: Path) -> None:
    file = tmp_path / "own_pole.py"
    file.write_text(OWN_FILE)
    wrap = ("--wrap", f"{file}:Lifted", "--wrap", 'FrameStackObservation:{"size": 2}')
    refused = empty.json("env", "add", str(file), "--max-steps", "20", "--episodes", "1", *wrap, code=1)
    assert "FrameStackObservation cannot be applied" in refused["error"]["found"]
    answer = empty.json(
        "env", "add", str(file), "--max-steps", "20", "--episodes", "1", *wrap[:2], "--python", sys.prefix
    )
    spec = answer["family"]["spec"]
    assert (answer["family"]["name"], answer["family"]["state"]) == ("own_pole", "active")
    assert (spec["entry"], spec["import_paths"]) == ("own_pole:Pole", [str(tmp_path)])
    assert spec["wrappers"] == [{"name": "own_pole:Lifted", "kwargs": {}}]
    assert Path(spec["python"]).parent == Path(sys.prefix) / "bin"
    assert "wrapped in own_pole:Lifted()" in empty("env", "show", "own_pole").stdout


@pytest.mark.parametrize(
    ("entry", "found", "hint"),
    [
        ("", "it names no environment.", "Write CartPole-v1."),
        ("mazes:Maze", "the working folder has the file mazes.py", "Write mazes.py:Maze."),
        ("inner.mazes:Maze", "the working folder has the file inner/mazes.py", "Write inner/mazes.py:Maze."),
        ("mazes", "the file is neither a Python file (.py), nor a family file", "Give its name the ending"),
        ("inner", "there is no image in a folder of its class.", "an environment, name its file: {folder}/inner/mazes"),
    ],
)
def test_an_entry_that_is_no_environment_says_what_to_write(
    entry: str, found: str, hint: str, *, empty: Learnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    (folder / "inner").mkdir(parents=True)
    for file in ("mazes", "mazes.py", "inner/mazes.py"):
        (folder / file).write_text("import gymnasium\n")
    monkeypatch.chdir(folder)
    error = empty.json("env", "check", entry, code=1)["error"]
    assert found in error["found"]
    assert hint.format(folder=folder) in error["hint"]


def test_a_path_that_is_no_folder_is_refused(empty: Learnd) -> None:
    error = empty.json("env", "add", "CartPole-v1", "--path", "/no/such", "--no-check", code=1)["error"]
    assert (error["subject"], error["found"]) == ("/no/such", "there is no such folder.")


def test_a_preset_is_shown_as_the_wrappers_that_it_stands_for(empty: Learnd) -> None:
    empty("env", "add", "ALE/Pong-v5", "--preset", "atari", "--no-check")
    shown = " ".join(empty("env", "show", "pong").stdout.split())
    assert "wrapped in AtariPreprocessing(noop_max=0, frame_skip=4" in shown
    assert "then FrameStackObservation(stack_size=4)" in shown


def test_options_of_environments_do_not_apply_to_few_shot_tasks(empty: Learnd) -> None:
    answer = empty.json("env", "add", "sinusoids", "--wrap", "FlattenObservation", "--preset", "atari", code=1)
    assert "--wrap, --preset does not apply" in answer["error"]["found"]


def test_feeding_a_family_makes_the_data_folder(empty: Learnd) -> None:
    empty("env", "add", "CartPole-v1", "--no-check")
    assert [family["name"] for family in empty.json("env", "list")["families"]] == ["cartpole"]


def test_a_checked_family_is_active_with_what_random_actions_earn(empty: Learnd) -> None:
    answer = empty.json("env", "add", "CartPole-v1", "--max-steps", "50", "--episodes", "1")
    assert answer["family"]["state"] == "active"
    assert answer["family"]["spaces"]["action"]["choices"] == [2]
    assert 10 < answer["admission"]["random_return"] < 40
    assert answer["admission"]["steps_per_s"] > 0


def test_a_trial_of_one_episode_is_explained_where_nothing_varies(empty: Learnd) -> None:
    fixed = empty("env", "add", "CartPole-v1", "--max-steps", "20").stdout
    assert "a trial is 1 episode, because nothing varies but the seed" in " ".join(fixed.split())
    assert "a trial is 1 episode, at most 20 steps each" in empty("env", "show", "cartpole").stdout
    varied = empty("env", "add", "CartPole-v1", "--name", "varied", "--max-steps", "20", "--vary", "length=0.4:0.6")
    assert "because nothing varies" not in varied.stdout


def test_automatic_variations_are_completed_shown_and_stored(empty: Learnd) -> None:
    settings = ("--max-steps", "30", "--vary", "actions", "--vary", "rewards=delay:2", "--vary", "gravity=8:9")
    answer = empty.json("env", "add", "CartPole-v1", *settings)
    varied = {variation["name"]: variation for variation in answer["family"]["spec"]["variations"]}
    assert varied.keys() == {"actions", "reward_delay", "gravity"}
    assert varied["actions"]["options"] == {"sizes": [2]}
    page = empty("env", "show", "cartpole").stdout
    assert "varies actions (interface): a permutation of 2" in page
    assert "varies reward_delay (interface): integer 0 to 2" in page


def test_automatic_variations_of_a_family_that_was_not_checked_are_shown_as_such(empty: Learnd) -> None:
    empty("env", "add", "CartPole-v1", "--vary", "auto", "--no-check")
    assert "varies auto (interface): what fits the environment" in empty("env", "show", "cartpole").stdout


def test_a_family_that_cannot_be_stepped_is_not_recorded(empty: Learnd, tmp_path: Path) -> None:
    (tmp_path / "broken_envs.py").write_text(BROKEN)
    answer = empty.json("env", "add", "broken_envs:Broken", "--path", str(tmp_path), code=1)
    assert "not plugged in" in str(answer["error"])
    assert not empty.folder.exists()


def test_a_family_is_tried_with_the_default_number_of_threads(empty: Learnd, monkeypatch: pytest.MonkeyPatch) -> None:
    num_threads: list[int] = []

    def probe(*_: object, **__: object) -> None:
        num_threads.append(torch.get_num_threads())
        raise EnvsError(operation="trying", subject="bandits", found="this test needs no more")

    monkeypatch.setattr("envs.admission.probe", probe)
    with with_threads(7):
        empty("env", "add", "bernoulli_bandits", code=1)
    assert num_threads == [default_threads()]


def test_a_taken_name_is_refused_before_anything_is_tried(learnd: Learnd) -> None:
    answer = learnd.json("env", "add", "CartPole-v1", code=1)
    assert answer["error"]["subject"] == "cartpole"
    assert "--name" in answer["error"]["hint"]
    hint = "`learnd env remove cartpole` first: the new family then has totals and a curve of its own"
    assert hint in answer["error"]["hint"]


@pytest.mark.parametrize("vary", ["gravity", "gravity=7", "gravity=13:7"])
def test_a_variation_that_means_nothing_is_refused(learnd: Learnd, vary: str) -> None:
    assert "error" in learnd.json("env", "add", "Pendulum-v1", "--name", "p2", "--vary", vary, "--no-check", code=1)


def test_kwargs_that_are_no_json_are_a_usage_error(learnd: Learnd) -> None:
    learnd("env", "add", "Pendulum-v1", "--name", "p2", "--kwarg", "walls=[1,", "--no-check", code=2)


def test_resuming_a_quarantined_family_forgives_its_strikes(learnd: Learnd, filled: DataFolder) -> None:
    with Store.open(filled) as store:
        store.families.record_strike("acrobot", reason="hung", detail="no answer")
        store.families.set_state("acrobot", FamilyState.QUARANTINED, reason="3 strikes", quarantined_until=9e9)
    family = learnd.json("env", "resume", "acrobot")["family"]
    assert (family["state"], family["strikes"], family["quarantined_until"]) == ("active", 0, None)


def test_pausing_twice_keeps_the_first_reason(learnd: Learnd) -> None:
    learnd("env", "pause", "mdps", "--reason", "first")
    assert learnd.json("env", "pause", "mdps", "--reason", "second")["family"]["state_reason"] == "first"


@pytest.mark.parametrize("command", ["show", "pause", "resume", "remove"])
def test_an_unknown_family_suggests_the_nearest(command: str, learnd: Learnd) -> None:
    hint = learnd.json("env", command, "pendlum", code=1)["error"]["hint"]
    assert hint == "Did you mean pendulum?"


def test_show_tells_how_it_adapts(learnd: Learnd) -> None:
    family = learnd.json("env", "show", "cartpole")
    returns = family["episode_returns"]
    assert len(returns) == 3
    assert returns[0] < returns[-1]
    assert family["last_runs"][0]["job"] == "practise"
    page = learnd("env", "show", "cartpole").stdout
    assert "varies gravity" in page
    assert "→" in page


def test_a_name_used_again_shows_no_run_of_the_earlier_family(learnd: Learnd) -> None:
    learnd("env", "remove", "cartpole")
    learnd("env", "add", "CartPole-v1", "--name", "cartpole", "--no-check")
    assert learnd.json("env", "show", "cartpole")["last_runs"] == []


def test_people_are_asked_nothing_without_a_terminal(learnd: Learnd, call: Callable[..., object]) -> None:
    assert "removed" in learnd("env", "remove", "acrobot").stdout


def test_show_tells_what_was_forgotten_and_what_was_transferred(learnd: Learnd, filled: DataFolder) -> None:
    assert "forgetting" not in learnd("env", "show", "cartpole").stdout
    with Store.open(filled) as store:
        store.curves.commit_evaluation(
            "cartpole",
            [
                CurvePoint(metric=CurveMetric.PERFORMANCE, value=0.25),
                CurvePoint(metric=CurveMetric.FORGETTING, value=0.625),
                CurvePoint(metric=CurveMetric.FRESH_RETURN, value=60.0, standard_error=2.5),
                CurvePoint(metric=CurveMetric.FORWARD_TRANSFER, value=0.125, standard_error=0.05),
            ],
        )
    answer = learnd.json("env", "show", "cartpole")
    assert (answer["performance"], answer["forgetting"]) == (0.25, 0.625)
    assert answer["forward_transfer"] == {
        "score": 0.125,
        "standard_error": 0.05,
        "fresh_return": 60.0,
        "fresh_return_standard_error": 2.5,
    }
    page = learnd("env", "show", "cartpole").stdout
    assert "forgetting: 0.62 (it had reached 0.88 and gets 0.25)" in page
    assert "forward transfer: 0.125 ± 0.050" in page


def test_show_tells_the_return_of_new_parameters_where_there_is_no_reference(
    learnd: Learnd, filled: DataFolder
) -> None:
    add_unscaled(filled)
    with Store.open(filled) as store:
        store.curves.commit_evaluation(
            "arm",
            [
                CurvePoint(metric=CurveMetric.PERFORMANCE, value=0.75),
                CurvePoint(metric=CurveMetric.FORGETTING, value=0.25),
                CurvePoint(metric=CurveMetric.FRESH_RETURN, value=-1190.0, standard_error=20.0),
            ],
        )
    answer = learnd.json("env", "show", "arm")
    assert (answer["forward_transfer"]["score"], answer["forward_transfer"]["fresh_return"]) == (None, -1190.0)
    page = learnd("env", "show", "arm").stdout
    assert "with new parameters in all parts: return -1190 ± 20" in page
    assert "(it had reached 1.00 and gets 0.75, in units of what it had reached)" in page


def test_show_calls_the_score_before_practice_zero_shot_and_says_what_the_policy_began_with(
    learnd: Learnd, filled: DataFolder
) -> None:
    with Store.open(filled) as store:
        points = [
            CurvePoint(metric=metric, label="fresh", value=value, standard_error=error)
            for metric, value, error in (
                (CurveMetric.ZERO_SHOT_RETURN, -12.8, 1.0),
                (CurveMetric.ZERO_SHOT_SCORE, 0.031, 0.002),
            )
        ]
        store.curves.commit_evaluation("cartpole", points[:1])
        page = " ".join(learnd("env", "show", "cartpole").stdout.split())
        assert "zero-shot return (before any practice): -12.8 ± 1" in page
        assert "start fresh (new parameters)" in page
        store.curves.commit_evaluation("cartpole", points)
    page = " ".join(learnd("env", "show", "cartpole").stdout.split())
    assert "zero-shot score (before any practice): 0.0310 ± 0.0020, start fresh (new parameters)" in page
    assert learnd.json("env", "show", "cartpole")["zero_shot"]["start"] == "fresh"


def test_every_start_of_a_policy_has_a_description() -> None:
    assert list(STARTS) == [str(start) for start in WarmStart]
