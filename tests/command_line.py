"""Commands of the CLI, run in the test's process.

A process for a command takes half a second to start, and two seconds if it loads torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import typer.main
import typer.testing
from typer.testing import CliRunner, Result

from agent.cli.main import app

# The commands are made from annotations, which takes longer than most of them run. A process makes them once.
typer.main.get_command = typer.testing._get_command = cache(typer.main.get_command)


def run_command(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Result:
    """Run a command on a data folder; raise what it does not handle.

    Args:
        folder: the data folder.
        arguments: the command and its options.
        environment: variables of the environment, for the time of the command.
    """
    result = CliRunner(env=environment).invoke(app, ["--data-dir", str(folder), *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
