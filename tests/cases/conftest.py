"""Cases: small inputs that once gave a wrong outcome, run against the installed command as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

INPUTS = Path(os.environ.get("CASES") or Path(__file__).with_name("inputs")).absolute()
"""The folder that holds one folder of input files per case; ``make cases CASES=FOLDER`` names another."""

OF_THE_MACHINE = ("LEARND_", "STATE_DIRECTORY", "CONFIGURATION_DIRECTORY")
"""Beginnings of variables that would lead a command to settings or data of this machine."""


@dataclass(kw_only=True)
class Learnd:
    """The command ``learnd`` on a data folder of its own, with the case's environment variables.

    Attributes:
        data_dir: the data folder.
        environment: variables added to the process's own.
        working_folder: where commands run.
    """

    data_dir: Path
    environment: dict[str, str] = field(default_factory=dict)
    working_folder: Path = field(default_factory=Path.cwd)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "agent.cli", *arguments]

    def variables(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(OF_THE_MACHINE)},
            "XDG_CONFIG_HOME": str(self.data_dir.with_name("config")),
            "LEARND_DATA_DIR": str(self.data_dir),
            "LEARND_STREAM__EMBEDDED_DEFAULT": "false",
            "LEARND_SERVICE__LISTEN": "127.0.0.1:0",
            "LEARND_SERVICE__LOG_FORMAT": "console",
            **self.environment,
        }

    def __call__(self, *arguments: str, timeout_s: float = 180.0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; stdout and stderr are merged."""
        return subprocess.run(
            self.command(*arguments),
            env=self.variables(),
            cwd=self.working_folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
        )


@pytest.fixture
def learnd(tmp_path: Path) -> Learnd:
    """The command on a data folder that does not exist yet."""
    return Learnd(data_dir=tmp_path / "data")


@pytest.fixture
def inputs() -> Callable[[str], Path]:
    """Return the folder of a case's input files by the case's name."""

    def folder(case: str) -> Path:
        path = INPUTS / case
        assert path.is_dir(), f"{path} is missing"
        return path

    return folder
