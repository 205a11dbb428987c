"""No simulator outlives the worker that started it, whatever its session and its variables."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.conftest import Learnd
from tests.envs.processes_left import await_none_with, await_some_with, processes_with

SIMULATOR = "4711"
"""The last argument of the simulator's command line."""


@pytest.mark.slow
def test_no_simulator_is_left_after_env_add(learnd: Learnd, inputs: Callable[[str], Path]) -> None:
    added = learnd("env", "add", "launched:Launched", "--path", str(inputs("simulator-left-behind")))
    assert added.returncode != 0
    assert processes_with(SIMULATOR) == []


@pytest.mark.slow
def test_no_simulator_is_left_after_strikes_in_the_service(learnd: Learnd, inputs: Callable[[str], Path]) -> None:
    learnd.environment["LEARND_WORKERS__QUARANTINE_FIRST_S"] = "1h"
    folder = inputs("simulator-left-behind")
    learnd("env", "add", "launched:Launched", "--path", str(folder), "--no-check")
    ran = learnd("run", "--for", "30")
    assert "family refused" in ran.stdout or "family quarantined" in ran.stdout, ran.stdout
    assert processes_with(SIMULATOR) == []


@pytest.mark.slow
def test_no_simulator_is_left_when_env_add_is_killed(learnd: Learnd, inputs: Callable[[str], Path]) -> None:
    command = learnd.command("env", "add", "launched:Launched", "--path", str(inputs("simulator-left-behind")))
    with subprocess.Popen(command, env=learnd.variables(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as adding:
        await_some_with(SIMULATOR)
        adding.kill()
    assert await_none_with(SIMULATOR) == []


@pytest.mark.slow
def test_no_simulator_is_left_when_the_service_is_killed(learnd: Learnd, inputs: Callable[[str], Path]) -> None:
    folder = inputs("simulator-left-behind")
    learnd("env", "add", "launched:Launched", "--path", str(folder), "--no-check")
    log = learnd.data_dir.with_suffix(".log")
    with (
        log.open("wb") as out,
        subprocess.Popen(learnd.command("run"), env=learnd.variables(), stdout=out, stderr=out) as service,
    ):
        await_some_with(SIMULATOR)
        time.sleep(0.1)
        service.kill()
    assert await_none_with(SIMULATOR) == []
