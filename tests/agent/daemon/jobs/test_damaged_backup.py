"""A backup that was damaged after it was made turns health red at the next check, also after a restart."""

from __future__ import annotations

from pathlib import Path

from agent.job_requests import RUN_JOB, payload_of
from memory.records import JobKind, JobOutcome
from tests.agent.daemon.daemon_process import DaemonProcess, until


def run(service: DaemonProcess, kind: JobKind, *, outcome: JobOutcome) -> None:
    """Request a job, and wait until a run of it has ended with an outcome."""
    with service.store() as store:
        store.requests.add(RUN_JOB, payload_of(kind, None))
        until(lambda: [r for r in store.jobs.runs(kind=kind, limit=1) if r.outcome is outcome], f"{kind} {outcome}")


def test_damage_is_found_and_told_until_the_backups_are_intact_again(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data") as service:
        run(service, JobKind.BACKUP, outcome=JobOutcome.SUCCEEDED)
        run(service, JobKind.VERIFY, outcome=JobOutcome.SUCCEEDED)
        (backup,) = (tmp_path / "data" / "backups").glob("[0-9]*Z")
        (backup / "learnd.db").write_bytes(b"damaged" * 1000)
        run(service, JobKind.VERIFY, outcome=JobOutcome.FAILED)
        until(lambda: service.health()[0] == 503, "health is red")
        (reason,) = service.health()[1]
        assert reason["reason"] == "backup_damaged"
        assert backup.name in reason["found"]
        assert service.metric("learnd_backup_damaged_parts") == 1.0
        service.stop()
    with DaemonProcess(tmp_path / "data") as service:
        until(lambda: service.health()[0] == 503, "health is red after a restart")
        for path in backup.rglob("*"):
            path.unlink() if path.is_file() else None
        backup.rename(backup.with_name("removed"))
        run(service, JobKind.VERIFY, outcome=JobOutcome.SUCCEEDED)
        until(lambda: service.health()[0] == 200, "health is good again")
