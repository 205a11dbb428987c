"""Writes a file into the user's home."""

from __future__ import annotations

import os
from pathlib import Path

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        Path(os.environ["HOSTILE_HOME"], "hostile").write_text("x")
