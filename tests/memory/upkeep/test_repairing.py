"""Tests of repair: damage that it fixes, parts that it removes, and changes that need a person's consent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from memory.errors import FolderInUseError, ForeignStoreError, MemoryStoreError, StoreLostError, StoreMissingError
from memory.folder import DataFolder
from memory.records import BEGIN_FROM_VERSION, ContextKey, Problem, ProblemKind
from memory.store import Store
from memory.upkeep.repairing import repair
from tests.memory.damage import break_index, change_value, damage_episode, damage_file
from tests.memory.making import (
    Clock,
    add_active_family,
    make_rehearsal_step,
    make_step,
    make_tensors,
    publish_next,
)


@pytest.fixture
def filled(folder: DataFolder, clock: Clock) -> Store:
    """Return a store with a live checkpoint, an older kept generation and a published version."""
    store = Store.open(folder, clock=clock)
    add_active_family(store)
    for seed in range(2):
        store.learner_steps.commit(make_step(seed=seed), make_tensors(seed), {"seed": seed})
    store.contexts.put({trial_id: ContextKey(digest=bytes(16)) for trial_id in range(1, 5)})
    store.checkpoints.keep_live(keep=3)
    store.learner_steps.commit(make_step(seed=2), make_tensors(2), {"seed": 2})
    publish_next(store, 50.0)
    return store


def live_file(store: Store) -> str:
    checkpoint = store.checkpoints.live()
    assert checkpoint is not None
    return checkpoint.file.sha256


def damage_checkpoints(store: Store, folder: DataFolder) -> None:
    for checkpoint in store.checkpoints.restore_candidates():
        damage_file(folder, checkpoint.file.sha256)


def problems_of(folder: DataFolder) -> list[Problem]:
    with Store.open(folder, is_reader=True) as store:
        return store.check()


def test_a_sound_store_is_left_as_it_is(filled: Store, folder: DataFolder) -> None:
    filled.close()
    before = folder.store_path.read_bytes()
    report = repair(folder, may_roll_back=True)
    assert (report.actions, report.needs_consent, report.remaining) == ((), "", ())
    assert folder.store_path.read_bytes() == before


def test_damaged_trials_are_dropped_and_counted(filled: Store, folder: DataFolder) -> None:
    damage_episode(filled, 2)
    change_value(filled, "trials", "task", "'{}'")
    filled.back_up(keep=1)
    totals = filled.families.get("cartpole").totals
    filled.close()
    report = repair(folder, may_roll_back=False)
    assert report.actions == ("dropped 2 damaged trials with their 4 episodes",)
    assert report.remaining == ()
    with Store.open(folder) as store:
        assert [trial.id for trial in store.trials.of_family("cartpole", limit=9)] == [5, 4, 3, 2]
        assert [stored.trial_id for stored in store.contexts.of_family("cartpole")] == [2, 3, 4]
        assert (store.stats.memory_stats().trials, store.stats.memory_stats().episodes) == (4, 8)
        assert store.families.get("cartpole").totals == totals
        assert store.damage.all() == []
        assert store.back_up(keep=1).damaged == ()


@pytest.mark.parametrize("damage", ["trial_id = 4096", "trial_id = 1", "slot = 4096"])
def test_a_damaged_slot_of_a_reservoir_is_dropped_and_the_others_stay(
    filled: Store, folder: DataFolder, damage: str
) -> None:
    add_active_family(filled, "acrobot")
    filled.learner_steps.commit(make_rehearsal_step("acrobot", slots=(3, 5)), make_tensors(9), {})
    family = filled.families.get("acrobot")
    filled._connection.raw.execute("PRAGMA foreign_keys = OFF")
    with filled._connection.transaction("damaging a row"):
        filled._connection.execute(f"UPDATE rehearsal_trials SET {damage} WHERE slot = 3")
    filled.close()
    (problem,) = problems_of(folder)
    assert problem.kind is ProblemKind.ROW
    report = repair(folder, may_roll_back=False)
    assert report.actions == ("dropped a slot of a rehearsal reservoir, whose row was damaged",)
    assert report.remaining == ()
    with Store.open(folder) as store:
        assert [trial.slot for trial in store.rehearsal.trials(family.id)] == [5]
        assert len(store.trials.of_family("acrobot", limit=9)) == 2


def test_a_missing_episode_and_wrong_sums_are_mended(filled: Store, folder: DataFolder) -> None:
    with filled._connection.transaction("damaging the store"):
        filled._connection.execute("DELETE FROM episodes WHERE id = 3")
        filled._connection.execute("UPDATE families SET kept_bytes = kept_bytes + 1")
    filled.close()
    assert repair(folder, may_roll_back=False).remaining == ()
    assert problems_of(folder) == []


def test_a_damaged_index_is_built_anew(filled: Store, folder: DataFolder) -> None:
    break_index(filled, folder)
    assert problems_of(folder) != []
    report = repair(folder, may_roll_back=False)
    assert report.actions == ("rebuilt every index of the database",)
    assert problems_of(folder) == []


@pytest.mark.parametrize("is_missing", [False, True])
def test_a_damaged_file_is_taken_from_a_backup(filled: Store, folder: DataFolder, is_missing: bool) -> None:
    filled.back_up(keep=1)
    for sha256 in (live_file(filled), filled.initializations.get(1).file.sha256):
        path = damage_file(folder, sha256)
        if is_missing:
            path.unlink()
    filled.close()
    report = repair(folder, may_roll_back=False)
    assert len(report.actions) == 2
    assert (report.needs_consent, report.remaining) == ("", ())
    assert problems_of(folder) == []


@pytest.mark.parametrize(
    ("table", "column"),
    [("families", "spec"), ("initializations", "provenance"), ("checkpoints", "meta")],
)
def test_a_damaged_row_is_taken_from_a_backup(filled: Store, folder: DataFolder, table: str, column: str) -> None:
    filled.back_up(keep=1)
    before = (filled.families.all(), filled.initializations.all(), filled.checkpoints.restore_candidates())
    change_value(filled, table, column, "'{}'")
    filled.close()
    report = repair(folder, may_roll_back=False)
    assert len(report.actions) == 1
    assert "took row" in report.actions[0]
    with Store.open(folder) as store:
        assert (store.families.all(), store.initializations.all(), store.checkpoints.restore_candidates()) == before
        assert store.check() == []


def test_what_no_backup_has_intact_is_named_as_remaining(filled: Store, folder: DataFolder) -> None:
    damage_file(folder, filled.initializations.get(1).file.sha256)
    change_value(filled, "families", "spec", "'{}'")
    filled.close()
    report = repair(folder, may_roll_back=True)
    assert {problem.kind for problem in report.remaining} == {ProblemKind.PARAMETER_FILE, ProblemKind.ROW}
    with Store.open(folder) as store:
        assert store.damage.all() == list(report.remaining)


def test_a_lost_generation_or_rejected_candidate_is_dropped(filled: Store, folder: DataFolder) -> None:
    filled.initializations.reject(make_tensors(70), scores=[], provenance={}, reason="it fell", parent=1)
    for sha256 in (filled.checkpoints.kept()[0].file.sha256, filled.initializations.all()[0].file.sha256):
        damage_file(folder, sha256)
    filled.close()
    report = repair(folder, may_roll_back=False)
    assert len(report.actions) == 2
    assert report.remaining == ()
    with Store.open(folder) as store:
        assert store.checkpoints.kept() == []
        assert [entry.version for entry in store.initializations.all()] == [1]


def test_a_lost_live_checkpoint_gives_way_to_an_older_one_only_by_consent(filled: Store, folder: DataFolder) -> None:
    kept = filled.checkpoints.kept()[0]
    damage_file(folder, live_file(filled))
    filled.close()
    asked = repair(folder, may_roll_back=False)
    assert "learner step 2 replace those of step 3" in asked.needs_consent
    assert [problem.kind for problem in asked.remaining] == [ProblemKind.PARAMETER_FILE]
    done = repair(folder, may_roll_back=True)
    assert (done.needs_consent, done.remaining) == ("", ())
    assert "learner step 2" in done.actions[0]
    with Store.open(folder) as store:
        live = store.checkpoints.live()
        assert live is not None
        assert (live.file, live.meta, live.learner_steps) == (kept.file, kept.meta, 3)
        assert store.families.get("cartpole").totals.meta_updates == 3


def test_with_every_checkpoint_lost_the_published_version_takes_its_place_by_consent(
    filled: Store, folder: DataFolder
) -> None:
    damage_checkpoints(filled, folder)
    published = filled.initializations.get(1).file
    filled.close()
    assert "published version 1" in repair(folder, may_roll_back=False).needs_consent
    assert repair(folder, may_roll_back=True).remaining == ()
    with Store.open(folder) as store:
        live = store.checkpoints.live()
        assert live is not None
        assert (live.file, live.meta) == (published, {BEGIN_FROM_VERSION: 1})


def test_with_nothing_to_go_on_from_it_says_so(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        add_active_family(store)
        store.learner_steps.commit(make_step(), make_tensors(), {})
        store.damage.note(Problem(kind=ProblemKind.CHECKPOINT_LOST, subject="checkpoints", found="none is intact"))
        damage_checkpoints(store, folder)
    report = repair(folder, may_roll_back=True)
    assert report.needs_consent == ""
    assert [problem.kind for problem in report.remaining] == [ProblemKind.PARAMETER_FILE]


def test_what_the_learner_reported_is_acknowledged(filled: Store, folder: DataFolder) -> None:
    reported = Problem(kind=ProblemKind.CHECKPOINT_FALLBACK, key="3", subject="live checkpoint", found="it fell back")
    assert filled.damage.note(reported)
    assert not filled.damage.note(reported)
    filled.back_up(keep=1)
    assert filled.damage.all() == [reported]
    filled.close()
    assert repair(folder, may_roll_back=False).actions == ("acknowledged: it fell back",)
    with Store.open(folder) as store:
        assert store.damage.all() == []


@pytest.mark.parametrize("role", ["control", "learner"])
def test_nothing_is_repaired_under_a_running_daemon(filled: Store, folder: DataFolder, role: str) -> None:
    filled.close()
    with folder.hold(role), pytest.raises(FolderInUseError):
        repair(folder, may_roll_back=False)


def test_a_folder_without_a_store_is_not_repaired(folder: DataFolder) -> None:
    folder.create()
    with pytest.raises(StoreMissingError, match="there is none"):
        repair(folder, may_roll_back=False)
    assert not folder.store_path.exists()


def test_a_damaged_published_file_is_mended_when_it_is_loaded_to_write(filled: Store, folder: DataFolder) -> None:
    filled.back_up(keep=1)
    file = filled.initializations.get(1).file
    path: Path = damage_file(folder, file.sha256)
    damaged = path.read_bytes()
    with Store.open(folder, is_reader=True) as reader, pytest.raises(MemoryStoreError):
        reader.checkpoints.load_parameters(file)
    assert path.read_bytes() == damaged
    assert filled.checkpoints.load_parameters(file)
    assert filled.check() == []


@pytest.mark.parametrize("num_bytes", [0, 1])
def test_a_lost_database_is_refused_and_its_log_and_backups_are_left_alone(
    filled: Store, folder: DataFolder, num_bytes: int
) -> None:
    filled.back_up(keep=1)
    filled.close()
    folder.store_path.write_bytes(b"x" * num_bytes)
    folder.wal_path.write_bytes(b"log")
    before = sorted(path.name for path in folder.path.rglob("*"))
    with pytest.raises(StoreLostError, match="memory restore newest"):
        repair(folder, may_roll_back=True)
    assert folder.store_path.stat().st_size == num_bytes
    assert folder.wal_path.read_bytes() == b"log"
    assert sorted(path.name for path in folder.path.rglob("*")) == before


def test_the_database_of_another_store_is_refused_without_a_byte_changed(
    filled: Store, folder: DataFolder, tmp_path: Path
) -> None:
    filled.close()
    Store.open(DataFolder(tmp_path / "other")).close()
    folder.store_path.write_bytes((tmp_path / "other" / "learnd.db").read_bytes())
    before = folder.store_path.read_bytes()
    with pytest.raises(ForeignStoreError):
        repair(folder, may_roll_back=True)
    assert folder.store_path.read_bytes() == before


def test_a_missing_folder_of_parameter_files_is_filled_from_a_backup(filled: Store, folder: DataFolder) -> None:
    filled.back_up(keep=1)
    filled.close()
    shutil.rmtree(folder.parameters_path)
    report = repair(folder, may_roll_back=False)
    assert report.remaining == ()
    assert problems_of(folder) == []
