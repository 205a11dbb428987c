"""The command line and the environment of the processes that the daemon starts."""

from __future__ import annotations

import json
import os
import sys

from agent.config.settings import Settings
from agent.logs import resolved_format
from agent.running_version import running_version


def trainer_command_of(settings: Settings) -> list[str]:
    """Return the trainer's command line."""
    return process_command_of("agent.trainer", settings)


def process_command_of(package: str, settings: Settings) -> list[str]:
    """Return the command line of a package that the daemon runs as a process of its own.

    - ``-P`` prevents importing a package called ``agent`` from the working folder.
    - The command line carries the settings that the daemon read at its start, so later changes of the settings file
      have no effect until the daemon restarts.
    - It also carries the version: a process of another version, installed since the start of the daemon, refuses to
      run.
    """
    program = [sys.executable, "-P", "-m", package, "--control-version", running_version()]
    return [*program, "--settings", json.dumps(settings.model_dump(mode="json"))]


def trainer_environment(settings: Settings) -> dict[str, str]:
    """Return the trainer's environment: the daemon's own without the variables of the service manager."""
    private = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
    environment = {name: value for name, value in os.environ.items() if name not in private}
    return environment | {
        "LEARND_SERVICE__LOG_FORMAT": resolved_format(settings.service.log_format),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }
