"""Fixtures that call the command line in the test's process, on real data folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agent.cli.main import app
from agent.config import paths
from memory.folder import DataFolder
from tests.agent.cli.filled_store import fill
from tests.command_line import run_command
from tests.data_folders import copied
from tests.envs.families import FEW_STEPS


class Learnd:
    """A caller of the command line on one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, code: int = 0) -> Result:
        """Run a command and check its exit status."""
        result = run_command(self.folder, *arguments)
        assert result.exit_code == code, f"{result.exit_code}: {result.stdout}{result.stderr}"
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run a command with --json, and return its answer. stdout must contain nothing else."""
        result = self(*arguments, "--json", code=code)
        return json.loads(result.stdout)


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("STATE_DIRECTORY", "CONFIGURATION_DIRECTORY", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(paths, "SYSTEM_ROOT", tmp_path / "machine")


@pytest.fixture(autouse=True)
def _few_random_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the check of a family play 64 trials at random instead of as many as it can in seconds."""
    monkeypatch.setattr("envs.random_play.MAX_TRIALS", 64)
    monkeypatch.setattr("envs.gymnasium.task_checks.MAX_TASKS", 16)
    monkeypatch.setattr("envs.gymnasium.task_checks.MAX_STEPS", FEW_STEPS)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a filled data folder, which is written once. Tests work on copies."""
    return fill(tmp_path_factory.mktemp("template") / "learnd", rounds=10).path


@pytest.fixture
def filled(template: Path, tmp_path: Path) -> DataFolder:
    """Return a data folder with six families that were practised and published."""
    return copied(template, tmp_path / "learnd")


@pytest.fixture
def learnd(filled: DataFolder) -> Learnd:
    """Return the command line on the filled data folder."""
    return Learnd(filled.path)


@pytest.fixture
def empty(tmp_path: Path) -> Learnd:
    """Return the command line on a data folder that does not exist."""
    return Learnd(tmp_path / "nothing")


@pytest.fixture
def call() -> Callable[..., Result]:
    """Return a function that calls the command line without naming a data folder."""

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    return run
