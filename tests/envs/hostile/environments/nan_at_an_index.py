"""Observes NaN in its second number."""

from __future__ import annotations

from typing import Any

import numpy as np
from calm import Calm


class Hostile(Calm):
    def observe(self) -> Any:
        return np.array([self.place, np.nan if self.num_steps > 2 else 0.0], np.float32)
