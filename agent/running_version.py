"""The version of learnd that this process runs, read once: the files on disk may be replaced under it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def running_version() -> str:
    """Return the installed version at the first call, which each process makes at its start."""
    try:
        return version("learnd")
    except PackageNotFoundError:
        return "unknown"
