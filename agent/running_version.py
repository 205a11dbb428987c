"""The version of learnd that this process runs. It is read once, because an upgrade may replace the files on disk."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def running_version() -> str:
    """Return the version that was installed at the first call; each process calls this at its start."""
    try:
        return version("learnd")
    except PackageNotFoundError:
        return "unknown"
