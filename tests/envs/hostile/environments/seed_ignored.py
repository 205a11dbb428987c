"""Draws from a generator without a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from calm import Calm


class Hostile(Calm):
    def reset(self, **named: Any) -> Any:
        super().reset(**named)
        self.place = float(np.random.default_rng().uniform(-1, 1))
        return self.observe(), {}
