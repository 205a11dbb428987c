"""A run's state in one safetensors file, which is replaced atomically and includes a checksum of its content.

The checksum covers names, types, shapes and values, so a flipped bit anywhere is found before anything is restored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from agent.errors import AgentError
from agent.learners.state import as_arrays, as_tensors
from agent.output.files import check_output_file, write_output_file
from memory.files.parameters import content_checksum, decode, encode

DESCRIPTION_KEY = "learning_run"
CHECKSUM_KEY = "learning_run_sha256"
FORMAT = 1


class StateFileError(AgentError):
    """A state file from which the run cannot continue, or that another run has written."""


def mark_of(path: Path) -> tuple[int, int] | None:
    """Return (inode, mtime_ns) of a state file, to detect that another run has replaced it; None without a file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def write_state(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write a state. The file is replaced completely or not at all.

    Args:
        path: the file.
        tensors: the trainee's tensors.
        description: JSON values.
    """
    arrays = as_arrays(tensors)
    text = json.dumps({"format": FORMAT, **description}, sort_keys=True)
    header = {DESCRIPTION_KEY: text, CHECKSUM_KEY: content_checksum(arrays, description=text)}
    write_output_file(path, encode(arrays, metadata=header))


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the description that :func:`write_state` wrote.

    Raises:
        StateFileError: the file is not a run's state, or it is damaged.
        OutputFileError: the path is a link or a pipe, so the state could not be written there again.
        OSError: the file cannot be read.
    """
    check_output_file(path, operation="continuing from state")
    content = path.read_bytes()
    try:
        arrays, header = decode(content)
    except ValueError as error:
        raise _refusal(path, f"it is not a safetensors file: {error}.", "Name another file, or remove it.") from error
    if DESCRIPTION_KEY not in header:
        raise _refusal(path, "it is not the state of a run.", "Name a file that `learnd learn --state FILE` wrote.")
    if header.get(CHECKSUM_KEY) != content_checksum(arrays, description=header[DESCRIPTION_KEY]):
        raise _refusal(path, "its content does not match its checksum.", "Remove it to begin the run again.")
    description = json.loads(header[DESCRIPTION_KEY])
    if description["format"] != FORMAT:
        raise _refusal(
            path, f"its format is {description['format']}.", f"This version of learnd reads format {FORMAT}."
        )
    return as_tensors(arrays), description


def _refusal(path: Path, found: str, hint: str) -> StateFileError:
    return StateFileError(operation="continuing from state", subject=str(path), found=found, hint=hint)
