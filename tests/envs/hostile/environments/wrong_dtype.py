"""Observes float64 in a space of float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from calm import Calm


class Hostile(Calm):
    def observe(self) -> Any:
        return super().observe().astype(np.float64)
