"""Paths as users write them, with ``~`` and ``~USER``, and through any links."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def expanded(path: Path) -> Path:
    """Return a path with the home folder in the place of ``~`` or ``~USER``.

    Raises:
        FileNotFoundError: the user has no home folder, or does not exist.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        found = f"there is no home folder for {path.parts[0]}"
        raise FileNotFoundError(errno.ENOENT, found, str(path)) from error


def resolved(path: Path) -> Path:
    """Return an absolute path without links. A link to itself stays, so that what opens the path reports it."""
    return Path(os.path.realpath(path))


def exists(path: Path) -> bool:
    """Return whether there is something at a path; nothing can be at a path that is too long."""
    return os.path.exists(path)  # noqa: PTH110  (Path.exists raises OSError for such a path)
