"""Who owns the files of a data folder: all of them belong to the folder's owner, whoever ran the command."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def paths_in(folder: Path) -> Iterator[Path]:
    """Return everything in a folder, at any depth; links are not followed."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(place) / name


def foreign_paths(folder: Path) -> list[Path]:
    """Return everything in a folder that does not belong to the folder's owner."""
    owner = folder.stat().st_uid
    found = []
    for path in paths_in(folder):
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_uid != owner:
                found.append(path)
    return found


def give_to_owner(folder: Path) -> int:
    """Give what root made in a folder to the folder's owner; return how many files and folders that were.

    It does nothing for other users than root, and in a folder that is root's own.
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
