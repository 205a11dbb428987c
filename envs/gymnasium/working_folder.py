"""The working folder of a worker. It depends on the family only, not on the process that starts the worker."""

from __future__ import annotations

import os
import tempfile

from envs.family import FamilySpec


class WorkingFolder:
    """The folder in which a family's worker runs, and from which relative paths start.

    It is the first of the family's import paths that is a folder. A family without such a path gets a private, empty
    folder, which is removed when the worker is closed.

    Args:
        spec: the family.
    """

    def __init__(self, spec: FamilySpec) -> None:
        self._private: tempfile.TemporaryDirectory[str] | None = None
        folders = (path for path in spec.import_paths if os.access(f"{path}/.", os.X_OK))
        self.path = next(folders, None) or self._make_private()

    def _make_private(self) -> str:
        try:
            self._private = tempfile.TemporaryDirectory(prefix="learnd-worker-", ignore_cleanup_errors=True)
        except OSError:
            # A full disk is not the environment's fault, and most environments do not need files.
            return os.sep
        return self._private.name

    def close(self) -> None:
        """Remove the folder if it is private; safe to call twice."""
        if self._private is not None:
            self._private.cleanup()
            self._private = None
