"""Raises what Ctrl-C raises."""

from __future__ import annotations

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        raise KeyboardInterrupt
