"""Tests of what `make run` prints and starts. A script in the place of `learnd` prints its arguments."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.repository import ROOT


def make_run(folder: Path, *words: str, **variables: str) -> list[str]:
    """Return the lines of `make run`."""
    learnd = folder / "learnd"
    learnd.write_text('#!/bin/sh\nfor word; do echo "given: $word"; done\n')
    learnd.chmod(0o755)
    stamp = folder / "installed"
    stamp.touch()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LEARND_", "MAKE"))}
    ended = subprocess.run(
        ["make", "run", f"BIN={folder}", f"STAMP={stamp}", *words],
        cwd=ROOT,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return ended.stdout.splitlines()


def commands(lines: list[str]) -> list[str]:
    """Return the commands that are recommended, each up to its description."""
    return [line.split("learnd ", 1)[1].split("  ")[0].rstrip() for line in lines if "/learnd " in line]


def test_the_commands_name_no_folder_by_default(tmp_path: Path) -> None:
    assert commands(make_run(tmp_path)) == ["status", "curves", "config show"]


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        ("--data-dir /srv/learnd", "--data-dir /srv/learnd"),
        ("--for 5m --data-dir=/srv/learnd --listen :9500", "--data-dir=/srv/learnd"),
        ("--data-dir '/srv/two words'", "--data-dir '/srv/two words'"),
    ],
)
def test_the_commands_name_the_folder_that_the_service_is_given(options: str, folder: str, tmp_path: Path) -> None:
    shown = commands(make_run(tmp_path, f"ARGS={options}"))
    assert shown == [f"status {folder}", f"curves {folder}", f"config show {folder}"]


def test_the_commands_name_the_folder_of_the_environment(tmp_path: Path) -> None:
    assert commands(make_run(tmp_path, LEARND_DATA_DIR="/srv/learnd"))[0] == "status --data-dir /srv/learnd"
    shown = commands(make_run(tmp_path, "ARGS=--data-dir /srv/other", LEARND_DATA_DIR="/srv/learnd"))
    assert shown[0] == "status --data-dir /srv/other"


def test_the_service_is_given_the_options(tmp_path: Path) -> None:
    lines = make_run(tmp_path, "ARGS=--data-dir '/srv/two words' --listen :9500")
    given = [line.removeprefix("given: ") for line in lines if line.startswith("given: ")]
    assert given == ["run", "--data-dir", "/srv/two words", "--listen", ":9500"]


def test_the_address_is_said_to_be_the_default(tmp_path: Path) -> None:
    text = "\n".join(make_run(tmp_path, "ARGS=--listen :9500"))
    assert "by default http://127.0.0.1:9464/" in text


def paths_of_slow_targets() -> list[Path]:
    """Return the paths that the targets of slow tests give to pytest."""
    recipes = re.findall(r'-m pytest -m (?:slow|"slow or not slow")(.*)', (ROOT / "Makefile").read_text())
    return [ROOT / word for recipe in recipes for word in recipe.split() if word.startswith("tests/")]


def test_the_targets_of_slow_tests_name_paths_that_exist() -> None:
    assert [path for path in paths_of_slow_targets() if not path.exists()] == []


def test_every_slow_test_belongs_to_a_target() -> None:
    slow = [path for path in (ROOT / "tests").rglob("test_*.py") if re.search(r"mark\.slow\b", path.read_text())]
    folders = paths_of_slow_targets()
    assert len(slow) > 10
    assert [path for path in slow if path != Path(__file__) and not any(map(path.is_relative_to, folders))] == []
