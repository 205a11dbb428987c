"""The command after a backup gets its folder; its result is recorded, and a failure fails the job."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agent.config.settings import MemorySettings
from agent.daemon.jobs.backup_command import BackupCommandError, run_backup_command
from agent.daemon.jobs.daemon_jobs import run_daemon_job
from memory.folder import DataFolder
from memory.records import JobKind
from memory.store import Store


def go_on() -> None:
    """Let the job go on."""


def test_the_command_gets_the_folder_and_its_result_is_recorded(tmp_path: Path) -> None:
    with Store.open(DataFolder(tmp_path / "data")) as store:
        copies = tmp_path / "copies"
        copies.mkdir()
        settings = MemorySettings(backup_command=f'cp -r "$BACKUP_PATH" {copies} && echo done')
        detail = run_daemon_job(JobKind.BACKUP, store, settings, progress=go_on)
    assert (detail["command"]["status"], detail["command"]["output"]) == (0, "done")
    (copy,) = copies.iterdir()
    assert copy.name == Path(detail["path"]).name
    assert (copy / "learnd.db").exists()


def test_a_failed_command_fails_the_job_and_the_backup_stays(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    with Store.open(folder) as store:
        settings = MemorySettings(backup_command="echo no route to host >&2; exit 3")
        with pytest.raises(BackupCommandError, match="status 3: no route to host"):
            run_daemon_job(JobKind.BACKUP, store, settings, progress=go_on)
        assert len(store.backups()) == 1


def test_a_command_ends_with_the_service_and_after_its_time(tmp_path: Path) -> None:
    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run_backup_command("sleep 60", tmp_path, progress=stop)
    with pytest.raises(BackupCommandError, match="it was killed after 0"):
        run_backup_command("sleep 60", tmp_path, progress=go_on, timeout_s=0.0)


def test_without_a_command_nothing_is_run(tmp_path: Path) -> None:
    assert shutil.which("sh")
    with Store.open(DataFolder(tmp_path / "data")) as store:
        assert "command" not in run_daemon_job(JobKind.BACKUP, store, MemorySettings(), progress=go_on)
