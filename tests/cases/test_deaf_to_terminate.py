"""A simulator that an environment ends by terminate() and wait() ends in the service as it does at admission."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.conftest import Learnd

MAX_RUNS = 4
"""A busy machine may commit no slice within one run."""


def episodes_of(learnd: Learnd, name: str) -> int:
    report = json.loads(learnd("status", "--json").stdout)
    return int(next(family["episodes"] for family in report["families"] if family["name"] == name))


@pytest.mark.slow
def test_a_simulator_that_is_terminated_ends_in_the_service(learnd: Learnd, inputs: Callable[[str], Path]) -> None:
    learnd.environment["LEARND_WORKERS__STEP_TIMEOUT_S"] = "5s"
    added = learnd("env", "add", "restarting:Restarting", "--path", str(inputs("deaf-to-terminate")))
    assert added.returncode == 0, added.stdout
    for _ in range(MAX_RUNS):
        ran = learnd("run", "--for", "30")
        assert "hung" not in ran.stdout, ran.stdout
        assert "family quarantined" not in ran.stdout
        if episodes_of(learnd, "restarting") > 0:
            return
    pytest.fail(f"no slice was committed in {MAX_RUNS} runs")
