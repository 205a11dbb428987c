"""Tests that a restore that is killed or fills the disk at any step leaves a complete store, and can be repeated."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from memory.connection import StoreConnection
from memory.errors import CorruptFileError, MemoryStoreError, StoreFullError, StoreMissingError
from memory.files.backups import restore
from memory.folder import DataFolder
from memory.identity import identity_of_database
from memory.ownership import foreign_paths
from memory.records import JobKind, JobOutcome
from memory.sqlite_library import sqlite3
from memory.store import Store
from memory.upkeep.interrupted_restore import settle_interrupted_restore
from memory.upkeep.restoring import RestoreStep
from tests.memory.damage import damage_episode
from tests.memory.making import add_active_family, downgrade, make_step, make_tensors, publish_next

BACKED_UP_STEPS, PRESENT_STEPS = 3, 5


def fill(store: Store, *, steps: int, seed: int = 0) -> None:
    if not store.families.all():
        add_active_family(store)
    for number in range(steps):
        store.learner_steps.commit(make_step(seed=number), make_tensors(seed + number), {"seed": number})


@pytest.fixture
def backup(folder: DataFolder) -> Path:
    """Return a backup after three learner steps, in a data folder whose store has five."""
    with Store.open(folder) as store:
        fill(store, steps=BACKED_UP_STEPS)
        publish_next(store)
        path = store.back_up(keep=1).path
        fill(store, steps=PRESENT_STEPS - BACKED_UP_STEPS, seed=40)
    return path


@pytest.fixture
def foreign_backup(tmp_path: Path) -> Path:
    """Return a backup of another store, after three learner steps."""
    with Store.open(DataFolder(tmp_path / "other")) as store:
        fill(store, steps=BACKED_UP_STEPS, seed=90)
        return store.back_up(keep=1).path


def steps_of(folder: DataFolder) -> int:
    """Return the number of learner steps of a store that opens and passes the check."""
    with Store.open(folder) as store:
        assert store.check() == []
        checkpoint = store.checkpoints.live()
        assert checkpoint is not None
        assert store.checkpoints.load_parameters(checkpoint.file)
        return checkpoint.learner_steps


def identity_of(folder: DataFolder) -> str | None:
    connection = StoreConnection(folder.store_path, is_reader=True)
    try:
        return identity_of_database(connection)
    finally:
        connection.close()


def leftovers(folder: DataFolder) -> list[str]:
    return [path.name for path in folder.path.glob(".*")]


def killed_after(step: RestoreStep) -> Callable[[RestoreStep], None]:
    def reached(done: RestoreStep) -> None:
        if done is step:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


def restore_in_a_child_that_is_killed(folder: DataFolder, path: Path, step: RestoreStep) -> None:
    child = os.fork()
    if child == 0:
        try:
            restore(folder, path, reached=killed_after(step))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the restore ended before it had done {step}"


def expected_steps(step: RestoreStep) -> int:
    is_swapped = list(RestoreStep).index(step) >= list(RestoreStep).index(RestoreStep.SWAPPED)
    return BACKED_UP_STEPS if is_swapped else PRESENT_STEPS


@pytest.mark.parametrize(
    ("step", "is_foreign"),
    [*((step, True) for step in RestoreStep), (RestoreStep.LOG_REMOVED, False), (RestoreStep.SWAPPED, False)],
)
def test_a_restore_killed_at_any_step_leaves_a_whole_store_and_can_be_repeated(
    folder: DataFolder, backup: Path, foreign_backup: Path, step: RestoreStep, is_foreign: bool
) -> None:
    path = foreign_backup if is_foreign else backup
    restore_in_a_child_that_is_killed(folder, path, step)
    assert steps_of(folder) == expected_steps(step)
    restore(folder, path)
    assert steps_of(folder) == BACKED_UP_STEPS
    assert identity_of(folder) == identity_of(DataFolder(path))
    assert leftovers(folder) == []
    set_aside = [DataFolder(aside) for aside in folder.path.glob("replaced-*")]
    assert PRESENT_STEPS in [steps_of(aside) for aside in set_aside]


@pytest.mark.parametrize("step", RestoreStep)
def test_a_restore_that_runs_out_of_room_leaves_a_whole_store_and_nothing_half_made(
    folder: DataFolder, foreign_backup: Path, backup: Path, step: RestoreStep
) -> None:
    before = {path.name for path in folder.parameters_path.glob("*.safetensors")}

    def fill_the_disk(done: RestoreStep) -> None:
        if done is step:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StoreFullError, match="No space left") as caught:
        restore(folder, foreign_backup, reached=fill_the_disk)
    is_swapped = expected_steps(step) == BACKED_UP_STEPS
    assert ("the restored store is in place" in str(caught.value)) == is_swapped
    assert steps_of(folder) == expected_steps(step)
    if not is_swapped:
        assert leftovers(folder) == []
        assert list(folder.path.glob("replaced-*")) == []
        assert {path.name for path in folder.parameters_path.glob("*.safetensors")} == before
    restore(folder, foreign_backup)
    assert steps_of(folder) == BACKED_UP_STEPS
    assert leftovers(folder) == []


def test_prune_names_what_a_killed_restore_set_aside(folder: DataFolder, backup: Path) -> None:
    from memory.records import PrunePolicy

    restore_in_a_child_that_is_killed(folder, backup, RestoreStep.SWAPPED)
    assert list(folder.path.glob("replaced-*")) == []
    with Store.open(folder) as store:
        store.prune(PrunePolicy(max_episode_bytes=2 << 30, max_episode_age_s=None, max_rejected=10))
    (aside,) = folder.path.glob("replaced-*")
    assert steps_of(DataFolder(aside)) == PRESENT_STEPS


def test_prune_leaves_a_restore_of_another_process_alone(folder: DataFolder, backup: Path) -> None:
    from memory.records import PrunePolicy

    restore_in_a_child_that_is_killed(folder, backup, RestoreStep.DATABASE_COPIED)
    with Store.open(folder) as store:
        child = os.fork()
        if child == 0:
            with folder.hold("control"):
                os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(0)
        os.waitpid(child, os.WUNTRACED)
        try:
            store.prune(PrunePolicy(max_episode_bytes=2 << 30, max_episode_age_s=None, max_rejected=10))
            assert len(leftovers(folder)) == 1
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        store.prune(PrunePolicy(max_episode_bytes=2 << 30, max_episode_age_s=None, max_rejected=10))
    assert leftovers(folder) == []


def kill_while_it_writes(folder: DataFolder, *, steps: int) -> None:
    """Leave a data folder like a killed service, with the last commits in the write-ahead log only."""
    child = os.fork()
    if child == 0:
        try:
            store = Store.open(folder)
            fill(store, steps=steps)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert (folder.path / "learnd.db-wal").stat().st_size > 0


def test_a_killed_folder_is_restored_with_its_write_ahead_log(folder: DataFolder, tmp_path: Path) -> None:
    killed = DataFolder(tmp_path / "killed")
    with Store.open(killed) as store:
        fill(store, steps=1)
    kill_while_it_writes(killed, steps=6)
    restore(folder, killed.path)
    assert steps_of(folder) == 7


def test_the_old_store_is_set_aside_with_its_log_and_its_parameter_files(folder: DataFolder, backup: Path) -> None:
    kill_while_it_writes(folder, steps=2)
    aside = restore(folder, backup)
    assert aside is not None
    assert steps_of(DataFolder(aside.parent)) == PRESENT_STEPS + 2


def test_what_was_set_aside_can_be_restored(folder: DataFolder, backup: Path) -> None:
    aside = restore(folder, backup)
    assert aside is not None
    restore(folder, aside.parent)
    assert steps_of(folder) == PRESENT_STEPS


def test_the_files_of_another_store_are_set_aside_with_it(
    folder: DataFolder, backup: Path, foreign_backup: Path
) -> None:
    aside = restore(folder, foreign_backup)
    assert aside is not None
    there = {path.name for path in folder.parameters_path.glob("*.safetensors")}
    assert there == {path.name for path in (foreign_backup / "parameters").glob("*.safetensors")}
    assert (folder.path / "store-id").read_text().strip() == identity_of(DataFolder(foreign_backup))
    assert steps_of(DataFolder(aside.parent)) == PRESENT_STEPS


def test_a_database_that_cannot_be_opened_is_set_aside_with_its_log(folder: DataFolder, backup: Path) -> None:
    kill_while_it_writes(folder, steps=1)
    log = (folder.path / "learnd.db-wal").read_bytes()
    garbage = b"not a database" * 1000
    folder.store_path.write_bytes(garbage)
    aside = restore(folder, backup)
    assert aside is not None
    assert aside.read_bytes() == garbage
    assert aside.with_name("learnd.db-wal").read_bytes() == log
    assert steps_of(folder) == BACKED_UP_STEPS


@pytest.mark.parametrize("is_missing", [False, True])
def test_the_log_beside_an_empty_or_missing_database_is_kept(
    folder: DataFolder, backup: Path, is_missing: bool
) -> None:
    kill_while_it_writes(folder, steps=1)
    log = (folder.path / "learnd.db-wal").read_bytes()
    folder.store_path.unlink()
    if not is_missing:
        folder.store_path.touch()
    aside = restore(folder, backup)
    assert aside is not None
    assert aside.with_name("learnd.db-wal").read_bytes() == log
    assert steps_of(folder) == BACKED_UP_STEPS


@pytest.mark.parametrize("step", [RestoreStep.OLD_LINKED, RestoreStep.LOG_REMOVED])
def test_a_log_that_only_a_killed_restore_holds_is_put_back(
    folder: DataFolder, backup: Path, step: RestoreStep
) -> None:
    kill_while_it_writes(folder, steps=1)
    log = (folder.path / "learnd.db-wal").read_bytes()
    folder.store_path.write_bytes(b"")
    restore_in_a_child_that_is_killed(folder, backup, step)
    settle_interrupted_restore(folder)
    assert (folder.path / "learnd.db-wal").read_bytes() == log
    assert leftovers(folder) == []


def test_a_backup_of_an_older_schema_is_brought_to_this_one(folder: DataFolder, backup: Path, tmp_path: Path) -> None:
    old = DataFolder(Path(shutil.copytree(backup, tmp_path / "old")))
    downgrade(old)
    restore(folder, old.path)
    assert steps_of(folder) == BACKED_UP_STEPS


def test_a_backup_from_before_uuids_keeps_the_one_it_was_given(
    folder: DataFolder, backup: Path, tmp_path: Path
) -> None:
    old = DataFolder(Path(shutil.copytree(backup, tmp_path / "old")))
    given = (old.path / "store-id").read_text().strip()
    downgrade(old)
    (old.path / "store-id").write_text(f"{given}\n")
    restore(folder, old.path)
    assert identity_of(folder) == given
    assert (folder.path / "store-id").read_text().strip() == given


def test_a_database_without_tables_is_not_restored(folder: DataFolder, backup: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "learnd.db").touch()
    with pytest.raises(StoreMissingError):
        restore(folder, tmp_path / "empty")
    assert steps_of(folder) == PRESENT_STEPS


def test_damage_that_a_backup_names_does_not_keep_it_from_being_restored(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        fill(store, steps=3)
        publish_next(store)
        version = store.initializations.get(1).file.sha256
        (folder.parameters_path / f"{version}.safetensors").unlink()
        damage_episode(store)
        path = store.back_up(keep=1).path
    restore(folder, path)
    with Store.open(folder) as store:
        assert [problem.key for problem in store.check()] == [version]
        assert [problem.key for problem in store.damage.all()] == [version]


def test_damage_that_a_backup_does_not_name_keeps_it_from_being_restored(folder: DataFolder, backup: Path) -> None:
    with Store.open(DataFolder(backup)) as store:
        damage_episode(store)
    with pytest.raises(CorruptFileError, match="trial 1"):
        restore(folder, backup)
    assert steps_of(folder) == PRESENT_STEPS


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_as_root_a_restore_leaves_every_file_to_the_owner_of_the_folder(folder: DataFolder, backup: Path) -> None:
    for path in (folder.path, *folder.path.rglob("*")):
        os.chown(path, 4321, 1234)
    restore(folder, backup)
    assert foreign_paths(folder.path) == []
    assert folder.store_path.stat().st_gid == 1234


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
@pytest.mark.parametrize("step", [RestoreStep.VERIFIED, RestoreStep.LOG_REMOVED, RestoreStep.SWAPPED])
def test_as_root_a_killed_restore_leaves_what_the_service_needs_to_its_owner(
    folder: DataFolder, backup: Path, step: RestoreStep
) -> None:
    for path in (folder.path, *folder.path.rglob("*")):
        os.chown(path, 4321, 1234)
    restore_in_a_child_that_is_killed(folder, backup, step)
    assert foreign_paths(folder.path) == []


def test_a_restore_waits_for_nobody_and_says_so_when_a_reader_does_not_end(
    folder: DataFolder, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import memory.upkeep.restoring

    monkeypatch.setattr(memory.upkeep.restoring, "_SETTLE_TIMEOUT_S", 0.0)
    reader = sqlite3.connect(folder.store_path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM trials").fetchall()
    kill_while_it_writes(folder, steps=1)
    with pytest.raises(MemoryStoreError, match="another program reads the store"):
        restore(folder, backup)
    reader.close()
    assert steps_of(folder) == PRESENT_STEPS + 1


def test_a_restored_store_does_not_say_how_the_daemon_of_the_backup_ended(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        store.daemon_status.set({"state": "running", "pid": 1})
        made = store.back_up(keep=1)
    restore(folder, made.path)
    with Store.open(folder) as store:
        assert store.daemon_status.get() is None


def test_the_jobs_of_a_restored_store_go_on(folder: DataFolder, backup: Path) -> None:
    restore(folder, backup)
    with Store.open(folder) as store:
        run = store.jobs.start(JobKind.BACKUP, reason="due")
        store.jobs.finish(run, JobOutcome.SUCCEEDED)
        assert store.back_up(keep=1).sequence == 2


def test_a_folder_in_the_place_of_the_database_is_named_with_the_way_out(folder: DataFolder, backup: Path) -> None:
    folder.store_path.rename(folder.path / "kept.db")
    folder.store_path.mkdir()
    with pytest.raises(MemoryStoreError, match="Move it away"):
        restore(folder, backup)
    folder.store_path.rmdir()
    assert restore(folder, backup) is None
    assert steps_of(folder) == BACKED_UP_STEPS
