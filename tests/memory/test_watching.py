"""Tests that a daemon detects the removal or replacement of its data folder or of a file in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memory.errors import FolderLostError
from memory.folder import DataFolder
from memory.records import PrunePolicy
from memory.store import Store
from memory.watching import FolderWatch
from tests.memory.making import Clock, add_active_family, make_step, make_tensors

NAMES = ("", "control.lock", "learner.lock", "learnd.db", "learnd.db-wal", "learnd.db-shm", "parameters")


@pytest.fixture
def watch(store: Store, folder: DataFolder) -> Iterator[FolderWatch]:
    """Yield a watch of a folder that is held in both roles, with its store open."""
    add_active_family(store)
    with folder.hold("control"), folder.hold("learner"):
        watch = FolderWatch(folder)
        watch.require_unchanged()
        yield watch


def move_away(path: Path) -> None:
    path.rename(path.parent / f"{path.name}-away")


def replace(path: Path) -> None:
    move_away(path)
    away = path.parent / f"{path.name}-away"
    if away.is_dir():
        shutil.copytree(away, path)
    else:
        shutil.copy(away, path)


@pytest.mark.parametrize(("change", "found"), [(move_away, "removed"), (replace, "replaced")])
@pytest.mark.parametrize("name", NAMES)
def test_what_was_removed_or_replaced_is_noticed_and_named(
    watch: FolderWatch, name: str, change: Callable[[Path], None], found: str
) -> None:
    path = watch.folder.path / name
    change(path)
    for _ in range(2):
        with pytest.raises(FolderLostError, match=f"it was {found}") as lost:
            watch.require_unchanged()
        assert lost.value.path == path
        assert lost.value.hint


def test_a_database_that_was_emptied_in_place_is_noticed(watch: FolderWatch, store: Store) -> None:
    store.move_log_into_database()
    watch.require_unchanged()
    with watch.folder.store_path.open("r+b") as stream:
        stream.truncate(0)
    with pytest.raises(FolderLostError, match="emptied"):
        watch.require_unchanged()


def test_the_folder_is_followed_through_a_link_that_is_turned(store: Store, folder: DataFolder, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder.path)
    watch = FolderWatch(DataFolder(link))
    watch.require_unchanged()
    shutil.copytree(folder.path, tmp_path / "other")
    link.unlink()
    link.symlink_to(tmp_path / "other")
    with pytest.raises(FolderLostError, match="replaced"):
        watch.require_unchanged()


def test_ordinary_work_changes_nothing_that_is_watched(watch: FolderWatch, store: Store, clock: Clock) -> None:
    folder = watch.folder
    for number in range(3):
        store.learner_steps.commit(make_step(seed=number), make_tensors(number), {})
        store.prune(PrunePolicy(max_episode_bytes=0, max_episode_age_s=None, max_rejected=10))
        clock.now += 60
        store.back_up(keep=1)
        store.move_log_into_database()
        with Store.open(folder) as other, Store.open(folder, is_reader=True) as reader:
            other.counters.add("x", {})
            reader.families.all()
        folder.release_ballast()
        folder.restore_ballast()
        watch.require_unchanged()


def test_a_removed_log_that_is_still_open_can_be_saved(watch: FolderWatch, store: Store) -> None:
    store.learner_steps.commit(make_step(), make_tensors(), {})
    watch.folder.wal_path.unlink()
    with pytest.raises(FolderLostError) as lost:
        watch.require_unchanged()
    assert lost.value.path == watch.folder.wal_path
    assert store.move_log_into_database()
    store.close()
    with Store.open(watch.folder) as reopened:
        assert reopened.families.get("cartpole").totals.env_steps == 160
        assert reopened.check() == []
