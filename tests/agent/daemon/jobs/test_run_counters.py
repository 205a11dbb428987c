"""What a run of a job adds to the counters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.daemon.jobs.run_counters import run_counters
from agent.daemon.jobs.runs import RunResult
from agent.daemon.scheduling.next_job import Work
from agent.messages import DUE
from memory.folder import DataFolder
from memory.records import CounterValue, JobKind, JobOutcome
from memory.store import Store

FAULT = {"fault": "raised", "strikes": 1}


def added(kind: JobKind, outcome: JobOutcome, *, family: str | None = None, **result: Any) -> list[CounterValue]:
    work = Work(kind=kind, family=family, reason=DUE)
    return list(run_counters(work, RunResult(outcome=outcome, **result), took_s=2.5))


def test_a_slice_counts_its_time_for_its_family_and_its_phases() -> None:
    detail = {"seconds": {"rollout": 1.0, "commit": 0.25, "unheard": 3.0}}
    assert added(JobKind.PRACTISE, JobOutcome.SUCCEEDED, family="bandits", detail=detail) == [
        CounterValue("practice_seconds", {"family": "bandits"}, 2.5),
        CounterValue("phase_seconds", {"phase": "rollout"}, 1.0),
        CounterValue("phase_seconds", {"phase": "commit"}, 0.25),
    ]


def test_a_consolidation_counts_its_outcome_and_its_time() -> None:
    assert added(JobKind.CONSOLIDATE, JobOutcome.SUCCEEDED, detail={"outcome": "rejected"}) == [
        CounterValue("consolidations", {"outcome": "rejected"}, 1.0),
        CounterValue("phase_seconds", {"phase": "consolidation"}, 2.5),
    ]


@pytest.mark.parametrize(
    ("kind", "outcome", "result", "is_error"),
    [
        (JobKind.PRACTISE, JobOutcome.FAILED, {"detail": FAULT}, False),
        (JobKind.EVALUATE, JobOutcome.FAILED, {"detail": {"faults": {"a": "x"}}}, False),
        (JobKind.REFERENCE, JobOutcome.FAILED, {"error": "diverged"}, False),
        (JobKind.EVALUATE, JobOutcome.INTERRUPTED, {"error": "the daemon stopped"}, False),
        (JobKind.EVALUATE, JobOutcome.FAILED, {"error": "KeyError"}, True),
        (JobKind.BACKUP, JobOutcome.FAILED, {"error": "disk full"}, True),
    ],
)
def test_only_failures_that_no_single_family_caused_are_errors_of_jobs(
    kind: JobKind, outcome: JobOutcome, result: dict[str, Any], is_error: bool
) -> None:
    errors = [value for value in added(kind, outcome, **result) if value.name == "job_errors"]
    assert errors == ([CounterValue("job_errors", {"job": str(kind)}, 1.0)] if is_error else [])


def test_counters_are_added_with_the_end_of_the_run_and_only_once(tmp_path: Path) -> None:
    with Store.open(DataFolder(tmp_path)) as store:
        amounts = (CounterValue("practice_seconds", {"family": "bandits"}, 2.5),)
        run = store.jobs.start(JobKind.PRACTISE, family="bandits", reason="test")
        for _ in range(2):
            store.jobs.finish(run, JobOutcome.SUCCEEDED, amounts=amounts)
        withdrawn = store.jobs.start(JobKind.PRACTISE, family="bandits", reason="test")
        store.jobs.withdraw(withdrawn, amounts=amounts)
        assert amounts[0]._replace(value=5.0) in store.counters.all()
