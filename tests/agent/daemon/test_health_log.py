"""A change of health is an event in the log, with the reasons."""

from __future__ import annotations

from structlog.testing import capture_logs

from agent.daemon.health import Problem, RedReason
from agent.daemon.health_log import HealthLog


def problem(reason: RedReason, found: str = "found") -> Problem:
    return Problem(reason=reason, found=found, hint="Do this.")


def test_only_changes_are_logged_with_the_reasons() -> None:
    health = HealthLog()
    full, failing = problem(RedReason.DISK_FULL), problem(RedReason.JOB_FAILING)
    with capture_logs() as events:
        for problems in ([], [full], [problem(RedReason.DISK_FULL, "less")], [full, failing], [failing], [], []):
            health.note(problems)
    assert [(event["event"], event["log_level"]) for event in events] == [
        ("health is red", "error"),
        ("health is red", "error"),
        ("health is still red", "warning"),
        ("health is good again", "info"),
    ]
    assert events[1]["began"] == ["job_failing"]
    assert events[0]["reasons"] == ["disk_full: found. Do this."]
    assert events[2]["ended"] == ["disk_full"]
    assert events[3]["ended"] == ["job_failing"]
