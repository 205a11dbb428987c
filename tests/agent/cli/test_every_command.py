"""Tests that apply to every command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from envs.declaration import default_name
from envs.default_families import default_stream
from tests.agent.cli.commands import every_command
from tests.agent.cli.conftest import Learnd
from tests.repository import ROOT

DOCS = ROOT / "docs" / "cli.md"
COMMANDS = every_command()
IDS = [" ".join(words) for words in COMMANDS]

ON_EMPTY = {
    ("status",): 0,
    ("curves",): 0,
    ("curves", "cartpole"): 1,
    ("doctor",): 0,
    ("service", "status"): 0,
    ("env", "list"): 0,
    ("env", "show", "cartpole"): 1,
    ("env", "export", "cartpole"): 1,
    ("env", "pause", "cartpole"): 1,
    ("env", "resume", "cartpole"): 1,
    ("env", "remove", "cartpole"): 1,
    ("env", "reference", "cartpole", "--return", "600"): 1,
    ("policy", "list"): 0,
    ("policy", "show"): 1,
    ("policy", "rollback"): 1,
    ("policy", "eval"): 1,
    ("policy", "watch", "cartpole"): 1,
    ("policy", "export", "1", "out.safetensors"): 1,
    ("memory", "stats"): 0,
    ("memory", "recognise", "cartpole"): 1,
    ("memory", "backups"): 0,
    ("memory", "export", "out.learnd"): 1,
    ("memory", "import", "in.learnd"): 1,
    ("schedule", "list"): 0,
    ("schedule", "run-now", "evaluate"): 1,
    ("config", "show"): 0,
    ("config", "check"): 0,
}


WITHOUT_STORE = {
    ("run",),
    ("service", "install"),
    ("service", "uninstall"),
    ("env", "add"),
    ("env", "check"),
    ("memory", "restore"),
    ("config", "set"),
    ("few-shot", "predict"),
    ("few-shot", "score"),
    ("few-shot", "train"),
    ("learn",),
    ("compare",),
}
"""Commands that create the data folder, or do not need one."""


@pytest.mark.parametrize("words", COMMANDS, ids=IDS)
def test_every_command_takes_the_shared_options(words: tuple[str, ...]) -> None:
    options = {option for parameter in COMMANDS[words].params for option in parameter.opts}
    assert {"--json", "--data-dir", "--config"} <= options


@pytest.mark.parametrize("words", COMMANDS, ids=IDS)
def test_every_command_and_option_is_documented(words: tuple[str, ...]) -> None:
    text = DOCS.read_text()
    section = re.search(rf"^### `learnd {' '.join(words)}\b.*?(?=^##|\Z)", text, re.DOTALL | re.MULTILINE)
    assert section, f"docs/cli.md has no section '### `learnd {' '.join(words)}'"
    own = {
        option
        for parameter in COMMANDS[words].params
        if parameter.param_type_name == "option"
        for option in parameter.opts
        if option.startswith("--")
    }
    missing = {option for option in own - {"--json", "--data-dir", "--config"} if f"`{option}" not in section[0]}
    assert not missing


def test_no_command_is_documented_that_does_not_exist() -> None:
    documented = re.findall(r"^### `learnd ([a-z -]+?)(?: [A-Z\[{].*)?`", DOCS.read_text(), re.MULTILINE)
    assert {tuple(name.split()) for name in documented} == set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=IDS)
def test_every_command_has_help_with_examples_that_call_it(words: tuple[str, ...], call: Callable[..., Result]) -> None:
    result = call(*words, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    examples = [line.strip() for line in COMMANDS[words].epilog.split("\n\n")[1:]]
    assert examples
    for example in examples:
        called = shlex.split(example.replace("LEARND_LEARNER__DEVICE=cpu ", "").replace("\\[", "["))
        assert called[: len(words) + 1] == ["learnd", *words]
        command = COMMANDS[words]
        command.make_context("learnd", called[len(words) + 1 :], parent=None, resilient_parsing=True)


def test_the_examples_of_adding_a_family_take_no_name_twice_and_none_of_the_embedded_families() -> None:
    command = COMMANDS["env", "add"]
    names = [family.name for family in default_stream()]
    for example in command.epilog.split("\n\n")[1:]:
        words = shlex.split(example.replace("\\[", "["))[3:]
        given = command.make_context("learnd", words, parent=None, resilient_parsing=True).params
        names.append(given["name"] or default_name(given["entry"]))
    assert len(names) == len(set(names))


@pytest.mark.parametrize("words", [("learn",), ("compare",)])
def test_the_help_of_recurring_tasks_says_where_they_are_practised(words: tuple[str, ...]) -> None:
    [option] = [parameter for parameter in COMMANDS[words].params if "--recurring" in parameter.opts]
    assert option.help.startswith("Only for the service")


@pytest.mark.parametrize(("words", "code"), ON_EMPTY.items(), ids=[" ".join(words) for words in ON_EMPTY])
def test_without_data_every_command_answers_kindly(words: tuple[str, ...], code: int, empty: Learnd) -> None:
    answer = empty.json(*words, code=code)
    assert ("error" in answer) == (code == 1)
    said = empty(*words, code=code)
    if code == 1:
        assert "no data yet: run learnd run" in said.stderr
    assert not empty.folder.exists(), "looking makes nothing"


def test_that_table_covers_every_command_that_reads_the_store() -> None:
    covered = {words for words in COMMANDS for given in ON_EMPTY if given[: len(words)] == words}
    assert set(COMMANDS) - covered == WITHOUT_STORE


def test_shared_options_stand_before_within_and_after(learnd: Learnd, call: Callable[..., Result]) -> None:
    folder = str(learnd.folder)
    answers = {
        call("--json", "--data-dir", folder, "env", "list").stdout,
        call("env", "--json", "--data-dir", folder, "list").stdout,
        call("env", "list", "--data-dir", folder, "--json").stdout,
        call("--data-dir", "/nowhere", "env", "list", "--data-dir", folder, "--json").stdout,
    }
    assert len(answers) == 1
    assert answers.pop().startswith("{")


def test_an_unknown_command_suggests_the_nearest(call: Callable[..., Result]) -> None:
    result = call("statsu")
    assert result.exit_code == 2
    assert "status" in result.stderr


def test_a_usage_error_ends_with_2_and_leaves_stdout_empty(call: Callable[..., Result]) -> None:
    result = call("env", "pause", "--json")
    assert result.exit_code == 2
    assert result.stdout == ""


def test_an_error_in_json_says_what_was_tried_found_and_to_do(learnd: Learnd) -> None:
    answer = learnd.json("env", "show", "cartpol", code=1)
    assert answer == {
        "error": {
            "operation": "showing family",
            "subject": "cartpol",
            "found": "there is no family of that name.",
            "hint": "Did you mean cartpole?",
        }
    }


def test_an_error_for_people_goes_to_stderr(learnd: Learnd) -> None:
    result = learnd("env", "show", "cartpol", code=1)
    assert result.stdout == ""
    assert "Did you mean cartpole?" in result.stderr


def test_settings_that_cannot_be_used_are_an_error_of_every_command(
    tmp_path: Path, call: Callable[..., Result]
) -> None:
    file = tmp_path / "learnd.toml"
    file.write_text("[practise]\nslice_s = 'soon'\n")
    result = call("status", "--config", str(file))
    assert result.exit_code == 1
    assert "practise.slice_s" in result.stderr


def test_the_version_is_shown(call: Callable[..., Result]) -> None:
    assert call("--version").stdout.startswith("learnd ")
