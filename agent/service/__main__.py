"""Install learnd as a service from its source, on a machine that has no learnd yet: ``python3 -m agent.service``.

It makes the environment of the service, and leaves the rest to ``learnd service install`` of that environment, with
all options that are not its own.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from agent.service.environment_steps import environment_steps
from agent.service.errors import ServiceError
from agent.service.installing import stop_steps
from agent.service.places import Places, Scope, default_scope, places_of, require_root
from agent.service.program import Program, at_hand, chosen_program
from agent.service.steps import run_steps
from agent.service.systemctl import Systemctl, not_running_error


def main(arguments: list[str]) -> None:
    """Make the environment, and replace this process by ``learnd service install``."""
    parser = argparse.ArgumentParser(prog="python3 -m agent.service", description=__doc__, add_help=True)
    parser.add_argument("--system", dest="scope", action="store_const", const=Scope.SYSTEM, help="for the machine")
    parser.add_argument("--user", dest="scope", action="store_const", const=Scope.USER, help="for this user")
    parser.add_argument("--venv", type=Path, help="the environment to make; default: /opt/learnd for the machine")
    parser.add_argument("--python", type=Path, help="the interpreter of that environment")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    options, others = parser.parse_known_args(arguments)
    places = places_of(options.scope or default_scope())
    try:
        program = chosen_program(places, at_hand(), environment=options.venv, interpreter=options.python)
        _make_environment(places, program, is_dry=options.dry_run, is_started="--no-start" not in others)
    except ServiceError as error:
        sys.exit(f"error: {error.operation} {error.subject}: {error.found}\n{error.hint}")
    words = [str(program.path), "service", "install", f"--{places.scope}", "--here", *others]
    if options.dry_run:
        _say(f"Then: {' '.join(words)}")
        return
    sys.stdout.flush()
    os.execv(words[0], words)  # noqa: S606 -- a program that was just installed, without a shell


def _make_environment(places: Places, program: Program, *, is_dry: bool, is_started: bool) -> None:
    """Make or upgrade the environment, with the service stopped.

    Raises:
        ServiceError: it cannot be made, this user may not, or systemd does not run and the service is to be started.
    """
    if not is_dry:
        require_root(places, operation="installing the service")
    systemctl = Systemctl(places)
    if is_started and not systemctl.is_running:
        raise not_running_error(places)
    steps = [*stop_steps(systemctl), *environment_steps(program)]
    run_steps(
        steps,
        is_dry=is_dry,
        begin=lambda step: _say(f"... {step.action}: {step.subject}"),
        tell=lambda report: _say(f"{report.outcome.value:<9}  {report}"),
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
