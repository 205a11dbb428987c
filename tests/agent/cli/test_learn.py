"""Tests of ``learnd learn``: a run learns, is saved, is resumed, and writes its parameters."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import Result

from agent.experiments.run import LearningRun
from agent.learners.config_json import config_to_json
from agent.learners.rl2.removed_settings import REMOVED
from agent.policies.published_classifiers import few_shot_learners, load_few_shot
from agent.policies.version_file import read_version_file
from envs.few_shot.images.classes import read_image_folder
from envs.few_shot.images.common_form import ink_extents
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs
from tests.agent.cli.conftest import Learnd
from tests.agent.learners.image_folders import write_images

GLYPHS = (
    *("--family", "glyphs", "--queries", "1", "--few-shot", "3x1"),
    *("--kwarg", "size=16", "--kwarg", "alphabets=4", "--kwarg", "characters=8", "--kwarg", "drawers=4"),
)
NARROW_NETWORK = ("--set", "network.channels=[4,4]")
NARROW_EMBEDDING = ("--set", "embedding.channels=[4,4]", "--set", "embedding.is_bfloat16=false")
ON_IMAGES: dict[str, Sequence[str]] = {
    "maml": NARROW_NETWORK,
    "reptile": (*NARROW_NETWORK, "--set", "num_adapt_steps=2"),
    "meta-sgd": NARROW_NETWORK,
    "platipus": NARROW_NETWORK,
    "protonet": NARROW_EMBEDDING,
    "matching": NARROW_EMBEDDING,
    "versa": (*NARROW_EMBEDDING, "--set", "num_features=8", "--set", "hidden_size=8"),
}
ON_SINUSOIDS = ("maml", "reptile", "meta-sgd", "platipus", "versa")
SINUSOIDS = ("--family", "sinusoids", "--tasks", "20")
RL2 = ("--set", "hidden_size=8", "--set", "input_size=8", "--set", "num_trials_tensor=16", "--tasks", "16")


GOING_ON: dict[str, Sequence[str]] = {
    "rl2": ("rl2", "--family", "bernoulli_bandits", *RL2),
    "policies": (
        *("maml", "--family", "bernoulli_bandits", "--tasks", "20"),
        *("--set", "round.num_episodes=2", "--set", "policy.hidden_sizes=[4]"),
    ),
}


@pytest.mark.parametrize("learner", ON_SINUSOIDS)
def test_every_regression_learner_learns_sinusoids(empty: Learnd, learner: str) -> None:
    answer = empty.json("learn", learner, *SINUSOIDS, "--budget", "3u", "--points", "2")
    assert (answer["learner"], answer["measure"], answer["updates"]) == (learner, "squared_error", 3)
    assert answer["settings"].get("decay_updates", 3) == 3
    assert answer["score"]["adapted"]["num_tasks"] == 20
    assert answer["score"]["adapted"]["mean"] > 0
    assert [point["updates"] for point in answer["points"]] == [0, 2]
    assert answer["cpu_s"] > 0
    assert answer["bytes_per_update"] > 10_000
    assert not empty.folder.exists()


@pytest.mark.parametrize("learner", list(ON_IMAGES))
def test_every_classification_learner_learns_glyphs(empty: Learnd, learner: str) -> None:
    answer = empty.json("learn", learner, *GLYPHS, *ON_IMAGES[learner], "--budget", "2u", "--tasks", "4")
    assert (answer["measure"], answer["updates"]) == ("accuracy", 2)
    assert answer["score"]["adapted"]["num_tasks"] == 4
    compares = answer["learner"] in {"prototypical", "matching", "versa"}
    assert (answer["score"]["unadapted"] is None) == compares


def test_rl2_learns_a_family_of_environments(empty: Learnd, tmp_path: Path) -> None:
    output = tmp_path / "bandits.safetensors"
    words = ("learn", "rl2", "--family", "bernoulli_bandits", "--episodes", "4", "--budget", "2u", *RL2)
    answer = empty.json(*words, "--output", str(output))
    assert answer["measure"] == "episode_return"
    assert set(answer["score"]["beside"]) == {"trial_return"}
    trial, episode = answer["score"]["beside"]["trial_return"], answer["score"]["adapted"]
    assert trial["num_tasks"] == episode["num_tasks"]

    from agent.policies.acting import load_policy

    assert list(load_policy(output).families) == ["bernoulli_bandits"]


@pytest.mark.parametrize("learner", ["maml", "reptile", "meta-sgd"])
def test_policies_are_adapted_by_gradient_where_there_is_something_to_act_in(
    empty: Learnd, tmp_path: Path, learner: str
) -> None:
    output = tmp_path / "policy.safetensors"
    small = ("--max-steps", "4", "--set", "round.num_episodes=2", "--set", "policy.hidden_sizes=[4]")
    answer = empty.json(
        "learn", learner, "--family", "navigation", *small, "--budget", "1u", "--tasks", "20", "--output", str(output)
    )
    assert (answer["learner"], answer["measure"]) == (learner, "episode_return")
    assert answer["score"]["adapted"] != answer["score"]["unadapted"]

    from agent.policies.acting import load_policy

    assert list(load_policy(output).families) == ["navigation"]


def test_it_learns_gymnasium_tasks_in_a_worker(empty: Learnd) -> None:
    words = ("--family", "CartPole-v1", "--vary", "length=0.3:1.2", "--episodes", "1", "--max-steps", "5")
    small = ("--set", "hidden_size=8", "--set", "input_size=8", "--set", "num_trials_gymnasium=2", "--tasks", "2")
    answer = empty.json("learn", "rl2", *words, *small, "--budget", "1u")
    assert answer["score"]["adapted"]["mean"] == 5.0, "no pole falls within five steps"


def test_a_removed_setting_is_accepted_with_a_warning(empty: Learnd) -> None:
    words = ("learn", "rl2", "--family", "bernoulli_bandits", "--episodes", "2", *RL2, "--budget", "1u")
    result = empty(*words, "--set", "memory_reader=matching")
    shown = " ".join(result.stderr.split())
    assert "warning: rl2.memory_reader = 'matching' (--set) has no effect" in shown


def test_a_run_that_an_earlier_release_saved_with_the_constants_continues(
    empty: Learnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("learn", "rl2", "--family", "bernoulli_bandits", "--episodes", "2", *RL2, "--state", str(tmp_path / "s"))
    earlier = {name: setting.constant for name, setting in REMOVED.items()}
    with monkeypatch.context() as patch:
        patch.setattr("agent.experiments.rl2.config_to_json", lambda config: config_to_json(config) | earlier)
        empty.json(*words, "--budget", "1u")
    assert empty.json(*words, "--budget", "2u")["is_resumed"]
    with monkeypatch.context() as patch:
        earlier["memory_reader"] = "matching"
        patch.setattr("agent.experiments.rl2.config_to_json", lambda config: config_to_json(config) | earlier)
        empty.json(*words, "--budget", "1u", "--state", str(tmp_path / "other"))
    assert "memory_reader" in empty(*words, "--budget", "2u", "--state", str(tmp_path / "other"), code=1).stderr


def test_a_budget_of_seconds_is_not_overrun_by_more_than_an_update(empty: Learnd) -> None:
    answer = empty.json("learn", "maml", *SINUSOIDS, "--budget", "0.2s")
    assert answer["updates"] >= 1
    assert answer["cpu_s"] < 0.2 + 5e-3 * answer["ms_per_update"]
    assert answer["cpu_s"] >= 0.2


@pytest.mark.parametrize("learner", ["maml", "platipus", "rl2", "policies"])
def test_gone_on_with_it_is_bit_for_bit_the_run_that_never_stopped(
    empty: Learnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learner: str
) -> None:
    words = ("learn", *GOING_ON.get(learner, (learner, *SINUSOIDS)), "--budget", "6u", "--points", "3")
    whole = empty.json(*words, "--state", str(tmp_path / "whole"))
    stop_after(3, monkeypatch)
    state = str(tmp_path / "parted")
    stopped = empty.json(*words, "--state", state, code=130)
    assert (stopped["updates"], stopped["is_interrupted"], stopped["score"]) == (3, True, None)
    monkeypatch.undo()
    finished = empty.json(*words, "--state", state)
    assert finished["is_resumed"]
    assert scores(finished) == scores(whole)
    parted, never_parted = load_file(state), load_file(tmp_path / "whole")
    assert parted.keys() == never_parted.keys()
    assert all(torch.equal(parted[name], never_parted[name]) for name in parted)


def test_a_finished_run_is_told_again_without_learning(empty: Learnd, tmp_path: Path) -> None:
    words = ("learn", "maml", *SINUSOIDS, "--budget", "3u", "--state", str(tmp_path / "state"))
    first, second = empty.json(*words), empty.json(*words)
    assert (second["updates"], second["cpu_s"], second["score"]) == (first["updates"], first["cpu_s"], first["score"])


def test_a_larger_budget_goes_on_with_a_finished_run(empty: Learnd, tmp_path: Path) -> None:
    words = ("learn", "maml", *SINUSOIDS, "--state", str(tmp_path / "state"), "--budget")
    first = empty.json(*words, "3u")
    second = empty.json(*words, "5u")
    assert (second["updates"], second["planned_updates"]) == (5, 5)
    assert second["cpu_s"] > first["cpu_s"]
    assert second["score"] != first["score"]


def test_ctrl_c_ends_with_130_and_a_state_that_goes_on(
    empty: Learnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LearningRun._learn_once

    def learn_and_be_interrupted(run: LearningRun) -> None:
        real(run)
        if run.trainee.num_updates == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(LearningRun, "_learn_once", learn_and_be_interrupted)
    words = ("learn", "maml", *SINUSOIDS, "--budget", "5u", "--state", str(tmp_path / "state"))
    assert "the same command resumes" in empty(*words, code=130).stdout.replace("\n", " ")
    monkeypatch.undo()
    assert empty.json(*words)["updates"] == 5


def test_a_state_of_another_run_is_refused(empty: Learnd, tmp_path: Path) -> None:
    state = ("--budget", "2u", "--state", str(tmp_path / "state"))
    empty("learn", "maml", *SINUSOIDS, *state)

    def refusal(*words: str) -> str:
        error = empty.json(*words, *state, code=1)["error"]
        assert error["hint"]
        return str(error["found"])

    assert 'learner "maml" and not "reptile"' in refusal("learn", "reptile", *SINUSOIDS)
    assert "seed 0 and not 1" in refusal("learn", "maml", *SINUSOIDS, "--seed", "1")
    assert "settings.inner_lr 0.01 and not 0.5" in refusal("learn", "maml", *SINUSOIDS, "--set", "inner_lr=0.5")
    assert "family.kwargs.shots" in refusal("learn", "maml", *SINUSOIDS, "--shots", "3")
    content = bytearray((tmp_path / "state").read_bytes())
    content[-1] ^= 1
    (tmp_path / "state").write_bytes(bytes(content))
    assert "checksum" in refusal("learn", "maml", *SINUSOIDS)
    (tmp_path / "state").write_bytes(b"nonsense")
    assert "not a safetensors file" in refusal("learn", "maml", *SINUSOIDS)


def test_what_does_not_go_together_is_refused_with_what_does(empty: Learnd, tmp_path: Path) -> None:
    def refusal(*words: str) -> str:
        error = empty.json("learn", *words, code=1)["error"]
        assert error["hint"]
        return f"{error['found']} {error['hint']}"

    budget = ("--budget", "1u")
    assert "rl2, maml" in refusal("mamal", *SINUSOIDS, *budget)
    assert "cannot learn few-shot tasks of regression" in refusal("protonet", *SINUSOIDS, *budget)
    assert "cannot learn few-shot tasks" in refusal("rl2", *SINUSOIDS, *budget)
    assert "cannot learn environments to act in" in refusal("versa", "--family", "bernoulli_bandits", *budget)
    assert "Did you mean sinusoids" in refusal("maml", "--family", "sinusoid", *budget)
    assert "inner_lr" in refusal("maml", *SINUSOIDS, *budget, "--set", "inner_rate=1")
    assert "not a valid value of inner_lr" in refusal("maml", *SINUSOIDS, *budget, "--set", "inner_lr=fast")
    assert "not a valid value of num_inner_steps" in refusal(
        "maml", *SINUSOIDS, *budget, "--set", "num_inner_steps=1.5"
    )
    assert "not a valid value of num_adapt_steps" in refusal(
        "maml", *SINUSOIDS, *budget, "--set", "num_adapt_steps=1.5"
    )
    assert "not a valid value of network.hidden_sizes" in refusal(
        "maml", *SINUSOIDS, *budget, "--set", "network.hidden_sizes=[9.5]"
    )
    assert "--few-shot does not apply" in refusal("maml", *SINUSOIDS, *budget, "--few-shot", "5x1")
    assert "--vary does not apply" in refusal("maml", *SINUSOIDS, *budget, "--vary", "length=1:2")
    assert "it has no unit" in refusal("maml", *SINUSOIDS, "--budget", "60")
    assert "allows no update" in refusal("maml", *SINUSOIDS, "--budget", "0u")
    assert "its folder does not exist" in refusal("maml", *SINUSOIDS, *budget, "--output", str(tmp_path / "a" / "b"))


def test_a_whole_number_is_a_rate_too(empty: Learnd) -> None:
    words = ("learn", "maml", *SINUSOIDS, "--budget", "1u", "--set")
    whole, exact = empty.json(*words, "inner_lr=1"), empty.json(*words, "inner_lr=1.0")
    assert whole["settings"]["inner_lr"] == 1.0
    assert scores(whole) == scores(exact)


@pytest.mark.parametrize("setting", ["network.hidden_sizes=[0]", "network.hidden_sizes=[-3]"])
def test_settings_that_no_learner_can_be_made_of_are_refused(empty: Learnd, setting: str) -> None:
    error = empty.json("learn", "maml", *SINUSOIDS, "--budget", "1u", "--set", setting, code=1)["error"]
    assert error["operation"] == "taking a first update of"
    assert "--set" in error["hint"]


def test_a_diverging_loss_is_an_error_that_says_so(empty: Learnd) -> None:
    words = ("--set", "inner_lr=1e30", "--set", "num_inner_steps=3", "--set", "outer_lr=1e30")
    error = empty.json("learn", "maml", *SINUSOIDS, "--budget", "20u", *words, code=1)["error"]
    assert "of update" in error["found"]


def test_a_family_of_the_data_folder_is_known_by_its_name(
    learnd: Learnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = learnd.json("learn", "rl2", "--family", "bandits", "--budget", "1u", *RL2)
    assert (answer["family"]["name"], answer["family"]["source"]) == ("bandits", "tensor")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bandits").mkdir()
    assert learnd.json("learn", "rl2", "--family", "bandits", "--budget", "1u", *RL2)["family"]["entry"] != "bandits"
    (tmp_path / "bandits").rmdir()
    error = learnd.json("learn", "rl2", "--family", "bandits", "--episodes", "2", "--budget", "1u", code=1)["error"]
    assert "--episodes does not apply" in error["found"]


def test_a_family_file_is_learned_as_it_declares_the_family(empty: Learnd, tmp_path: Path) -> None:
    file = tmp_path / "few.toml"
    file.write_text('entry = "bernoulli_bandits"\nepisodes = 2\n[kwargs]\nnum_arms = 3\n')
    answer = empty.json("learn", "rl2", "--family", str(file), "--budget", "1u", *RL2)
    assert (answer["family"]["name"], answer["family"]["episodes_per_trial"]) == ("few", 2)
    assert answer["family"]["kwargs"]["num_arms"] == 3
    said = ("--family", "bernoulli_bandits", "--episodes", "2", "--kwarg", "num_arms=3")
    assert scores(empty.json("learn", "rl2", *said, "--budget", "1u", *RL2)) == scores(answer)


def test_a_family_file_takes_no_options_and_must_be_valid(empty: Learnd, tmp_path: Path) -> None:
    file = tmp_path / "few.toml"
    file.write_text('entry = "bernoulli_bandits"\n')
    words = ("learn", "rl2", "--family", str(file), "--budget", "1u")
    error = empty.json(*words, "--episodes", "2", code=1)["error"]
    assert error["found"] == "--episodes does not apply: the file declares the family."
    file.write_text('entry = "bernoulli_bandits"\nepisods = 3\n')
    assert empty.json(*words, code=1)["error"]["found"].startswith("line 2: 'episods' is not a key")


def test_tasks_that_recur_are_refused_as_an_option_and_noted_in_a_file(empty: Learnd, tmp_path: Path) -> None:
    words = ("learn", "rl2", "--budget", "1u", *RL2, "--tasks", "2", "--family")
    error = empty.json(*words, "CartPole-v1", "--recurring", "3", code=1)["error"]
    assert error["found"].startswith("--recurring does not apply: ")
    assert "earlier trials" in error["found"]
    file = tmp_path / "few.toml"
    file.write_text('entry = "CartPole-v1"\nrecurring = 3\nmax_steps = 5\n')
    result = empty(*words, str(file))
    assert "warning: the tasks of few recur" in result.stderr


def test_what_was_learned_of_images_answers_for_other_images(empty: Learnd, tmp_path: Path) -> None:
    write_images(draw_glyphs(GlyphConfig(alphabets=4, characters=6, drawers=4, size=48)), tmp_path / "images")
    output = tmp_path / "made.safetensors"
    words = ("--family", str(tmp_path / "images"), "--few-shot", "3x1", "--queries", "1", "--kwarg", "size=16")
    answer = empty.json("learn", "protonet", *words, *NARROW_EMBEDDING, "--budget", "2u", "--output", str(output))
    assert answer["output"]["size_bytes"] == output.stat().st_size
    made = load_few_shot(output)
    assert made.provenance["updates"] == 2
    sheets = read_image_folder(tmp_path / "images")
    assert made.ink_extent == pytest.approx(float(ink_extents(sheets.images).median()), rel=0.1)
    support = tmp_path / "images" / "alphabet03"
    asked = ("few-shot", "predict", "--policy", str(output), "--support", str(support), "--query", str(support))
    assert len(empty.json(*asked)["predictions"]) == 24


def test_what_was_learned_of_sinusoids_can_be_restored(empty: Learnd, tmp_path: Path) -> None:
    output = tmp_path / "waves.safetensors"
    empty("learn", "maml", *SINUSOIDS, "--budget", "2u", "--output", str(output))
    file = read_version_file(output)
    (learner,) = few_shot_learners(file, "sinusoids")
    assert file.header.provenance["updates"] == 2
    assert (learner.num_updates, learner.shapes.output_size) == (2, 1)


def test_people_see_a_table(empty: Learnd) -> None:
    shown = empty("learn", "maml", *SINUSOIDS, "--budget", "2u").stdout
    assert "before adaptation" in shown
    assert "95% interval over 20 held-out tasks" in shown


def test_help_and_refusals_do_not_load_torch(call: Callable[..., Result]) -> None:
    import subprocess
    import sys

    program = (
        "import sys\nfrom agent.cli.main import app\ntry:\n    app(['learn', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def stop_after(updates: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Request a stop of a run after the given number of updates."""
    real = LearningRun.__init__

    def begin(run: LearningRun, *arguments: Any, **named: Any) -> None:
        def is_stopped() -> bool:
            trainee = getattr(run, "trainee", None)
            return trainee is not None and trainee.num_updates >= updates

        real(run, *arguments, **{**named, "is_stopped": is_stopped})

    monkeypatch.setattr(LearningRun, "__init__", begin)


def scores(answer: dict[str, Any]) -> list[Any]:
    """Return the scores of a run without their times."""
    return [{**point, "cpu_s": None} for point in (*answer["points"], answer["score"])]


def test_a_python_file_with_a_wrapper_is_learned_without_the_service(empty: Learnd, tmp_path: Path) -> None:
    (tmp_path / "own_pole.py").write_text(
        "from gymnasium.envs.classic_control import CartPoleEnv\n\nclass Pole(CartPoleEnv):\n    pass\n"
    )
    file = str(tmp_path / "own_pole.py")
    options = ("--wrap", 'FrameStackObservation:{"stack_size": 2}', "--max-steps", "10", "--episodes", "1")
    answer = empty.json("learn", "rl2", "--family", file, *options, "--budget", "1u", "--tasks", "2")
    assert answer["family"]["name"] == "own_pole"
    assert answer["family"]["wrappers"] == [{"name": "FrameStackObservation", "kwargs": {"stack_size": 2}}]
