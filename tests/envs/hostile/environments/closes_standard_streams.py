"""Closes stdin, stdout and stderr."""

from __future__ import annotations

import os

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        os.closerange(0, 3)
