"""Health: each reason for red, and what it says."""

from __future__ import annotations

from dataclasses import replace

from agent.control.health import Failures, RedReason, Signs, problems
from memory.records import JobKind, JobOutcome

WELL = Signs(crash_loop=None, snapshot_age_s=1.0, read_error="", write_error="", disk_free_bytes=2**40, failures={})


def reasons(signs: Signs) -> list[RedReason]:
    return [problem.reason for problem in problems(signs)]


def test_a_well_service_has_no_problem() -> None:
    assert problems(WELL) == []


def test_every_reason_is_told_with_what_was_found_and_what_to_do() -> None:
    ill = Signs(
        crash_loop="it died",
        snapshot_age_s=100.0,
        read_error="locked",
        write_error="no room",
        disk_free_bytes=1,
        failures={JobKind.BACKUP: (3, "no such disk"), JobKind.PRUNE: (2, "")},
    )
    assert set(reasons(ill)) == set(RedReason)
    texts = [str(problem) for problem in problems(ill)]
    assert any("backup failed 3 times in a row, the last: no such disk" in text for text in texts)
    assert not any("prune failed" in text for text in texts)
    assert all(problem.hint for problem in problems(ill))


def test_the_store_is_unreadable_only_after_a_while() -> None:
    assert reasons(replace(WELL, snapshot_age_s=29.0, read_error="locked")) == []
    assert reasons(replace(WELL, snapshot_age_s=31.0)) == [RedReason.STORE_UNREADABLE]


def test_a_success_forgives_the_failures_before_it_and_a_skip_does_not() -> None:
    failures = Failures()
    for _ in range(3):
        failures.note(JobKind.EVALUATE, JobOutcome.FAILED, "why")
    failures.note(JobKind.EVALUATE, JobOutcome.SKIPPED, "")
    assert failures.counts() == {JobKind.EVALUATE: (3, "why")}
    failures.note(JobKind.EVALUATE, JobOutcome.SUCCEEDED, "")
    assert failures.counts() == {}
