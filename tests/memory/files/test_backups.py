from __future__ import annotations

from pathlib import Path

import pytest

from memory.errors import CorruptFileError, FolderInUseError, MemoryStoreError
from memory.files.backup_record import newest_backup, read_backup
from memory.files.backups import restore
from memory.folder import DataFolder
from memory.records import FamilyState, ProblemKind, PrunePolicy
from memory.sqlite_library import sqlite3
from memory.store import Store
from tests.memory.damage import break_index, damage_episode, damage_file
from tests.memory.making import (
    Clock,
    add_active_family,
    make_rehearsal_step,
    make_step,
    make_tensors,
    publish_next,
    same_trial,
)


def fill(store: Store, *, steps: int = 3) -> None:
    add_active_family(store)
    for seed in range(steps):
        store.learner_steps.commit(make_step(seed=seed), make_tensors(seed), {"seed": seed})
    publish_next(store)


def test_a_backup_is_a_data_folder_that_passes_the_check(store: Store) -> None:
    fill(store)
    report = store.back_up(keep=3)
    assert report.num_parameter_files == 2
    assert store.backups() == [report.path]
    with Store.open(DataFolder(report.path), is_reader=True) as copy:
        assert copy.families.all() == store.families.all()
        assert copy.checkpoints.live() == store.checkpoints.live()
        assert copy.check() == []
        assert {path.name for path in report.path.iterdir()} == {"learnd.db", "parameters", "store-id", "backup.json"}


def test_a_backup_survives_what_the_store_does_afterwards(store: Store, clock: Clock) -> None:
    fill(store)
    before = store.families.all()
    report = store.back_up(keep=3)
    for seed in range(5):
        store.learner_steps.commit(make_step(seed=seed), make_tensors(50 + seed), {})
    with Store.open(DataFolder(report.path), is_reader=True) as copy:
        assert copy.families.all() == before
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
    version = store.initializations.get(1).file.sha256
    assert (reports[3].path / "parameters" / f"{version}.safetensors").stat().st_nlink == 2


