"""Ends its process at once."""

from __future__ import annotations

import os

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        os._exit(3)
