"""Tests of one group run in one process, so that a live service is started once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
