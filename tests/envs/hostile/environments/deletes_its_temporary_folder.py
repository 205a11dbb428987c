"""Deletes the folder for its temporary files, and goes on to use it."""

from __future__ import annotations

import shutil
import tempfile

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        shutil.rmtree(tempfile.gettempdir())
        tempfile.mkdtemp()
