"""Takes more and more memory."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from calm import Calm


class Hostile(Calm):
    kept: ClassVar[list[Any]] = []

    def step(self, action: Any) -> Any:
        self.kept.append(np.ones(16 << 17))
        return super().step(action)
