"""A family whose tasks have other action spaces than the first one is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.conftest import Learnd

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "family",
    [
        ("Motor", "kwarg.limit=0.5:5", "bound of action"),
        ("Shop", "kwarg.first=int:0:50", "start of action"),
        ("Levers", "kwarg.positions=int:2:6", "nvec of action"),
    ],
    ids=lambda family: family[0],
)
def test_other_action_spaces_are_refused(
    family: tuple[str, str, str], learnd: Learnd, inputs: Callable[[str], Path], tmp_path: Path
) -> None:
    name, variation, differing = family
    learnd.environment["SEEN"] = str(tmp_path / "seen")
    added = learnd("env", "add", f"tasks:{name}", "--path", str(inputs("spaces-of-each-task")), "--vary", variation)
    said = " ".join(added.stdout.split())
    assert added.returncode == 1, said
    assert differing in said
    assert "All tasks of a family share their spaces" in said
    assert not learnd.data_dir.exists()
