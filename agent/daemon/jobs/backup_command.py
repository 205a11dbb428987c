"""The command that a user has run after each backup, such as a copy to another host."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.errors import AgentError
from agent.output.error_text import short_error

PATH_VARIABLE = "BACKUP_PATH"
TIMEOUT_S = 6 * 3600.0
_POLL_S = 0.2
_MAX_OUTPUT = 4000


class BackupCommandError(AgentError):
    """An error: the command after a backup failed. The backup itself was made."""


def run_backup_command(
    command: str, backup: Path, *, progress: Callable[[], None], timeout_s: float = TIMEOUT_S
) -> dict[str, Any]:
    """Run a command in a shell, with the backup's folder in the variable ``BACKUP_PATH``; return its result.

    Args:
        command: the command line for ``sh``.
        backup: folder of the backup.
        progress: called repeatedly; an exception from it ends the command.
        timeout_s: time after which the command is killed.

    Raises:
        BackupCommandError: the command failed or took too long.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {PATH_VARIABLE: str(backup)},
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                progress()
                if time.monotonic() - began > timeout_s:
                    raise _failed(command, f"it was killed after {timeout_s:g} s")
                time.sleep(_POLL_S)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(max(0, output.seek(0, os.SEEK_END) - _MAX_OUTPUT))
        text = output.read().decode(errors="replace").strip()
    if process.returncode != 0:
        raise _failed(command, f"it ended with status {process.returncode}: {short_error(text) or 'it wrote nothing'}")
    return {"command": command, "status": 0, "seconds": round(time.monotonic() - began, 3), "output": text[-500:]}


def _failed(command: str, found: str) -> BackupCommandError:
    return BackupCommandError(
        operation="running the command after the backup",
        subject=command,
        found=f"{found}. The backup itself was made.",
        hint="See memory.backup_command.",
    )
