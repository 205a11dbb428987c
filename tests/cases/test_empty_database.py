"""A database of zero bytes beside parameters and backups is a lost store, not a new one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cases.conftest import Learnd

pytestmark = pytest.mark.slow


def backups(learnd: Learnd) -> list[str]:
    return [backup["name"] for backup in json.loads(learnd("memory", "backups", "--json").stdout)["backups"]]


def families(learnd: Learnd, data_dir: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(learnd("status", "--json", "--data-dir", str(data_dir)).stdout)["families"]
    return found


def test_an_emptied_database_is_refused_and_the_backup_leads_back(
    learnd: Learnd, inputs: Callable[[str], Path]
) -> None:
    inputs("empty-database")
    assert learnd("env", "add", "bernoulli_bandits", "--name", "bandits").returncode == 0
    learnd.environment = {"LEARND_JOBS__BACKUP": "5s"}
    assert learnd("run", "--for", "30").returncode == 0
    kept = backups(learnd)
    assert kept
    in_newest = families(learnd, learnd.data_dir / "backups" / kept[0])
    assert [family["name"] for family in in_newest] == ["bandits"]
    parameters = {path.name for path in (learnd.data_dir / "parameters").glob("*.safetensors")}
    for path in learnd.data_dir.glob("learnd.db-*"):
        path.unlink()
    (learnd.data_dir / "learnd.db").write_bytes(b"")

    examined = learnd("doctor")
    assert examined.returncode == 1
    assert "learnd memory restore" in examined.stdout

    learnd.environment = {"LEARND_JOBS__BACKUP": "2s", "LEARND_MEMORY__KEEP_BACKUPS": "2"}
    refused = learnd("run", "--for", "20")
    assert refused.returncode == 5
    assert "learnd memory restore" in refused.stdout
    assert backups(learnd) == kept
    assert {path.name for path in (learnd.data_dir / "parameters").glob("*.safetensors")} == parameters

    status = learnd("status")
    assert status.returncode == 1
    assert "learnd memory restore" in status.stdout
    assert "no data yet" not in status.stdout

    assert learnd("memory", "restore", "newest").returncode == 0
    assert families(learnd, learnd.data_dir) == in_newest
