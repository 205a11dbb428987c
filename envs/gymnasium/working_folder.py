"""The folders of a worker. The working folder depends on the family only, not on the process that starts the worker."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from envs.family import FamilySpec


class WorkingFolder:
    """The folder in which a family's worker runs, and the worker's own folder, which is removed when it is closed.

    The worker runs in the first of the family's import paths that is a folder, from which relative paths start. A
    family without such a path runs in an empty folder of its own.

    Args:
        spec: the family.

    Attributes:
        path: the folder in which the worker runs.
        base: the worker's own folder; "" if none can be made.
        temporary: the folder for its temporary files, in ``base``; "" if none can be made.
    """

    def __init__(self, spec: FamilySpec) -> None:
        self.base = _made()
        self.temporary = self._folder("tmp")
        folders = (path for path in spec.import_paths if os.access(f"{path}/.", os.X_OK))
        self.path = next(folders, None) or self._folder("work") or os.sep

    def _folder(self, name: str) -> str:
        """Make a folder in the worker's own folder; return "" if it cannot be made."""
        if not self.base:
            return ""
        folder = Path(self.base, name)
        try:
            folder.mkdir(mode=0o700)
        except OSError:
            return ""
        return str(folder)

    def close(self) -> None:
        """Remove the worker's own folder; safe to call twice.

        The supervisor removes it too, for the case that this process is killed.
        """
        if self.base:
            remove_folder(self.base)


def remove_folder(folder: str) -> None:
    """Remove a folder with all below it, also what its owner may not read; what cannot be removed stays."""
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.isdir(folder):  # noqa: PTH112
        for path, _, _ in os.walk(folder):
            with contextlib.suppress(OSError):
                Path(path).chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)


def _made() -> str:
    try:
        return os.path.realpath(tempfile.mkdtemp(prefix="learnd-worker-"))
    except OSError:
        # A full disk is not the environment's fault, and most environments do not need files.
        return ""
