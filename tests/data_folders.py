"""Copies of data folders, so that tests may change what was made once for all of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from memory.folder import DataFolder

NOT_COPIED = shutil.ignore_patterns("*.lock", DataFolder(Path()).ballast_path.name)
"""The ballast has no content: its space is allocated, where a copy would write 8 MiB."""


def copied(folder: Path, to: Path) -> DataFolder:
    """Copy a data folder that nothing has open, without its lock files; return the copy."""
    copy = DataFolder(Path(shutil.copytree(folder, to, ignore=NOT_COPIED)))
    if DataFolder(folder).ballast_path.exists():
        copy.restore_ballast()
    return copy
