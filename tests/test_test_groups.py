"""Tests of one group run in one process, so that a live service is started once, and groups do not all run at once."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from tests.groups import spread_out

TESTS = """
import os
from pathlib import Path
import pytest

@pytest.mark.xdist_group("together")
@pytest.mark.parametrize("number", range(6))
def test_one(number):
    Path(f"{number}.pid").write_text(str(os.getpid()))

@pytest.mark.parametrize("number", range(6))
def test_other(number):
    pass
"""


def test_a_group_of_tests_runs_in_one_process(tmp_path: Path) -> None:
    (tmp_path / "test_group.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-q", "-n", "2", "--dist", "loadgroup"]
    without_others = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run(command, cwd=tmp_path, env=without_others, check=True, capture_output=True)
    pids = {path.read_text() for path in tmp_path.glob("*.pid")}
    assert len(list(tmp_path.glob("*.pid"))) == 6
    assert len(pids) == 1


@dataclass(frozen=True)
class NamedTest:
    """A collected test."""

    name: str
    group: str | None = None

    def get_closest_marker(self, _name: str) -> Any:
        return None if self.group is None else pytest.mark.xdist_group(self.group).mark


def test_groups_are_spread_out_the_largest_first() -> None:
    tests = [NamedTest("a", "small"), *map(NamedTest, "bcde"), NamedTest("f", "large"), NamedTest("g", "large")]
    order = spread_out(cast("list[pytest.Item]", tests), between=2)
    assert [test.name for test in order] == ["f", "g", "b", "c", "a", "d", "e"]


def test_no_test_is_lost_if_few_have_no_group() -> None:
    tests = [NamedTest("a", "one"), NamedTest("b"), NamedTest("c", "two"), NamedTest("d", "three")]
    order = spread_out(cast("list[pytest.Item]", tests), between=2)
    assert sorted(test.name for test in order) == ["a", "b", "c", "d"]
