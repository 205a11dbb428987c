"""Raises an error whose text cannot be had."""

from __future__ import annotations

from calm import Calm


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no comment")


class Hostile(Calm):
    def misbehave(self) -> None:
        raise MuteError
