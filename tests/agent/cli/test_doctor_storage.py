"""Checks of doctor on the data folder: its owner, files, database and backups."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from agent.cli import doctor_storage
from agent.cli.doctor_findings import Verdict
from memory.folder import DataFolder
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.cli.examining import damage_an_episode, examined, verdicts


def test_unfinished_files_are_warned_of_once_they_are_old(filled: DataFolder) -> None:
    partial = filled.parameters_path / ".abc.1.ff.tmp"
    partial.write_bytes(b"half")
    with examined(filled) as context:
        assert verdicts(doctor_storage.leftovers(context)) == {"leftovers": Verdict.OK}
        os.utime(partial, (time.time() - 7200,) * 2)
        assert verdicts(doctor_storage.leftovers(context)) == {"leftovers": Verdict.WARN}


def test_each_unfinished_file_is_warned_of_with_the_command_that_removes_it(filled: DataFolder) -> None:
    drill = filled.path / ".drill-abc.tmp"
    for path in (drill, filled.backups_path / ".2026.ff.tmp", filled.parameters_path / ".abc.1.ff.tmp"):
        path.mkdir()
        os.utime(path, (time.time() - 7200,) * 2)
    with examined(filled) as context:
        (finding,) = doctor_storage.leftovers(context)
    backup, prune = "learnd schedule run-now backup", "learnd schedule run-now prune"
    assert finding.hint == f"To remove them: {backup}; {prune}; rm -r {drill}."


def test_a_folder_that_others_can_enter_is_warned_of(filled: DataFolder) -> None:
    filled.path.chmod(0o755)
    with examined(filled) as context:
        (finding,) = doctor_storage.data_folder(context)
    assert finding.verdict is Verdict.WARN
    assert finding.hint == f"chmod 700 {filled.path}"


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_folder_that_others_can_write_to_fails(filled: DataFolder, mode: int) -> None:
    with examined(filled) as context:
        filled.path.chmod(mode)
        (finding,) = doctor_storage.data_folder(context)
    assert finding.verdict is Verdict.FAIL
    assert finding.hint == f"chmod 700 {filled.path}"


@pytest.mark.parametrize(
    ("content", "verdict"),
    [(None, Verdict.WARN), ("half", Verdict.WARN), ("6f9619ff-8b86-4d01-b42d-00cf4fc964ff", Verdict.FAIL)],
)
def test_a_database_of_another_store_fails(filled: DataFolder, content: str | None, verdict: Verdict) -> None:
    path = filled.path / "store-id"
    with examined(filled) as context:
        assert verdicts(doctor_storage.store_identity(context)) == {"store identity": Verdict.OK}
        path.unlink()
        if content is not None:
            path.write_text(content)
        (finding,) = doctor_storage.store_identity(context)
    assert finding.verdict is verdict
    assert ("learnd memory restore" in finding.hint) == (verdict is Verdict.FAIL)


def test_a_store_beyond_its_limit_is_warned_of(filled: DataFolder) -> None:
    with examined(filled) as context:
        memory = context.settings.memory.model_copy(update={"max_size": 1024})
        small = replace(context, settings=context.settings.model_copy(update={"memory": memory}))
        assert verdicts(doctor_storage.store_size(small))["size"] is Verdict.WARN


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
@pytest.mark.parametrize("name", ["learnd.db", "parameters", "control.lock", "store-id"])
def test_a_file_of_another_owner_fails_with_the_command_that_mends_it(filled: DataFolder, name: str) -> None:
    path = filled.path / name
    if not path.exists():
        path.touch(mode=0o600)
    os.chown(path, 4321, 1234)
    with examined(filled) as context:
        (finding,) = doctor_storage.ownership(context)
    assert finding.verdict is Verdict.FAIL
    assert name in finding.found
    assert finding.hint.endswith(f"chown -R 0:0 {filled.path}")


@pytest.mark.parametrize(("name", "mode"), [("learnd.db", 0o400), ("parameters", 0o500), ("control.lock", 0o000)])
def test_a_file_that_its_owner_cannot_write_fails(filled: DataFolder, name: str, mode: int) -> None:
    path = filled.path / name
    if not path.exists():
        path.touch()
    with examined(filled) as context:
        assert verdicts(doctor_storage.ownership(context)) == {"ownership": Verdict.OK}
        path.chmod(mode)
        (finding,) = doctor_storage.ownership(context)
        path.chmod(0o700)
    assert finding.verdict is Verdict.FAIL
    assert finding.hint.startswith("chmod")


def test_backups_from_the_future_are_warned_of(filled: DataFolder) -> None:
    with Store.open(filled, clock=lambda: 4e9) as store:
        store.back_up(keep=2)
    with examined(filled) as context:
        (finding,) = doctor_storage.backups(context)
    assert finding.verdict is Verdict.WARN
    assert "from the future" in finding.found


def test_a_newest_backup_that_is_not_clean_is_warned_of(filled: DataFolder) -> None:
    with Store.open(filled) as store:
        store.back_up(keep=2)
    with examined(filled) as context:
        assert verdicts(doctor_storage.backups(context)) == {"backups": Verdict.OK}
    damage_an_episode(filled)
    with Store.open(filled) as store:
        store.back_up(keep=2)
    with examined(filled) as context:
        (finding,) = doctor_storage.backups(context)
        assert [found.verdict for found in doctor_storage.known_damage(context)] == [Verdict.WARN]
    assert finding.verdict is Verdict.WARN


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_a_command_that_root_runs_leaves_its_files_to_the_owner(learnd: Learnd, filled: DataFolder) -> None:
    for path in (filled.path, *filled.path.rglob("*")):
        os.chown(path, 4321, 1234)
    learnd("env", "pause", "cartpole")
    with examined(filled) as context:
        assert verdicts(doctor_storage.ownership(context)) == {"ownership": Verdict.OK}
