"""Paths of users: the home folder of nobody, links to themselves, and names that are too long."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs.user_paths import exists, expanded, resolved


def test_the_home_folder_of_nobody_is_missing() -> None:
    with pytest.raises(FileNotFoundError, match="there is no home folder for ~nobody-of-that-name"):
        expanded(Path("~nobody-of-that-name/mazes"))


def test_the_home_folder_takes_the_place_of_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded(Path("~/mazes")) == Path("/home/me/mazes")
    assert expanded(Path("mazes/~")) == Path("mazes/~")


def test_a_link_to_itself_stays(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert resolved(tmp_path / "loop") == tmp_path / "loop"


def test_nothing_is_at_a_path_that_is_too_long(tmp_path: Path) -> None:
    assert not exists(tmp_path / ("a" * 5000))
    assert exists(tmp_path)
