"""The program ``systemctl``, for the manager of one scope."""

from __future__ import annotations

import os
import shutil
import subprocess

from agent.service.errors import ServiceError
from agent.service.places import UNIT, Places, Scope

_TIMEOUT_S = 180.0
"""Longer than a start (``TimeoutStartSec``) and a stop (``TimeoutStopSec``) of the unit."""

_QUERY_TIMEOUT_S = 10.0


class Systemctl:
    """A caller of ``systemctl`` for the service.

    Args:
        places: where the service is installed; its scope decides which manager is called.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._program = shutil.which("systemctl")

    @property
    def is_installed(self) -> bool:
        """Return whether the program is there."""
        return self._program is not None

    @property
    def is_running(self) -> bool:
        """Return whether the manager runs, so that units can be started."""
        return self.is_installed and self._places.runtime.exists()

    def written(self, *arguments: str) -> str:
        """Return a call as a user would write it."""
        option = ["--user"] if self._places.scope is Scope.USER else []
        return " ".join(["systemctl", *option, *arguments])

    def call(self, *arguments: str, hint: str = "") -> None:
        """Call ``systemctl`` and wait for its end.

        Raises:
            ServiceError: it fails or does not end.
        """
        try:
            ended = self._run(arguments, timeout_s=_TIMEOUT_S)
        except (OSError, subprocess.SubprocessError) as error:
            raise self._failed(arguments, str(error), hint) from error
        if ended.returncode != 0:
            told = (ended.stderr or ended.stdout).strip() or f"exit status {ended.returncode}"
            raise self._failed(arguments, told, hint)

    def properties(self, *names: str) -> dict[str, str]:
        """Return properties of the unit; nothing if the manager does not run or does not answer."""
        if not self.is_running:
            return {}
        asked = ("show", UNIT, f"--property={','.join(names)}", "--timestamp=unix")
        try:
            ended = self._run(asked, timeout_s=_QUERY_TIMEOUT_S)
        except (OSError, subprocess.SubprocessError):
            return {}
        if ended.returncode != 0:
            return {}
        return {name: value for name, _, value in (line.partition("=") for line in ended.stdout.splitlines())}

    def enablement(self) -> str:
        """Return whether the unit starts with the machine or the session: ``enabled``, ``disabled``; empty if unknown.

        It is read from links, so it is known without a running manager too.
        """
        try:
            ended = self._run(("is-enabled", UNIT), timeout_s=_QUERY_TIMEOUT_S)
        except (OSError, subprocess.SubprocessError):
            return ""
        return ended.stdout.strip().splitlines()[-1] if ended.stdout.strip() else ""

    def _run(self, arguments: tuple[str, ...], *, timeout_s: float) -> subprocess.CompletedProcess[str]:
        if self._program is None:
            raise FileNotFoundError("systemctl is not installed")
        option = ["--user"] if self._places.scope is Scope.USER else []
        return subprocess.run(
            [self._program, *option, "--no-pager", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )

    def _failed(self, arguments: tuple[str, ...], told: str, hint: str) -> ServiceError:
        return ServiceError(operation="calling", subject=self.written(*arguments), found=told, hint=hint)


def not_running_error(places: Places) -> ServiceError:
    """Return the error of a service that cannot be started because its manager does not run."""
    without = (
        "With --no-start the files are written, and the service is enabled if systemctl is there. Without systemd,"
        " start it with: learnd run"
    )
    if places.scope is Scope.SYSTEM:
        found = f"systemd does not run on this machine ({places.runtime} is missing)."
        return ServiceError(operation="installing the service", subject=UNIT, found=found, hint=without)
    found = f"no systemd runs for this user ({places.runtime} is missing)."
    hint = f"Log in as the user, not by su or sudo; or: loginctl enable-linger USER. {without}"
    return ServiceError(operation="installing the service", subject=UNIT, found=found, hint=hint)
