"""Checks of doctor on the service: its address, locks, schedule and families."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from agent.cli import doctor_service
from agent.cli.doctor_findings import Verdict
from memory.folder import DataFolder
from memory.records import FamilyState, JobKind, JobOutcome
from memory.store import Store
from tests.agent.cli.examining import answering, examined, verdicts


def test_an_address_that_another_program_has_fails(filled: DataFolder) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with examined(filled, service={"listen": listen}) as context:
            (finding,) = doctor_service.address(context)
    assert (finding.verdict, finding.found) == (Verdict.FAIL, f"{listen}: it is in use")


def test_an_open_address_is_warned_of(filled: DataFolder) -> None:
    with examined(filled, service={"listen": "0.0.0.0:0"}) as context:
        assert [finding.verdict for finding in doctor_service.address(context)] == [Verdict.WARN, Verdict.OK]


def test_an_open_address_with_a_token_everywhere_is_good(filled: DataFolder, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("correct-horse-battery-staple\n")
    token.chmod(0o600)
    service = {"listen": "0.0.0.0:0", "token_file": token, "protect_metrics": True}
    with examined(filled, service=service) as context:
        assert [finding.verdict for finding in doctor_service.address(context)] == [Verdict.OK, Verdict.OK]
    with examined(filled, service={**service, "protect_metrics": False}) as context:
        assert [finding.verdict for finding in doctor_service.address(context)] == [Verdict.WARN, Verdict.OK]


@pytest.mark.parametrize(
    ("content", "mode", "verdict"),
    [("short", 0o600, Verdict.FAIL), ("correct-horse-battery-staple", 0o644, Verdict.WARN)],
)
def test_a_token_file_that_is_no_secret_is_found(
    content: str, mode: int, verdict: Verdict, filled: DataFolder, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(content)
    token.chmod(mode)
    with examined(filled, service={"listen": "127.0.0.1:0", "token_file": token}) as context:
        first, *_ = doctor_service.address(context)
    assert first.verdict is verdict
    assert str(token) in first.found


@pytest.mark.parametrize(("status", "verdict"), [(200, Verdict.OK), (503, Verdict.FAIL)])
def test_a_daemon_is_asked_for_its_health(filled: DataFolder, status: int, verdict: Verdict) -> None:
    with answering(status, b"learner_crash_loop") as port, filled.hold():
        with Store.open(filled) as store:
            store.daemon_status.set({"state": "running", "pid": os.getpid(), "listen": f"127.0.0.1:{port}"})
        with examined(filled) as context:
            (finding,) = doctor_service.address(context)
    assert finding.verdict is verdict
    assert ("learner_crash_loop" in finding.found) == (status == 503)


def test_a_daemon_that_does_not_answer_fails(filled: DataFolder) -> None:
    with socket.socket() as freed:
        freed.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{freed.getsockname()[1]}"
    with filled.hold(), examined(filled, service={"listen": listen}) as context:
        (finding,) = doctor_service.address(context)
    assert finding.verdict is Verdict.FAIL


def test_a_learner_without_a_daemon_is_warned_of(filled: DataFolder) -> None:
    with filled.hold("learner"), examined(filled) as context:
        (finding,) = doctor_service.locks(context)
    assert finding.verdict is Verdict.WARN
    assert str(os.getpid()) in finding.found


@pytest.mark.parametrize("role", ["control", "learner"])
def test_a_removed_lock_file_of_a_running_process_fails(filled: DataFolder, role: str) -> None:
    with filled.hold(role), examined(filled) as context:
        filled.lock_path(role).unlink()
        (finding,) = doctor_service.locks(context)
    assert finding.verdict is Verdict.FAIL
    assert f"{role}.lock" in finding.found


def test_a_job_that_fails_again_and_again_fails(filled: DataFolder) -> None:
    with Store.open(filled) as store:
        for _ in range(3):
            run = store.jobs.start(JobKind.EVALUATE, reason="due")
            store.jobs.finish(run, JobOutcome.FAILED, error="Traceback\nValueError: no")
    with examined(filled) as context:
        (finding,) = doctor_service.schedule(context)
    assert finding.verdict is Verdict.FAIL
    assert "ValueError: no" in finding.found


def test_a_job_in_arrears_is_warned_of_only_while_the_daemon_runs(filled: DataFolder) -> None:
    with Store.open(filled) as store:
        store.jobs.set_schedule(JobKind.EVALUATE, "interval:60", next_due_at=time.time() - 7200)
        store.jobs.set_schedule(JobKind.BACKUP, "cron:0 3 * * *", next_due_at=time.time() + 60)
    with examined(filled) as context:
        assert verdicts(doctor_service.schedule(context)) == {"schedule": Verdict.OK}
        with filled.hold():
            (finding,) = doctor_service.schedule(context)
    assert finding.found.startswith("evaluate was due 2 hours ago")


def test_runs_left_open_by_a_dead_daemon_are_warned_of(filled: DataFolder) -> None:
    with Store.open(filled) as store:
        store.jobs.start(JobKind.EVALUATE, reason="due")
    with examined(filled) as context:
        assert verdicts(doctor_service.schedule(context)) == {"schedule": Verdict.WARN}


def test_a_family_set_aside_is_warned_of_with_its_reason(filled: DataFolder) -> None:
    with Store.open(filled) as store:
        store.families.set_state("acrobot", FamilyState.REFUSED, reason="no such module")
    with examined(filled) as context:
        (finding,) = doctor_service.families(context)
    assert finding.verdict is Verdict.WARN
    assert "no such module" in finding.found
