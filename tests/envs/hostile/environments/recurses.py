"""Calls itself without end."""

from __future__ import annotations

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        self.misbehave()
