"""Two families with equal spaces and opposite actions, practised one after the other by the service; `make learn`."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.service import Service, running

WINDOW_S = 90.0
NUM_WINDOWS = 10
"""The families are practised in turn. Each window ends with a consolidation."""

MAXIMUM = 600.0
SETTINGS = """
[stream]
embedded_default = false
[jobs]
evaluate = "off"
consolidate = "off"
"""
CARTPOLE = ("CartPole-v1", "--episodes", "3", "--max-steps", "200", "--reference", str(MAXIMUM))
FORCES = {"plain": "5:15", "opposite": "-15:-5"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def consolidations(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The reports of ten consolidations, one after each window."""
    reports = []
    with running(tmp_path_factory.mktemp("conflict") / "store", config=SETTINGS) as service:
        for name, force in FORCES.items():
            service.learnd("env", "add", *CARTPOLE, "--name", name, "--vary", f"force_mag={force}")
            service.learnd("env", "pause", name)
        for window in range(NUM_WINDOWS):
            name = list(FORCES)[window % 2]
            service.learnd("env", "resume", name)
            time.sleep(WINDOW_S)
            service.learnd("env", "pause", name)
            reports.append(consolidate(service))
    return reports


def consolidate(service: Service) -> dict[str, Any]:
    """Consolidate and return the job's report."""
    before = finished(service)
    service.learnd("schedule", "run-now", "consolidate")
    service.wait_for(lambda: len(finished(service)) > len(before), timeout_s=300, what="consolidates")
    report: dict[str, Any] = finished(service)[0]["detail"]
    return report


def finished(service: Service) -> list[dict[str, Any]]:
    """Return the finished consolidations, newest first."""
    runs = service.learnd("schedule", "list", "--runs", "100000")["runs"]
    return [run for run in runs if run["job"] == "consolidate" and run["outcome"] is not None]


def test_publishing_does_not_stall(consolidations: list[dict[str, Any]]) -> None:
    outcomes = [report["outcome"] for report in consolidations]
    assert "rejected" not in outcomes[-4:], [report["reason"] for report in consolidations]
    assert outcomes.count("published") >= 2, outcomes


def test_neither_family_is_forgotten(consolidations: list[dict[str, Any]]) -> None:
    returns = consolidations[-1]["returns"]
    assert min(returns.values()) > 0.95 * MAXIMUM, [report["returns"] for report in consolidations]
