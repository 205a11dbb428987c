"""Hangs in a step."""

from __future__ import annotations

import time

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        time.sleep(1000)
