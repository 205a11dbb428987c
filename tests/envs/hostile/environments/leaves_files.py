"""Leaves temporary files and folders."""

from __future__ import annotations

import tempfile

from calm import Calm


class Hostile(Calm):
    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="hostile-")
