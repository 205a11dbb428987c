"""What the isolation of workers enforces on this machine, tried with a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from envs.family import FamilySource, FamilySpec
from envs.gymnasium.isolation.process_group import remove_group
from envs.gymnasium.isolation_plan import isolation_plan
from envs.gymnasium.working_folder import WorkingFolder
from envs.limits import WorkerLimits

PROGRAM = Path(__file__).with_name("isolation") / "__main__.py"

TIMEOUT_S = 30.0


def isolation_report(limits: WorkerLimits) -> dict[str, Any]:
    """Confine a process as a worker of a family without network, and return what the kernel enforces.

    Args:
        limits: the limits of a worker.

    Returns:
        The answer of :func:`envs.gymnasium.isolation.confinement.confine`.

    Raises:
        OSError: the process failed; the error has its last words.
    """
    spec = FamilySpec(name="doctor", source=FamilySource.GYMNASIUM, entry="CartPole-v1")
    with closing(WorkingFolder(spec)) as folder:
        arguments = [sys.executable, str(PROGRAM), json.dumps(isolation_plan(spec, limits, folder))]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                told, complained = process.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise OSError(f"it did not answer within {TIMEOUT_S:g} s") from error
        remove_group(process.pid)
    try:
        values: dict[str, Any] = json.loads(told)
    except ValueError as error:
        raise OSError(complained.strip().rpartition("\n")[2] or f"status {process.returncode}") from error
    return values
