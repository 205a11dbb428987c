"""The values of metrics that do not come from the store."""

from __future__ import annotations

from pathlib import Path

from agent.config.settings import JobsSettings, Settings
from agent.config.triggers import Trigger
from agent.daemon.health import RedReason
from agent.daemon.metrics.live_samples import backup_age_s, job_periods_s
from agent.daemon.processes.supervisor import TrainerState
from agent.daemon.status_report import verify_error
from agent.daemon.store.snapshot import read_snapshot
from memory.folder import DataFolder
from memory.records import JobKind, JobOutcome
from memory.store import Store
from tests.agent.daemon.exposition import metrics_text
from tests.memory.making import make_spec


def test_red_health_is_a_metric_by_reason() -> None:
    text = metrics_text(None, red={RedReason.DISK_FULL})
    assert 'learnd_health{reason="disk_full"} 1.0' in text
    assert text.count("learnd_health{") == len(RedReason)
    assert text.count("learnd_health{") - 1 == len([line for line in text.splitlines() if _is_green(line)])


def _is_green(line: str) -> bool:
    return line.startswith("learnd_health{") and line.endswith(" 0.0")


def test_the_trainer_has_one_state_at_a_time() -> None:
    text = metrics_text(None, trainer=TrainerState.BUSY, heartbeat_age_s=7.5)
    lines = [line for line in text.splitlines() if line.startswith("learnd_learner_state{")]
    assert [line for line in lines if line.endswith(" 1.0")] == ['learnd_learner_state{state="busy"} 1.0']
    assert "learnd_learner_heartbeat_age_seconds 7.5" in text


def test_the_age_of_the_backup_counts_from_the_first_family_until_one_has_succeeded(tmp_path: Path) -> None:
    now = [1000.0]
    assert backup_age_s(None, started_at=990.0, now=now[0]) == 10.0
    with Store.open(DataFolder(tmp_path), clock=lambda: now[0]) as store:
        assert backup_age_s(read_snapshot(store, None), started_at=990.0, now=now[0]) == 10.0
        store.families.add(make_spec("bandits"))
        now[0] = 5000.0
        assert backup_age_s(read_snapshot(store, None), started_at=4990.0, now=now[0]) == 4000.0
        failed = store.jobs.start(JobKind.BACKUP, reason="due")
        store.jobs.finish(failed, JobOutcome.FAILED, error="disk full")
        assert backup_age_s(read_snapshot(store, None), started_at=4990.0, now=now[0]) == 4000.0
        store.jobs.finish(store.jobs.start(JobKind.BACKUP, reason="due"), JobOutcome.SUCCEEDED)
        now[0] = 5060.0
        assert backup_age_s(read_snapshot(store, None), started_at=4990.0, now=now[0]) == 60.0


def test_damaged_parts_of_the_newest_backup_and_backups_found_damaged_later_are_counted(tmp_path: Path) -> None:
    with Store.open(DataFolder(tmp_path)) as store:
        assert "learnd_backup_damaged_parts 0.0" in metrics_text(read_snapshot(store, None))
        damaged = {"damaged": [{"subject": "trial 1"}, {"subject": "trial 2"}]}
        store.jobs.finish(store.jobs.start(JobKind.BACKUP, reason="due"), JobOutcome.SUCCEEDED, detail=damaged)
        assert "learnd_backup_damaged_parts 2.0" in metrics_text(read_snapshot(store, None))
        found = {"damaged": ["2026-11-01T03-00-00.000000Z"]}
        check = store.jobs.start(JobKind.VERIFY, reason="due")
        store.jobs.finish(check, JobOutcome.FAILED, detail=found, error="it is damaged")
        assert "learnd_backup_damaged_parts 3.0" in metrics_text(read_snapshot(store, None))
        store.jobs.finish(store.jobs.start(JobKind.VERIFY, reason="due"), JobOutcome.INTERRUPTED)
        store.jobs.finish(store.jobs.start(JobKind.BACKUP, reason="due"), JobOutcome.FAILED, error="disk full")
        snapshot = read_snapshot(store, None)
        assert "learnd_backup_damaged_parts 3.0" in metrics_text(snapshot)
        assert verify_error(snapshot) == "it is damaged"
        store.jobs.finish(store.jobs.start(JobKind.VERIFY, reason="due"), JobOutcome.SUCCEEDED)
        assert "learnd_backup_damaged_parts 2.0" in metrics_text(read_snapshot(store, None))


def test_periods_of_jobs_follow_from_their_triggers_and_one_that_is_off_has_none() -> None:
    jobs = JobsSettings(backup=Trigger(cron="0 3 * * *"), prune=Trigger())
    periods = job_periods_s(Settings(jobs=jobs), now=1_790_000_000.0)
    assert periods[JobKind.BACKUP] == 86400.0
    assert periods[JobKind.EVALUATE] == 90.0
    assert JobKind.PRUNE not in periods
