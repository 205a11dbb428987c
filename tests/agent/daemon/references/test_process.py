"""Tests of one measuring process: how it ends when it hangs, cannot start, or is abandoned."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

import pytest

from agent.daemon.references import process as reference_process
from agent.daemon.references.process import STALL_TIMEOUT_S, ReferenceProcess
from agent.messages import Finished, Progress
from agent.reference_requests import ReferenceRequest
from memory.records import JobOutcome
from tests.agent.daemon.clocks import FakeClock
from tests.repository import ROOT

REQUEST = ReferenceRequest(run_id=3, spec={}, spaces={}, steps=100, checkpoint=os.devnull)
SILENT = (sys.executable, "-c", "import time; time.sleep(600)")
ENDLESS = (sys.executable, "-m", "tests.agent.daemon.fake_reference", "--behaviour", "endless")


@pytest.fixture(autouse=True)
def _quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_process, "CHECK_PERIOD_S", 0.02)
    monkeypatch.chdir(ROOT)


def measured(command: Sequence[str], *, num_reports: int | None = None, advance_s: float = 0.0) -> Finished:
    """Run a process. Advance the clock after each of its reports, and end the measurement after ``num_reports``.

    A process that never reports has one report, None.
    """
    clock = FakeClock()
    reports: list[Progress | None] = []

    async def check(progress: Progress | None) -> str:
        if not reports or progress is not reports[-1]:
            reports.append(progress)
            clock.advance(advance_s)
        return "the family was removed" if num_reports is not None and len(reports) > num_reports else ""

    process = ReferenceProcess(command, environment=dict(os.environ), clock=clock)
    return asyncio.run(process.measure(REQUEST, check=check))


def test_a_process_that_makes_no_progress_is_killed_and_has_failed() -> None:
    finished = measured(SILENT, advance_s=STALL_TIMEOUT_S + 1)
    assert (finished.outcome, finished.error) == (JobOutcome.FAILED, "no progress for 30m")


def test_a_process_that_makes_progress_is_not_killed_however_long_it_takes() -> None:
    finished = measured(ENDLESS, num_reports=4, advance_s=0.9 * STALL_TIMEOUT_S)
    assert finished.outcome is JobOutcome.INTERRUPTED


def test_an_abandoned_measurement_is_interrupted_with_the_reason() -> None:
    finished = measured(ENDLESS, num_reports=1)
    assert (finished.run_id, finished.outcome, finished.error) == (3, JobOutcome.INTERRUPTED, "the family was removed")


def test_a_process_that_cannot_be_started_has_failed() -> None:
    finished = measured(["/nowhere/python"])
    assert finished.outcome is JobOutcome.FAILED
    assert "could not be started" in finished.error


def test_a_measurement_abandoned_before_its_process_runs_ends_it() -> None:
    async def measure() -> Finished:
        process = ReferenceProcess(SILENT, environment=dict(os.environ), clock=FakeClock())
        process.abandon("the daemon stopped")

        async def check(progress: Progress | None) -> str:
            del progress
            return ""

        return await process.measure(REQUEST, check=check)

    finished = asyncio.run(measure())
    assert (finished.outcome, finished.error) == (JobOutcome.INTERRUPTED, "the daemon stopped")
