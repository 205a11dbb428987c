from __future__ import annotations

import pytest

from memory.errors import FolderInUseError, StoreMissingError
from memory.folder import DataFolder
from memory.records import Problem, ProblemKind
from memory.store import Store
from memory.upkeep.rebuilding import is_rebuildable, rebuild
from tests.memory.damage import break_index, damage_episode
from tests.memory.making import Clock, add_active_family, make_step, make_tensors


@pytest.fixture
def filled(folder: DataFolder, clock: Clock) -> Store:
    """Return a store with a learner step and its trials."""
    store = Store.open(folder, clock=clock)
    add_active_family(store)
    store.learner_steps.commit(make_step(), make_tensors(0), {})
    return store


def problems_of(folder: DataFolder) -> list[Problem]:
    with Store.open(folder, is_reader=True) as store:
        return store.check()


def test_a_damaged_index_is_rebuilt_and_no_longer_recorded(filled: Store, folder: DataFolder) -> None:
    break_index(filled, folder)
    assert is_rebuildable(problems_of(folder))
    assert rebuild(folder) == ("rebuilt every index of the database",)
    assert problems_of(folder) == []
    with Store.open(folder, is_reader=True) as store:
        assert store.damage.all() == []


def test_wrong_counts_of_kept_trials_are_corrected(filled: Store, folder: DataFolder) -> None:
    with filled._connection.transaction("damaging a count"):
        filled._connection.execute("UPDATE families SET kept_trials = kept_trials + 5")
    filled.close()
    assert is_rebuildable(problems_of(folder))
    assert rebuild(folder) == ("corrected the families' counts of kept trials and episodes",)
    assert problems_of(folder) == []


def test_a_damaged_episode_is_left_and_recorded(filled: Store, folder: DataFolder) -> None:
    damage_episode(filled)
    filled.close()
    assert not is_rebuildable(problems_of(folder))
    assert rebuild(folder) == ()
    with Store.open(folder, is_reader=True) as store:
        assert [problem.kind for problem in store.damage.all()] == [ProblemKind.TRIAL]


def test_totals_are_not_rebuilt_from_steps_that_may_be_missing() -> None:
    assert not is_rebuildable([Problem(subject="x", found="x", kind=ProblemKind.TOTALS, key="1:env_steps")])


def test_a_sound_store_and_a_damaged_table_have_nothing_to_rebuild() -> None:
    assert not is_rebuildable([])
    assert not is_rebuildable([Problem(subject="x", found="Tree 4 page 9: btreeInitPage() returns error code 11")])


@pytest.mark.parametrize("role", ["control", "learner"])
def test_a_store_in_use_is_not_touched(filled: Store, folder: DataFolder, role: str) -> None:
    filled.close()
    with folder.hold(role), pytest.raises(FolderInUseError):
        rebuild(folder)


def test_there_must_be_a_store(folder: DataFolder) -> None:
    with pytest.raises(StoreMissingError):
        rebuild(folder)
    assert not folder.store_path.exists()
