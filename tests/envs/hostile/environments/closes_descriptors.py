"""Closes every descriptor that it did not open, the worker's pipes among them."""

from __future__ import annotations

import os

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        os.closerange(3, 1024)
