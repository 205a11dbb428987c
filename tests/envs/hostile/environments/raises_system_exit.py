"""Calls sys.exit."""

from __future__ import annotations

import sys

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        sys.exit("no more")
