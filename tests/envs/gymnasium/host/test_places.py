"""Texts that say where in a user's code an error was raised."""

from __future__ import annotations

import sys

import pytest

from envs.gymnasium.host import places
from envs.gymnasium.host.places import raised_text


class Endless:
    def reset(self) -> None:
        self.reset()


def test_the_place_of_an_endless_recursion_is_found_without_a_look_at_each_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def is_shown(file: str) -> bool:
        asked.append(file)
        return file == __file__

    monkeypatch.setattr(places, "_is_shown", is_shown)
    with pytest.raises(RecursionError) as caught:
        Endless().reset()
    line = Endless.reset.__code__.co_firstlineno + 1
    assert f"reset raised RecursionError: {caught.value} (" in raised_text(caught.value)
    assert raised_text(caught.value).endswith(f"test_places.py, line {line})")
    assert len(asked) < sys.getrecursionlimit() // 10
