"""Ownership of the files of a data folder. All files belong to the folder's owner, even if root ran the command."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def paths_in(folder: Path) -> Iterator[Path]:
    """Yield all files and folders in a folder, at any depth; links are not followed."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(place) / name


def foreign_paths(folder: Path) -> list[Path]:
    """Return all files and folders in a folder that do not belong to the folder's owner."""
    owner = folder.stat().st_uid
    found = []
    for path in paths_in(folder):
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_uid != owner:
                found.append(path)
    return found


def give_to_owner(folder: Path) -> int:
    """Give root's files and folders in a folder to the folder's owner; return how many were given.

    Nothing is done if the process does not run as root, or if root owns the folder.
    """
    if os.geteuid() != 0 or not folder.is_dir():
        return 0
    owner = folder.stat()
    if owner.st_uid == 0:
        return 0
    given = 0
    for path in paths_in(folder):
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_uid == 0:
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
                given += 1
    return given
