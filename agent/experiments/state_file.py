"""A run's state in one safetensors file, written so that the name stands for all of it, with a checksum of its content.

The checksum is over names, types, shapes and values, so a flipped bit anywhere is found before anything is restored.
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
    """A state file that cannot be gone on from, or that another run has written."""


def mark_of(path: Path) -> tuple[int, int] | None:
    """What tells a state that was written from any other in its place; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def write_state(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write a state; the file is replaced whole or not at all.

    Args:
        path: the file.
        tensors: of the trainee.
        description: JSON values.
    """
    arrays = as_arrays(tensors)
    text = json.dumps({"format": FORMAT, **description}, sort_keys=True)
    header = {DESCRIPTION_KEY: text, CHECKSUM_KEY: content_checksum(arrays, description=text)}
    write_output_file(path, encode(arrays, metadata=header))


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the description that :func:`write_state` wrote.

    Raises:
        StateFileError: it is no such file, or it is damaged.
        OutputFileError: the name stands for a link or a pipe: the state could not be written there again.
        OSError: it cannot be read.
    """
    check_output_file(path, operation="going on from state")
    content = path.read_bytes()
    try:
        arrays, header = decode(content)
    except ValueError as error:
        raise _refusal(path, f"it is not a safetensors file: {error}.", "Name another file, or remove it.") from error
    if DESCRIPTION_KEY not in header:
        raise _refusal(path, "it is not the state of a run.", "`learnd learn --state FILE` writes one: name another.")
    if header.get(CHECKSUM_KEY) != content_checksum(arrays, description=header[DESCRIPTION_KEY]):
        raise _refusal(path, "its content does not match its checksum.", "Remove it, and the run begins anew.")
    description = json.loads(header[DESCRIPTION_KEY])
    if description["format"] != FORMAT:
        raise _refusal(path, f"its format is {description['format']}.", f"This learnd goes on from format {FORMAT}.")
    return as_tensors(arrays), description


def _refusal(path: Path, found: str, hint: str) -> StateFileError:
    return StateFileError(operation="going on from state", subject=str(path), found=found, hint=hint)
