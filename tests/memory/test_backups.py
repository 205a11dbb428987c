from __future__ import annotations

from pathlib import Path

import pytest

from memory.backups import restore
from memory.errors import CorruptFileError, FolderInUseError, MemoryStoreError
from memory.folder import DataFolder
from memory.store import Store
from tests.memory.making import Clock, add_active_family, make_step, make_tensors, publish_next


def fill(store: Store, *, steps: int = 3) -> None:
    add_active_family(store)
    for seed in range(steps):
        store.commit_learner_step(make_step(seed=seed), make_tensors(seed), {"seed": seed})
    publish_next(store)


def test_a_backup_is_a_data_folder_that_passes_the_check(store: Store) -> None:
    fill(store)
    report = store.back_up(keep=3)
    assert report.num_parameter_files == 2
    assert store.backups() == [report.path]
    with Store.open(DataFolder(report.path), is_reader=True) as copy:
        assert copy.families() == store.families()
        assert copy.last_checkpoint() == store.last_checkpoint()
        assert copy.check() == []
        assert {path.name for path in report.path.iterdir()} == {"learnd.db", "parameters"}


def test_a_backup_survives_what_the_store_does_afterwards(store: Store, clock: Clock) -> None:
    fill(store)
    before = store.families()
    report = store.back_up(keep=3)
    for seed in range(5):
        store.commit_learner_step(make_step(seed=seed), make_tensors(50 + seed), {})
    with Store.open(DataFolder(report.path), is_reader=True) as copy:
        assert copy.families() == before
        assert copy.check() == []


def test_only_the_newest_backups_are_kept_and_share_unchanged_files(store: Store, clock: Clock) -> None:
    fill(store)
    reports = []
    for _ in range(4):
        clock.now += 3600
        reports.append(store.back_up(keep=2))
    assert store.backups() == [reports[3].path, reports[2].path]
    assert reports[3].removed == (reports[1].path.name,)
    assert reports[3].new_bytes < reports[0].new_bytes
    version = store.initialization(1).file.sha256
    assert (reports[3].path / "parameters" / f"{version}.safetensors").stat().st_nlink == 2


def test_a_damaged_file_of_the_backup_before_is_not_shared(store: Store, clock: Clock) -> None:
    fill(store)
    first = store.back_up(keep=2)
    version = store.initialization(1).file.sha256
    (first.path / "parameters" / f"{version}.safetensors").write_bytes(b"")
    clock.now += 1
    second = store.back_up(keep=2)
    with Store.open(DataFolder(second.path), is_reader=True) as copy:
        assert copy.check() == []


def test_a_store_with_a_damaged_version_leaves_no_backup_and_keeps_the_old(
    store: Store, folder: DataFolder, clock: Clock
) -> None:
    add_active_family(store)
    store.back_up(keep=1)
    before = store.backups()
    publish_next(store)
    version = store.initialization(1).file.sha256
    (folder.parameters_path / f"{version}.safetensors").write_bytes(b"")
    clock.now += 1
    with pytest.raises(CorruptFileError, match=version):
        store.back_up(keep=1)
    assert store.backups() == before
    assert list(folder.backups_path.iterdir()) == before


def test_a_damaged_episode_leaves_no_backup(store: Store, folder: DataFolder) -> None:
    fill(store)
    with store._connection.transaction("damaging an episode"):
        store._connection.execute("UPDATE episodes SET payload = zeroblob(length(payload)) WHERE id = 2")
    with pytest.raises(CorruptFileError, match="checksum"):
        store.back_up(keep=1)
    assert list(folder.backups_path.iterdir()) == []


def test_a_restored_backup_goes_on_from_where_it_was(folder: DataFolder, clock: Clock) -> None:
    with Store.open(folder, clock=clock) as store:
        fill(store)
        expected = store.families()
        checkpoint = store.last_checkpoint()
        report = store.back_up(keep=1)
        for seed in range(3):
            store.commit_learner_step(make_step(seed=seed), make_tensors(70 + seed), {})
    aside = restore(folder, report.path)
    assert aside is not None
    assert aside.exists()
    with Store.open(folder) as store:
        assert store.families() == expected
        assert store.last_checkpoint() == checkpoint
        assert checkpoint is not None
        assert store.load_parameters(checkpoint.file)
        assert store.check() == []
        assert store.commit_learner_step(make_step(), make_tensors(1), {}).learner_steps == 4


def test_a_backup_restores_into_an_empty_folder(store: Store, tmp_path: Path) -> None:
    fill(store)
    elsewhere = DataFolder(tmp_path / "elsewhere")
    assert restore(elsewhere, store.back_up(keep=1).path) is None
    with Store.open(elsewhere) as restored:
        assert restored.families() == store.families()
        assert restored.check() == []


def test_a_write_ahead_log_left_by_a_kill_does_not_mix_with_the_restored_store(
    folder: DataFolder, tmp_path: Path
) -> None:
    with Store.open(folder) as store:
        fill(store)
        report = store.back_up(keep=1)
        store.commit_learner_step(make_step(), make_tensors(70), {})
        wal = folder.path / "learnd.db-wal"
        left_behind = wal.read_bytes()
        assert left_behind
    wal.write_bytes(left_behind)
    restore(folder, report.path)
    with Store.open(folder) as store:
        assert store.family("cartpole").totals.env_steps == 480
        assert store.check() == []


def test_nothing_is_restored_under_a_running_daemon(store: Store, folder: DataFolder) -> None:
    fill(store)
    report = store.back_up(keep=1)
    for role in ("control", "learner"):
        with folder.hold(role), pytest.raises(FolderInUseError):
            restore(folder, report.path)


def test_a_damaged_backup_is_not_restored(store: Store, folder: DataFolder) -> None:
    fill(store)
    report = store.back_up(keep=1)
    before = folder.store_path.read_bytes()
    next((report.path / "parameters").glob("*.safetensors")).write_bytes(b"")
    with pytest.raises(CorruptFileError):
        restore(folder, report.path)
    assert folder.store_path.read_bytes() == before


def test_a_folder_that_is_no_backup_is_refused(folder: DataFolder, tmp_path: Path) -> None:
    with pytest.raises(MemoryStoreError, match=r"no learnd\.db"):
        restore(folder, tmp_path)


def test_at_least_one_backup_is_kept(store: Store) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        store.back_up(keep=0)
