"""Hangs when it is closed."""

from __future__ import annotations

import time

from calm import Calm


class Hostile(Calm):
    def close(self) -> None:
        time.sleep(1000)
