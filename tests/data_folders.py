"""Copies of data folders, so that tests may change what was made once for all of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from memory.folder import DataFolder


def copied(folder: Path, to: Path) -> DataFolder:
    """Copy a data folder that nothing has open, without its lock files; return the copy."""
    return DataFolder(Path(shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.lock"))))
