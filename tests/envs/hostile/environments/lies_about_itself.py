"""Has attributes that raise whatever is asked of them."""

from __future__ import annotations

from typing import Any

from calm import Calm


class Hostile(Calm):
    def __repr__(self) -> str:
        raise RuntimeError("no comment")

    @property
    def unwrapped(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")
