"""A path that cannot be is an error of the command, in JSON too, wherever a user can name it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import run_command

NOBODY = "~nobody-of-that-name"
FOUND = f"there is no home folder for {NOBODY}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("env", "add", f"{NOBODY}/maze.py"),
        ("env", "add", f"{NOBODY}/images"),
        ("env", "add", f"{NOBODY}/maze.toml"),
        ("env", "add", "maze:Maze", "--python", f"{NOBODY}/venv"),
        ("env", "add", "CartPole-v1", "--wrap", f"{NOBODY}/wrappers.py:Crop"),
        ("env", "check", f"{NOBODY}/maze.py"),
        ("learn", "rl2", "--family", f"{NOBODY}/maze.py", "--budget", "1s"),
        ("learn", "rl2", "--family", NOBODY, "--budget", "1s"),
        ("compare", f"{NOBODY}/images", "--budget", "1s"),
        ("--config", f"{NOBODY}/learnd.toml", "env", "list"),
        ("--data-dir", NOBODY, "env", "list"),
        ("--data-dir", NOBODY, "status"),
        ("--data-dir", NOBODY, "doctor"),
    ],
)
def test_the_home_folder_of_nobody_is_named_in_the_error(arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = run_command(tmp_path, *arguments, "--json")
    assert result.exit_code == 1
    assert FOUND in result.stdout
    json.loads(result.stdout)


@pytest.mark.parametrize("key", ["service.token_file", "stream.folder", "workers.writable"])
def test_a_setting_with_the_home_folder_of_nobody_cannot_be_used(key: str, tmp_path: Path) -> None:
    file = tmp_path / "learnd.toml"
    section, _, name = key.rpartition(".")
    value = f'["{NOBODY}/x"]' if name == "writable" else f'"{NOBODY}/x"'
    file.write_text(f"[{section}]\n{name} = {value}\n")
    result = run_command(tmp_path, "config", "check", str(file), "--json")
    assert result.exit_code == 1
    (problem,) = json.loads(result.stdout)["problems"]
    assert problem["key"].startswith(key)
    assert FOUND in json.dumps(problem)


def test_a_name_that_is_too_long_is_an_error_of_the_command(tmp_path: Path) -> None:
    result = run_command(tmp_path, "env", "add", f"{'a' * 5000}.py", "--json")
    assert result.exit_code == 1
    assert "File name too long" in json.loads(result.stdout)["error"]["found"]
