"""Case: the archive of one family is repacked with ``./`` names, or is replaced by something that is no archive."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cases.conftest import Learnd

pytestmark = pytest.mark.slow


def _fed(learnd: Learnd, inputs: Callable[[str], Path], folder: Path) -> Path:
    """Feed a family of images and a family of bandits; return the images' archive."""
    make = inputs("one-archive-stops-all") / "make.py"
    subprocess.run([sys.executable, str(make), str(folder)], check=True)
    archive = folder / "plain.zip"
    for arguments in (
        ("env", "add", str(archive), "--few-shot", "2x1", "--name", "shapes"),
        ("env", "add", "bernoulli_bandits", "--name", "bandits"),
    ):
        answer = learnd(*arguments)
        assert answer.returncode == 0, answer.stdout
    learnd.environment |= {"LEARND_JOBS__EVALUATE": "5s"}
    return archive


def _family(learnd: Learnd, name: str) -> dict[str, Any]:
    answer = learnd("status", "--json")
    return next(family for family in json.loads(answer.stdout)["families"] if family["name"] == name)


def _num_points(learnd: Learnd, name: str) -> int:
    answer = learnd("curves", name, "--json")
    assert answer.returncode == 0, answer.stdout
    return answer.stdout.count('"env_steps"')


def test_a_repacked_archive_is_read_and_the_next_family_is_evaluated(
    learnd: Learnd, inputs: Callable[[str], Path], tmp_path: Path
) -> None:
    archive = _fed(learnd, inputs, tmp_path)
    archive.write_bytes((tmp_path / "dot.zip").read_bytes())
    log = learnd("run", "--for", "30")
    assert log.returncode == 0, log.stdout
    assert "KeyError" not in log.stdout
    assert _num_points(learnd, "bandits") > 0
    assert _num_points(learnd, "shapes") > 0
    assert _family(learnd, "shapes")["strikes"] == 0


def test_an_archive_that_is_none_any_more_costs_its_family_strikes_and_the_next_is_evaluated(
    learnd: Learnd, inputs: Callable[[str], Path], tmp_path: Path
) -> None:
    archive = _fed(learnd, inputs, tmp_path)
    archive.write_bytes(b"no archive")
    log = learnd("run", "--for", "30")
    assert log.returncode == 0, log.stdout
    shapes = _family(learnd, "shapes")
    assert shapes["strikes"] > 0
    assert "plain.zip" in shapes["state_reason"]
    assert "Traceback" not in shapes["state_reason"]
    assert _num_points(learnd, "bandits") > 0
    assert _family(learnd, "bandits")["strikes"] == 0
