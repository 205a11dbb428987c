"""A time-out counts for one copy: what admission accepts is practised, and an error names copy, limit and setting."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.conftest import Learnd


def episodes_of(learnd: Learnd, name: str) -> int:
    report = json.loads(learnd("status", "--json").stdout)
    return int(next(family["episodes"] for family in report["families"] if family["name"] == name))


@pytest.mark.slow
def test_an_environment_whose_resets_take_long_together_is_practised(
    learnd: Learnd, inputs: Callable[[str], Path]
) -> None:
    learnd.environment["LEARND_WORKERS__STEP_TIMEOUT_S"] = "2s"
    added = learnd("env", "add", "scene:Scene", "--path", str(inputs("slow-reset")), "--episodes", "2")
    assert added.returncode == 0, added.stdout
    ran = learnd("run", "--for", "60")
    assert "hung" not in ran.stdout, ran.stdout
    assert "family quarantined" not in ran.stdout
    assert episodes_of(learnd, "scene") > 0


@pytest.mark.slow
def test_a_reset_beyond_the_limit_is_refused_with_copy_limit_and_setting(
    learnd: Learnd, inputs: Callable[[str], Path]
) -> None:
    learnd.environment["LEARND_WORKERS__STEP_TIMEOUT_S"] = "500ms"
    folder = str(inputs("slow-reset"))
    refused = learnd("env", "add", "scene:Scene", "--path", folder, "--kwarg", "seconds=5")
    assert refused.returncode != 0
    words = " ".join(refused.stdout.split())
    assert "within 0.5 s" in words
    assert "workers.step_timeout_s" in words
