"""Tests of `learnd env add --reference`, and of what the commands say about a measured reference."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
import typer

from agent.cli.reference_option import parse_reference
from agent.config.settings import ReferenceSettings
from envs.reference import ReferenceChoice, ReferenceRule
from memory.folder import DataFolder
from memory.records import JobKind, JobOutcome
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.cli.unscaled import add_unscaled
from tests.agent.test_reference_requests import MEASURED
from tests.envs.families import FOLDER

SETTINGS = ReferenceSettings(steps=5000)
COUNTER = ("sound_environments:Counter", "--path", str(FOLDER), "--name", "counter", "--no-check")


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        (None, ReferenceChoice(steps=5000)),
        ("ppo", ReferenceChoice(rule=ReferenceRule.PPO, steps=5000)),
        ("PPO:200", ReferenceChoice(rule=ReferenceRule.PPO, steps=200)),
        ("none", ReferenceChoice(rule=ReferenceRule.NONE)),
        ("-12.5", ReferenceChoice(declared=-12.5)),
    ],
)
def test_a_reference_is_a_return_a_measurement_or_none(text: str | None, choice: ReferenceChoice) -> None:
    assert parse_reference(text, SETTINGS) == choice


def test_the_default_can_be_switched_off() -> None:
    assert parse_reference(None, ReferenceSettings(default="none")) == ReferenceChoice()


@pytest.mark.parametrize("text", ["", "ppo:", "ppo:0", "ppo:-5", "ppo:1e5", "sac", "nan", "inf"])
def test_anything_else_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="ppo"):
        parse_reference(text, SETTINGS)


def added(learnd: Learnd, *options: str) -> dict[str, Any]:
    spec: dict[str, Any] = learnd.json("env", "add", *COUNTER, *options)["family"]["spec"]
    return {key: spec[key] for key in ("reference_return", "reference_rule", "reference_steps")}


def test_a_family_without_a_declaration_is_measured_by_default(learnd: Learnd) -> None:
    assert added(learnd) == {"reference_return": None, "reference_rule": "threshold", "reference_steps": 100_000}


def test_a_declared_return_is_not_measured(learnd: Learnd) -> None:
    assert added(learnd, "--reference", "30") == {
        "reference_return": 30.0,
        "reference_rule": "threshold",
        "reference_steps": 0,
    }


def test_the_measurement_and_its_absence_are_recorded(learnd: Learnd) -> None:
    assert added(learnd, "--reference", "ppo:7000")["reference_steps"] == 7000
    learnd("env", "remove", "counter", "--yes")
    assert added(learnd, "--reference", "none") == {
        "reference_return": None,
        "reference_rule": "none",
        "reference_steps": 0,
    }


def test_a_measurement_of_families_that_ppo_cannot_step_is_refused(learnd: Learnd) -> None:
    few_shot = learnd.json("env", "add", "sinusoids", "--reference", "ppo", code=1)["error"]
    assert "its scale is fixed" in few_shot["found"]
    none = learnd.json("env", "add", "sinusoids", "--reference", "none", code=1)["error"]
    assert "--reference none does not apply" in none["found"]
    tensor = learnd.json("env", "add", "navigation", "--reference", "ppo", code=1)["error"]
    assert "tensors" in tensor["found"]
    assert "--reference RETURN" in tensor["hint"]


def test_tensor_families_are_not_measured_by_default(learnd: Learnd) -> None:
    spec = learnd.json("env", "add", "navigation", "--no-check")["family"]["spec"]
    assert spec["reference_steps"] == 0


def measure(folder: DataFolder, reference: float | None) -> None:
    with Store.open(folder) as store:
        family = store.families.get("arm")
        spec = replace(family.require_spec(), measured_reference=MEASURED)
        if reference is not None:
            spec = replace(spec, reference_source=MEASURED.source)
        store.references.record(family, reference, spec=spec)


def test_the_page_of_a_measured_family_has_the_provenance_and_scores(learnd: Learnd, filled: DataFolder) -> None:
    add_unscaled(filled)
    measure(filled, -200.0)
    text = " ".join(learnd("env", "show", "arm").stdout.split())
    assert "return that scores 1: -200 (PPO of stable-baselines3 2.9.2 after 1,024 steps" in text
    values = learnd.json("env", "show", "arm")
    assert values["reference"]["measured"] == asdict(MEASURED)
    assert values["eval_score"] == pytest.approx(0.56)
    curve = learnd.json("curves", "arm")["families"][0]
    assert [point["value"] for point in curve["points"]] == pytest.approx([-0.01, 0.01, 0.3, 0.15, 0.56])


def test_the_page_says_that_a_measurement_gave_no_reference(learnd: Learnd, filled: DataFolder) -> None:
    add_unscaled(filled)
    measure(filled, None)
    text = " ".join(learnd("env", "show", "arm").stdout.split())
    assert "not reliably above the return of random actions" in text
    assert learnd.json("env", "show", "arm")["reference"]["is_to_be_measured"] is False


def test_a_family_that_waits_for_its_measurement_says_so(learnd: Learnd) -> None:
    assert added(learnd)
    text = " ".join(learnd("env", "show", "counter").stdout.split())
    assert "not measured yet (100k steps of PPO in the background once the family is active)" in text


def test_a_failed_measurement_is_shown_with_reason_and_next_attempt(learnd: Learnd, filled: DataFolder) -> None:
    add_unscaled(filled)
    with Store.open(filled) as store:
        run_id = store.jobs.start(JobKind.REFERENCE, family="arm", reason="no reference is known")
        store.jobs.finish(run_id, JobOutcome.FAILED, error="reset raised ValueError")
    assert "arm: its reference could not be measured (1 failed): reset raised ValueError" in learnd("status").stdout
    text = " ".join(learnd("env", "show", "arm").stdout.split())
    assert "the reference could not be measured, once: reset raised ValueError (next attempt: " in text
    failure = learnd.json("env", "show", "arm")["reference"]["failure"]
    assert failure["retry_at"] == failure["ended_at"] + 60


def test_a_running_measurement_shows_its_steps_in_every_list(learnd: Learnd, filled: DataFolder) -> None:
    add_unscaled(filled)
    with Store.open(filled) as store:
        run_id = store.jobs.start(JobKind.REFERENCE, family="arm", reason="no reference is known")
        store.jobs.report(run_id, {"phase": "training", "steps_done": 40_000, "steps": 100_000})
    assert "40.0k of 100k steps (training)" in " ".join(learnd("env", "show", "arm").stdout.split())
    assert "40.0k of 100k steps" in learnd("schedule", "list", "--runs", "1").stdout
    with filled.hold():
        status = learnd.json("status")
        assert "40.0k of 100k steps (training)" in learnd("status").stdout
    [running] = [run for run in status["running"] if run["job"] == "reference"]
    assert running["progress"] == {"phase": "training", "steps_done": 40_000, "steps": 100_000}


def test_a_measurement_can_be_requested_where_it_is_possible(learnd: Learnd, filled: DataFolder) -> None:
    add_unscaled(filled)
    assert learnd.json("schedule", "run-now", "reference", "--family", "arm")["job"] == "reference"
    refused = learnd.json("schedule", "run-now", "reference", "--family", "cartpole", code=1)["error"]
    assert "which never changes" in refused["found"]
    assert refused["hint"] == "For another one, add the family under another name with --reference."
    learnd("schedule", "run-now", "reference", code=2)


def test_the_page_says_how_a_reference_that_cannot_be_measured_is_declared(learnd: Learnd, filled: DataFolder) -> None:
    add_unscaled(filled)
    assert "learnd env reference arm --return RETURN" in " ".join(learnd("env", "show", "arm").stdout.split())
    measure(filled, None)
    text = " ".join(learnd("env", "show", "arm").stdout.split())
    assert "PPO of stable-baselines3 2.9.2 earned" in text
    assert "after 1.02k steps" in text
    assert "learnd env reference arm --return RETURN" in text


def test_a_family_that_varies_says_that_ppo_has_no_memory(learnd: Learnd) -> None:
    learnd("env", "add", "Pendulum-v1", "--name", "heavy", "--vary", "m=0.5:2", "--no-check")
    text = " ".join(learnd("env", "show", "heavy").stdout.split())
    assert "PPO has no memory: if the observations do not show m, its return is a low reference or none." in text


def test_a_declared_reference_gives_the_returns_so_far_their_scores(learnd: Learnd, filled: DataFolder) -> None:
    add_unscaled(filled)
    measure(filled, None)
    answer = learnd.json("env", "reference", "arm", "--return", "-200")["family"]
    assert (answer["reference_return"], answer["spec"]["reference_source"]) == (-200.0, "declared")
    values = learnd.json("env", "show", "arm")
    assert values["eval_score"] == pytest.approx(0.56)
    assert values["reference"]["is_to_be_measured"] is False
    again = learnd.json("env", "reference", "arm", "--return", "-100", code=1)["error"]
    assert again["hint"] == "For another one, add the family under another name with --reference."


@pytest.mark.parametrize(("value", "words"), [("-1200", "is not above -1200"), ("-1300", "return of random actions")])
def test_a_reference_that_random_actions_reach_is_refused(
    value: str, words: str, learnd: Learnd, filled: DataFolder
) -> None:
    add_unscaled(filled)
    assert words in learnd.json("env", "reference", "arm", "--return", value, code=1)["error"]["found"]


def test_a_reference_of_a_family_that_was_not_tried_is_refused(learnd: Learnd) -> None:
    added(learnd)
    error = learnd.json("env", "reference", "counter", "--return", "5", code=1)["error"]
    assert "the return of random actions is not known yet" in error["found"]
    learnd("env", "reference", "counter", "--return", "much", code=2)
