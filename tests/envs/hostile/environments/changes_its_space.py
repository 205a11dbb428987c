"""Has other actions after a reset."""

from __future__ import annotations

from typing import Any

from calm import Calm
from gymnasium import spaces


class Hostile(Calm):
    def reset(self, **named: Any) -> Any:
        self.action_space = spaces.Discrete(3)
        return super().reset(**named)
