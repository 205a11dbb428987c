"""The start of a worker's host program below its supervisor, with the variables that a user's environment may see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from envs.family import FamilySpec

HOST_PROGRAM = Path(__file__).with_name("host") / "__main__.py"
SUPERVISOR_PROGRAM = Path(__file__).with_name("supervisor.py")

PRIVATE_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""Variables that systemd sets for the service and that a user's environment must not see."""

MARK_VARIABLE = "_LEARND_WORKER"
"""Variable that marks a worker and its descendants, so that they are found if the supervisor itself is killed."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


CACHE_VARIABLES = ("MPLCONFIGDIR", "NUMBA_CACHE_DIR")
"""Variables of libraries that fail, or warn at each start, if they cannot write their cache into the user's home."""


def start_host(
    spec: FamilySpec,
    mark: str,
    *,
    plan: dict[str, Any],
    control_fd: int,
    fds: tuple[int, int, int],
    stderr_fd: int,
) -> subprocess.Popen[bytes]:
    """Start a supervisor, which starts the host program, in a session of its own.

    Args:
        spec: the family whose interpreter runs both.
        mark: the value of ``MARK_VARIABLE`` of the worker and all its descendants.
        plan: the plan by which the worker confines itself; see :mod:`envs.gymnasium.isolation_plan`.
        control_fd: the supervisor's end of the control socket.
        fds: the worker's ends of the request pipe and the answer pipe, and the shared memory.
        stderr_fd: the end of the pipe that takes stderr.

    Raises:
        OSError: the interpreter cannot be started.
    """
    arguments = [str(SUPERVISOR_PROGRAM), json.dumps(plan), str(HOST_PROGRAM), str(control_fd), *map(str, fds)]
    return subprocess.Popen(
        [interpreter(spec), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr_fd,
        pass_fds=(control_fd, *fds),
        start_new_session=True,
        env=_variables(spec, mark, plan["temporary"]),
    )


def interpreter(spec: FamilySpec) -> str:
    """Return the Python interpreter of a family's worker."""
    return spec.python or sys.executable


def _variables(spec: FamilySpec, mark: str, temporary: str) -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if name not in PRIVATE_VARIABLES}
    if spec.python is not None:
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            variables.pop(name, None)
    variables |= ONE_THREAD
    variables.setdefault("SDL_VIDEODRIVER", "dummy")
    for name in CACHE_VARIABLES if temporary else ():
        variables.setdefault(name, temporary)
    variables["PYTHONHASHSEED"] = "0"
    variables[MARK_VARIABLE] = mark
    return variables
