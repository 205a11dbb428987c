"""Forks, and the child goes on as if it were the worker."""

from __future__ import annotations

import os

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        os.fork()
