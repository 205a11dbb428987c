"""Returns observations of a gigabyte where two numbers are declared."""

from __future__ import annotations

from typing import Any

import numpy as np
from calm import Calm


class Hostile(Calm):
    def observe(self) -> Any:
        return np.zeros(1 << 28 if self.num_steps > 2 else 2, np.float32)
