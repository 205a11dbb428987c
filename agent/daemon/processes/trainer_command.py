"""The command line and the environment of the processes that the daemon starts."""

from __future__ import annotations

import os
import sys

from agent.config.settings import Settings
from agent.process_settings import settings_variable
from agent.running_version import running_version


def trainer_command() -> list[str]:
    """Return the trainer's command line."""
    return process_command_of("agent.trainer")


def process_command_of(package: str) -> list[str]:
    """Return the command line of a package that the daemon runs as a process of its own.

    - ``-P`` prevents importing a package called ``agent`` from the working folder.
    - The command line carries the version: a process of another version, installed since the start of the daemon,
      refuses to run.
    """
    return [sys.executable, "-P", "-m", package, "--control-version", running_version()]


def trainer_environment(settings: Settings) -> dict[str, str]:
    """Return the trainer's environment: the daemon's own without the variables of the service manager, and settings.

    They are the settings in force, so the settings file has no effect until the daemon reads it again.
    """
    private = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
    environment = {name: value for name, value in os.environ.items() if name not in private}
    return environment | settings_variable(settings) | {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
