"""Tests of ``learnd env check``: it reports everything, stores nothing, and its exit status is its verdict."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import Result

from agent.cli.check_report import report_lines, seconds_text
from tests.agent.cli.commands import every_command
from tests.agent.cli.conftest import Learnd
from tests.envs.families import FOLDER

WARNED = ("env", "check", "contract_environments:WrongDtype", "--path", str(FOLDER))
REFUSED = ("env", "check", "contract_environments:OneActionTooMany", "--path", str(FOLDER))


def kinds(answer: dict[str, Any]) -> dict[str, str]:
    return {found["kind"]: found["severity"] for found in answer["findings"]}


def test_a_sound_environment_is_measured_and_nothing_is_stored(empty: Learnd) -> None:
    answer = empty.json("env", "check", "CartPole-v1", "--max-time", "60")
    assert (answer["verdict"], answer["findings"]) == ("admitted", [])
    assert answer["spaces"]["action"]["choices"] == [2]
    assert answer["random_return"] > 0
    assert answer["is_replayed"] is True
    assert answer["max_episode_steps"] == 500
    assert answer["episodes"]["shortest"] <= answer["episodes"]["mean_length"] <= answer["episodes"]["longest"]
    assert (answer["rewards"]["lowest"], answer["rewards"]["highest"]) == (1.0, 1.0)
    assert answer["steps_per_s"] > 0
    assert answer["one_copy"]["step_s"] > 0
    assert not empty.folder.exists()


def test_the_report_is_in_plain_words(empty: Learnd) -> None:
    said = " ".join(empty("env", "check", "CartPole-v1").stdout.split())
    assert "CartPole-v1 is admitted: learnd env add would admit it" in said
    for words in ("4 numbers → 2 choices", "speed: ", "episodes: ", "rewards: 1 to 1 a step", "seeds: the same seed"):
        assert words in said
    assert said.endswith("no fault was found")


def test_a_refusal_exits_with_1_and_names_the_user_s_line(empty: Learnd) -> None:
    answer = empty.json(*REFUSED, code=1)
    assert answer["verdict"] == "refused"
    assert kinds(answer)["action_edge"] == "refused"
    assert "contract_environments.py, line" in answer["findings"][0]["found"]
    said = empty(*REFUSED, code=1).stdout
    assert "is refused: learnd env add would refuse it" in said
    assert "\nx step: IndexError" in said
    assert not empty.folder.exists()


def test_a_warning_exits_with_0_or_if_strict_with_1(empty: Learnd) -> None:
    assert kinds(empty.json(*WARNED)) == {"wrong_dtype": "warning"}
    assert kinds(empty.json(*WARNED, "--strict", code=1)) == {"wrong_dtype": "warning"}


def test_several_faults_are_reported_at_once(empty: Learnd) -> None:
    entry = ("env", "check", "contract_environments:ManyFaults", "--path", str(FOLDER))
    assert kinds(empty.json(*entry, code=1)) == {
        "not_finite": "refused",
        "info_not_dict": "refused",
        "outside_space": "warning",
        "wrong_dtype": "warning",
    }


def test_adding_what_has_several_faults_names_the_first_and_the_check(empty: Learnd) -> None:
    answer = empty.json("env", "add", "contract_environments:ManyFaults", "--path", str(FOLDER), code=1)
    assert "reset: " in answer["error"]["found"]
    assert "learnd env check contract_environments:ManyFaults names 1 further fault." in answer["error"]["hint"]


def test_adding_answers_with_the_findings_and_what_was_measured(empty: Learnd) -> None:
    admission = empty.json("env", *("add", *WARNED[2:]))["admission"]
    assert kinds(admission) == {"wrong_dtype": "warning"}
    assert len(admission["warnings"]) == 1
    assert admission["measured"]["episodes"]["longest"] == 15


def test_what_does_not_start_is_refused_with_its_traceback_in_the_detail(empty: Learnd) -> None:
    answer = empty.json("env", "check", "broken_environments:RaisesWhileMaking", "--path", str(FOLDER), code=1)
    [found] = answer["findings"]
    assert (found["kind"], answer["spaces"], answer["random_return"]) == ("fault", None, None)
    assert "Traceback" in found["detail"]
    assert "Traceback" not in found["found"]


def test_state_that_copies_share_and_a_lost_variation_are_reported(empty: Learnd) -> None:
    shared = ("env", "check", "contract_environments:OneClassState", "--path", str(FOLDER))
    assert kinds(empty.json(*shared, code=1))["shared_world"] == "refused"
    lost = ("env", "check", "drifting_environments:Blown", "--path", str(FOLDER), "--vary", "put_back=2:3")
    assert kinds(empty.json(*lost, code=1))["variation_lost"] == "refused"


def test_episodes_that_do_not_end_within_the_time_are_refused_with_what_to_do(empty: Learnd) -> None:
    entry = ("env", "check", "broken_environments:Endless", "--path", str(FOLDER), "--max-time", "3")
    answer = empty.json(*entry, code=1)
    assert kinds(answer)["no_end"] == "refused"
    assert "--max-steps" in answer["findings"][0]["hint"]


def test_an_episode_that_takes_seconds_is_waited_for(empty: Learnd) -> None:
    entry = ("env", "check", "broken_environments:EndsLate", "--path", str(FOLDER), "--episodes", "1")
    answer = empty.json(*entry, "--kwarg", "seconds=2", "--max-time", "5m")
    assert answer["verdict"] == "admitted"
    assert answer["episodes"]["longest"] > 100


@pytest.mark.parametrize(
    ("entry", "zero"),
    [
        ("tabular_mdps", "a trial with random actions"),
        ("sinusoids", "the best constant answer"),
        ("glyphs", "answering"),
    ],
)
def test_families_without_a_worker_are_checked_too(entry: str, zero: str, empty: Learnd) -> None:
    answer = empty.json("env", "check", entry)
    assert (answer["verdict"], answer["findings"]) == ("admitted", [])
    said = empty("env", "check", entry).stdout
    assert f"returns: {zero}" in said
    assert ("observations and actions" in said) == (entry == "tabular_mdps")


def test_the_check_takes_every_argument_of_adding() -> None:
    def options(*words: str) -> set[str]:
        return {option for parameter in every_command()[words].params for option in parameter.opts}

    assert options("env", "add") - options("env", "check") == {"--check"}
    assert options("env", "check") - options("env", "add") == {"--max-time", "--strict"}


@pytest.mark.parametrize("text", ["soon", "0"])
def test_a_time_that_is_none_is_a_usage_error(text: str, empty: Learnd) -> None:
    result: Result = empty("env", "check", "CartPole-v1", "--max-time", text, code=2)
    assert "--max-time" in result.stderr


def test_what_is_unknown_has_no_line() -> None:
    values = {"spec": {"source": "gymnasium"}, "spaces": None, "random_return": None, "reference_return": None}
    assert report_lines(values) == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.5 s"), (0.0034, "3.4 ms"), (12e-6, "12 µs"), (1e-7, "0.1 µs"), (0.0, "0 µs")]
)
def test_short_times_have_their_unit(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_the_answer_is_json_alone(empty: Learnd) -> None:
    assert json.loads(empty("--json", *REFUSED, code=1).stdout)["verdict"] == "refused"
