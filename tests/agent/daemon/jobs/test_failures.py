"""Failures in a row: what counts as one, and what resets the count."""

from __future__ import annotations

from typing import Any

from agent.daemon.jobs.failures import Failures
from agent.daemon.jobs.runs import RunResult
from memory.records import JobKind, JobOutcome


def failed(error: str = "", **detail: Any) -> RunResult:
    return RunResult(outcome=JobOutcome.FAILED, error=error, detail=detail)


def test_a_success_forgives_the_failures_before_it_and_a_skip_does_not() -> None:
    failures = Failures()
    for _ in range(3):
        failures.note(JobKind.EVALUATE, failed("why"))
    failures.note(JobKind.EVALUATE, RunResult(outcome=JobOutcome.SKIPPED))
    assert failures.counts() == {JobKind.EVALUATE: (3, "why")}
    failures.note(JobKind.EVALUATE, RunResult(outcome=JobOutcome.SUCCEEDED))
    assert failures.counts() == {}


def test_a_fault_of_a_family_counts_as_its_strike_and_not_as_a_failure_of_the_job() -> None:
    failures = Failures()
    for _ in range(3):
        failures.note(JobKind.PRACTISE, failed(fault="raised", strikes=1, found="it raised"))
        failures.note(JobKind.EVALUATE, failed(faults={"cartpole": "it raised"}, found="it raised", scores={}))
        failures.note(JobKind.REFERENCE, failed("the environment ended"))
    assert failures.counts() == {}


def test_a_fault_of_a_family_does_not_forgive_the_failures_before_it() -> None:
    failures = Failures()
    failures.note(JobKind.PRACTISE, failed("out of memory"))
    failures.note(JobKind.PRACTISE, failed(fault="raised", strikes=1, found="it raised"))
    failures.note(JobKind.PRACTISE, failed("out of memory again"))
    assert failures.counts() == {JobKind.PRACTISE: (2, "out of memory again")}
