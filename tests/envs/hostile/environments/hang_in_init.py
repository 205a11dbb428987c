"""Hangs when it is made."""

from __future__ import annotations

import time

from calm import Calm


class Hostile(Calm):
    def __init__(self) -> None:
        time.sleep(1000)
