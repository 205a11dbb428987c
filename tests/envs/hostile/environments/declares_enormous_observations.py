"""Declares observations of four gigabytes."""

from __future__ import annotations

import numpy as np
from calm import Calm
from gymnasium import spaces


class Hostile(Calm):
    def __init__(self) -> None:
        # A space of zeros of one number, so that only what is declared is enormous.
        self.observation_space = spaces.MultiBinary(1 << 32)
        self.kept = np.zeros(1)
