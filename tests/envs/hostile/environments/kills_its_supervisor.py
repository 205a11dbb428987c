"""Kills the process that supervises its worker."""

from __future__ import annotations

import os
import signal

from calm import Calm


class Hostile(Calm):
    def misbehave(self) -> None:
        os.kill(os.getppid(), signal.SIGKILL)
