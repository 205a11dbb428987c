"""Reads the database of the service."""

from __future__ import annotations

import os
from pathlib import Path

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        Path(os.environ["HOSTILE_STORE"], "learnd.db").read_bytes()