def test_a_removal_that_ends_half_way_leaves_nothing_that_looks_like_a_backup(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    first = store.back_up(keep=1)

    def end_half_way(path: Path, *, ignore_errors: bool = False) -> None:
        (path / "learnd.db").unlink()
        raise KeyboardInterrupt

    clock.now += 3600
    with monkeypatch.context() as patched:
        patched.setattr("memory.files.backups.shutil.rmtree", end_half_way)
        with pytest.raises(KeyboardInterrupt):
            store.back_up(keep=1)
    assert first.path not in store.backups()
    assert all((path / "learnd.db").exists() for path in store.backups())
    clock.now += 3600
    last = store.back_up(keep=1)
    assert list(last.path.parent.iterdir()) == [last.path]


def test_a_damaged_file_of_the_backup_before_is_not_shared(store: Store, clock: Clock) -> None:
    fill(store)
    first = store.back_up(keep=2)
    version = store.initializations.get(1).file.sha256
    (first.path / "parameters" / f"{version}.safetensors").write_bytes(b"")
    clock.now += 1
    second = store.back_up(keep=2)
    with Store.open(DataFolder(second.path), is_reader=True) as copy:
        assert copy.check() == []


def test_a_damaged_version_is_left_out_named_and_does_not_keep_the_rest_from_being_backed_up(
    store: Store, folder: DataFolder
) -> None:
    fill(store)
    version = store.initializations.get(1).file.sha256
    path = damage_file(folder, version)
    report = store.back_up(keep=1)
    assert [(problem.kind, problem.key, problem.subject) for problem in report.damaged] == [
        (ProblemKind.PARAMETER_FILE, version, str(path))
    ]
    assert report.num_parameter_files == 1
    assert store.damage.all() == list(report.damaged)
    assert any("--repair" in warning for warning in report.warnings)
    backup = read_backup(report.path)
    assert (backup.is_clean, [problem.key for problem in backup.damaged]) == (False, [version])


def test_a_damaged_file_is_replaced_by_the_same_file_of_an_older_backup(store: Store, folder: DataFolder) -> None:
    fill(store)
    store.back_up(keep=3)
    version = store.initializations.get(1).file.sha256
    damage_file(folder, version)
    report = store.back_up(keep=3)
    assert report.mended == (version,)
    assert report.damaged == ()
    assert store.check() == []
    assert any(version in warning for warning in report.warnings)


def test_a_damaged_episode_is_left_out_and_the_copy_is_whole(store: Store) -> None:
    fill(store)
    damage_episode(store)
    report = store.back_up(keep=1)
    assert [(problem.kind, problem.subject) for problem in report.damaged] == [(ProblemKind.TRIAL, "trial 1")]
    with Store.open(DataFolder(report.path), is_reader=True) as copy:
        assert copy.check() == []
        assert [trial.id for trial in copy.trials.of_family("cartpole", limit=9)] == [6, 5, 4, 3, 2]
        assert copy.families.get("cartpole").totals == store.families.get("cartpole").totals


def rehearsed(store: Store) -> dict[int, int]:
    """Return the id of the trial in each slot of the reservoir of cartpole."""
    return {trial.slot: trial.trial_id for trial in store.rehearsal.trials(store.families.get("cartpole").id)}


def test_trials_for_rehearsal_are_backed_up_and_restored(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        fill(store, steps=1)
        step = make_rehearsal_step(slots=(4, None, 0))
        store.learner_steps.commit(step, make_tensors(5), {})
        report = store.back_up(keep=1)
        store.learner_steps.commit(make_rehearsal_step(slots=(4,), seed=1), make_tensors(6), {})
        store.families.set_state("cartpole", FamilyState.REMOVED)
    restore(folder, report.path)
    with Store.open(folder) as store:
        assert rehearsed(store) == {0: 5, 4: 3}
        assert same_trial(store.rehearsal.trials(store.families.get("cartpole").id)[1].trial, step.trials[0])
        assert store.check() == []


def test_a_damaged_trial_for_rehearsal_is_left_out_of_the_backup_with_its_slot(store: Store) -> None:
    fill(store, steps=0)
    store.learner_steps.commit(make_rehearsal_step(slots=(4, None, 0)), make_tensors(5), {})
    damage_episode(store)
    report = store.back_up(keep=1)
    assert [problem.subject for problem in report.damaged] == ["trial 1"]
    with Store.open(DataFolder(report.path), is_reader=True) as copy:
        assert copy._connection.value("SELECT count(*) FROM rehearsal_trials") == 1
        assert rehearsed(copy) == {0: 3}
        assert copy.check() == []


def test_damage_is_known_until_a_backup_no_longer_finds_it(store: Store) -> None:
    fill(store)
    damage_episode(store)
    store.back_up(keep=1)
    assert [problem.kind for problem in store.damage.all()] == [ProblemKind.TRIAL]
    store.prune(PrunePolicy(max_episode_bytes=0, max_episode_age_s=None, max_rejected=10, min_trials_per_family=1))
    store.back_up(keep=1)
    assert store.damage.all() == []


def test_a_damaged_index_is_built_anew_in_the_copy(store: Store, folder: DataFolder) -> None:
    fill(store)
    break_index(store, folder)
    with Store.open(folder) as broken:
        assert broken.check() != []
        report = broken.back_up(keep=1)
    assert {problem.kind for problem in report.damaged} == {ProblemKind.DATABASE}
    with Store.open(DataFolder(report.path), is_reader=True) as copy:
        assert copy.check() == []


def test_a_damaged_row_is_backed_up_as_it_is_and_named(store: Store) -> None:
    fill(store)
    with store._connection.transaction("damaging a row"):
        store._connection.execute("UPDATE checkpoints SET meta = '{\"seed\":9}' WHERE is_live = 1")
    report = store.back_up(keep=1)
    assert [problem.kind for problem in report.damaged] == [ProblemKind.ROW]


def test_a_backup_that_is_not_clean_does_not_displace_the_last_clean_one(store: Store) -> None:
    fill(store)
    clean = store.back_up(keep=2).path
    damage_episode(store)
    first, second, third = (store.back_up(keep=2).path for _ in range(3))
    assert not first.exists()
    assert store.backups() == [third, second, clean]


def test_the_backup_just_made_stays_whatever_the_clock_says(store: Store, clock: Clock) -> None:
    fill(store)
    clock.now += 30 * 365 * 86_400
    ahead = [store.back_up(keep=2) for _ in range(3)]
    clock.now -= 30 * 365 * 86_400
    after = [store.back_up(keep=2) for _ in range(2)]
    assert [report.path.exists() for report in after] == [True, True]
    assert store.backups() == [after[1].path, after[0].path]
    assert after[0].removed == (ahead[1].path.name,)
    assert ahead[2].path.name in after[0].warnings[0]
    assert [report.sequence for report in (*ahead, *after)] == [1, 2, 3, 4, 5]


def test_backups_without_a_number_are_older_than_all_that_have_one(
    store: Store, folder: DataFolder, clock: Clock
) -> None:
    fill(store)
    for name in ("2099-01-01T00-00-00.000000Z", "2099-01-02T00-00-00.000000Z"):
        made = store.back_up(keep=9).path
        (made / "backup.json").unlink()
        made.rename(folder.backups_path / name)
    newest = store.back_up(keep=2)
    assert [path.name for path in store.backups()] == [newest.path.name, "2099-01-02T00-00-00.000000Z"]
    assert newest.removed == ("2099-01-01T00-00-00.000000Z",)
    assert newest_backup(folder) == read_backup(newest.path)


def test_two_backups_at_one_time_of_the_clock_have_two_names(store: Store) -> None:
    fill(store)
    paths = {store.back_up(keep=9).path for _ in range(3)}
    assert len(paths) == 3


def test_backups_of_another_store_or_of_an_unknown_one_neither_count_nor_go(
    store: Store, folder: DataFolder, tmp_path: Path
) -> None:
    fill(store)
    with Store.open(DataFolder(tmp_path / "other")) as other:
        fill(other)
        foreign = folder.backups_path / "2001-01-01T00-00-00.000000Z"
        other.back_up(keep=1).path.rename(foreign)
    unknown = folder.backups_path / "2001-01-02T00-00-00.000000Z"
    store.back_up(keep=9).path.rename(unknown)
    (unknown / "store-id").unlink()
    forget_identity(DataFolder(unknown))
    reports = [store.back_up(keep=2) for _ in range(3)]
    assert reports[2].removed == (reports[0].path.name,)
    assert {foreign, unknown} <= set(store.backups())
    assert read_backup(unknown).store_id() is None
    newest = newest_backup(folder)
    assert newest is not None
    assert newest.path == reports[2].path


def test_the_identity_of_a_backup_without_the_file_is_its_databases(store: Store) -> None:
    fill(store)
    made = store.back_up(keep=1).path
    written = (made / "store-id").read_text().strip()
    (made / "store-id").unlink()
    assert read_backup(made).store_id() == written


@pytest.mark.parametrize(
    "record",
    ["{", '{"sequence": Infinity, "made_at": 1, "damaged": []}', "[" * 100_000],
    ids=["cut", "endless", "deep"],
)
def test_a_backup_whose_record_cannot_be_read_is_not_taken_for_a_clean_one(store: Store, record: str) -> None:
    made = store.back_up(keep=1).path
    (made / "backup.json").write_text(record)
    backup = read_backup(made)
    assert (backup.sequence, backup.is_clean) == (None, False)


def forget_identity(folder: DataFolder) -> None:
    """Downgrade a database to the schema from before stores had an identity."""
    database = sqlite3.connect(folder.store_path)
    database.execute("DROP TABLE store_identity")
    database.commit()
    database.close()


def test_a_restored_backup_goes_on_from_where_it_was(folder: DataFolder, clock: Clock) -> None:
    with Store.open(folder, clock=clock) as store:
        fill(store)
        expected = store.families.all()
        checkpoint = store.checkpoints.live()
        report = store.back_up(keep=1)
        for seed in range(3):
            store.learner_steps.commit(make_step(seed=seed), make_tensors(70 + seed), {})
    aside = restore(folder, report.path)
    assert aside is not None
    assert aside.exists()
    with Store.open(folder) as store:
        assert store.families.all() == expected
        assert store.checkpoints.live() == checkpoint
        assert checkpoint is not None
        assert store.checkpoints.load_parameters(checkpoint.file)
        assert store.check() == []
        assert store.learner_steps.commit(make_step(), make_tensors(1), {}).learner_steps == 4


def test_a_backup_restores_into_an_empty_folder(store: Store, tmp_path: Path) -> None:
    fill(store)
    elsewhere = DataFolder(tmp_path / "elsewhere")
    assert restore(elsewhere, store.back_up(keep=1).path) is None
    with Store.open(elsewhere) as restored:
        assert restored.families.all() == store.families.all()
        assert restored.check() == []


def test_a_write_ahead_log_left_by_a_kill_does_not_mix_with_the_restored_store(
    folder: DataFolder, tmp_path: Path
) -> None:
    with Store.open(folder) as store:
        fill(store)
        report = store.back_up(keep=1)
        store.learner_steps.commit(make_step(), make_tensors(70), {})
        wal = folder.path / "learnd.db-wal"
        left_behind = wal.read_bytes()
        assert left_behind
    wal.write_bytes(left_behind)
    restore(folder, report.path)
    with Store.open(folder) as store:
        assert store.families.get("cartpole").totals.env_steps == 480
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
    assert not list(folder.path.glob("replaced-*"))


def test_a_damaged_backup_leaves_nothing_in_an_empty_folder(store: Store, tmp_path: Path) -> None:
    fill(store)
    report = store.back_up(keep=1)
    next((report.path / "parameters").glob("*.safetensors")).write_bytes(b"")
    elsewhere = DataFolder(tmp_path / "elsewhere")
    with pytest.raises(CorruptFileError, match="parameters"):
        restore(elsewhere, report.path)
    assert not elsewhere.store_path.exists()
    assert list(elsewhere.parameters_path.glob("*.safetensors")) == []


def test_a_folder_that_is_no_backup_is_refused(folder: DataFolder, tmp_path: Path) -> None:
    with pytest.raises(MemoryStoreError, match=r"no learnd\.db"):
        restore(folder, tmp_path)


def test_at_least_one_backup_is_kept(store: Store) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        store.back_up(keep=0)
