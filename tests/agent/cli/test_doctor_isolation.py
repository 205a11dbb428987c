"""Checks of doctor on the isolation of workers."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from agent.cli.doctor_isolation import described, isolation, of_others
from agent.config.system_service import SystemService
from memory.folder import DataFolder
from tests.agent.cli.conftest import Learnd
from tests.agent.cli.examining import examined


def test_the_isolation_of_workers_is_told_part_by_part(learnd: Learnd) -> None:
    found = next(check for check in learnd.json("doctor")["checks"] if check["check"] == "isolation")
    assert {"data folder", "other files", "network", "processes and threads"} <= found["details"].keys()
    missing = [name for name, text in found["details"].items() if text.startswith("NOT ENFORCED")]
    assert found["verdict"] == ("warn" if missing else "ok")
    assert all(name in found["found"] for name in missing)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_what_root_tries_is_said_to_hold_for_root_and_not_for_the_user_of_the_service(filled: DataFolder) -> None:
    service = SystemService(
        unit=Path("learnd.service"), settings_file=None, data_dir=filled.path, new_settings_file=Path("learnd.toml")
    )
    with examined(filled) as context:
        (own,) = isolation(context)
        os.chown(filled.path, 4321, 4321)
        assert "workers run as uid 4321" in of_others(context)
        said = of_others(replace(context, service=service))
    assert own.details["tried as"] == "root"
    assert "for root" in own.found
    assert "workers" not in own.found
    assert "workers of the service run as uid 4321 within its unit" in said


def test_what_the_kernel_does_not_enforce_is_named() -> None:
    enforced = {
        "store": "Landlock", "files": "Landlock, version 3", "network": "", "signals": False, "shared_memory": False,
        "processes": "", "capabilities": True,
    }  # fmt: skip
    details, missing = described(enforced)
    assert missing == ["network", "other processes", "shared memory", "processes and threads"]
    assert details["network"].startswith("NOT ENFORCED: ")
    assert details["data folder"] == "neither read nor written (by Landlock)"


def test_isolation_that_is_switched_off_is_a_warning(learnd: Learnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARND_WORKERS__ISOLATION", "off")
    found = next(check for check in learnd.json("doctor")["checks"] if check["check"] == "isolation")
    assert found["verdict"] == "warn"
