"""MiniGrid is refused with the part that is not supported, and fed as the documentation shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.conftest import Learnd

pytest.importorskip("minigrid")
pytestmark = pytest.mark.slow


def test_the_text_of_the_mission_is_named_and_how_to_leave_it_out(learnd: Learnd) -> None:
    added = learnd("env", "add", "minigrid:MiniGrid-Empty-5x5-v0")
    said = " ".join(added.stdout.split())
    assert added.returncode == 1, said
    assert "part 'mission' of the observation space" in said
    assert "--wrap minigrid.wrappers:ImgObsWrapper" in said


def test_a_function_that_wraps_the_environment_is_admitted(learnd: Learnd, inputs: Callable[[str], Path]) -> None:
    added = learnd("env", "add", "grid:empty", "--path", str(inputs("example-of-the-docs")))
    assert added.returncode == 0, added.stdout
    assert "empty is active" in added.stdout
