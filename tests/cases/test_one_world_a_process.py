"""An environment whose copies share one world is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.conftest import Learnd

pytestmark = pytest.mark.slow


def test_copies_that_share_a_world_are_refused(learnd: Learnd, inputs: Callable[[str], Path], tmp_path: Path) -> None:
    learnd.environment["SEEN"] = str(tmp_path / "seen")
    added = learnd("env", "add", "pusher:Pusher", "--path", str(inputs("one-world-a-process")))
    said = " ".join(added.stdout.split())
    assert added.returncode == 1, said
    assert "in one process share a world" in said
    assert "keep the state of an environment in its instance" in said
