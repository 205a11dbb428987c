"""Tests that a store with a missing, empty or damaged database is refused and never treated as a new one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from memory.connection import StoreConnection
from memory.errors import CorruptFileError, MemoryStoreError, StoreLostError, StoreMissingError
from memory.folder import DataFolder
from memory.opening import begin_anew
from memory.sqlite_library import sqlite3
from memory.store import Store
from tests.memory.making import add_active_family, make_step, make_tensors, publish_next


@pytest.fixture
def filled(folder: DataFolder) -> DataFolder:
    """Return a data folder with a parameter file, a backup and a closed store."""
    with Store.open(folder) as store:
        add_active_family(store)
        store.learner_steps.commit(make_step(), make_tensors(), {})
        store.back_up(keep=3)
    return folder


def remove(folder: DataFolder) -> None:
    folder.store_path.unlink()


def empty(folder: DataFolder) -> None:
    folder.store_path.write_bytes(b"")


def empty_of_tables(folder: DataFolder) -> None:
    remove(folder)
    connection = sqlite3.connect(folder.store_path)
    connection.execute("CREATE TABLE gone (x)")
    connection.execute("DROP TABLE gone")
    connection.close()
    assert folder.store_path.stat().st_size > 0


def put_a_folder_there(folder: DataFolder) -> None:
    remove(folder)
    folder.store_path.mkdir()


def put_a_dangling_link_there(folder: DataFolder) -> None:
    remove(folder)
    folder.store_path.symlink_to(folder.path / "not mounted" / "learnd.db")


def damage_the_header(folder: DataFolder) -> None:
    with folder.store_path.open("r+b") as stream:
        stream.write(bytes(100))


def cut_to(size: int) -> Callable[[DataFolder], None]:
    def cut(folder: DataFolder) -> None:
        os.truncate(folder.store_path, size)

    return cut


def is_empty_log(path: Path) -> bool:
    return path.name.endswith("-wal") and path.stat().st_size == 0


def contents(path: Path) -> dict[str, bytes | None]:
    """Return the files and folders below a path, except those that a refused start may add."""
    return {
        str(found.relative_to(path)): found.read_bytes() if found.is_file() else None
        for found in path.rglob("*")
        if found.name not in {"ballast", ".lock"} and not found.name.endswith("-shm") and not is_empty_log(found)
    }


def names_in(path: Path) -> set[str]:
    return {found.name for found in path.iterdir()}


LOST = [remove, empty, cut_to(1), empty_of_tables, put_a_folder_there, put_a_dangling_link_there]
DAMAGED = [damage_the_header, cut_to(2), cut_to(99), cut_to(100), cut_to(4096), cut_to(9000)]


@pytest.mark.parametrize("opening", [{}, {"must_exist": True}, {"is_reader": True}], ids=["write", "exist", "read"])
@pytest.mark.parametrize("lose", LOST)
def test_a_lost_database_is_refused_with_the_way_back_and_nothing_is_changed(
    filled: DataFolder, lose: Callable[[DataFolder], None], opening: dict[str, bool]
) -> None:
    lose(filled)
    before = contents(filled.path)
    with pytest.raises(StoreLostError, match=r"learnd memory restore newest.*learnd run --new"):
        Store.open(filled, **opening)
    after = contents(filled.path)
    if lose is empty_of_tables:  # the header's journal mode may change
        before.pop("learnd.db")
        after.pop("learnd.db")
    assert after == before


@pytest.mark.parametrize("is_reader", [False, True])
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_database_is_refused_with_the_way_back(
    filled: DataFolder, damage: Callable[[DataFolder], None], is_reader: bool
) -> None:
    damage(filled)
    with pytest.raises(CorruptFileError, match="learnd memory restore newest"):
        Store.open(filled, is_reader=is_reader)


def keep_only_the_parameters(folder: DataFolder) -> str:
    shutil.rmtree(folder.backups_path)
    (folder.path / "store-id").unlink()
    return "parameter files"


def keep_only_the_backups(folder: DataFolder) -> str:
    shutil.rmtree(folder.parameters_path)
    (folder.path / "store-id").unlink()
    return r"backups \(1\)"


def keep_only_an_unfinished_backup(folder: DataFolder) -> str:
    keep_only_the_backups(folder)
    (backup,) = folder.backups_path.iterdir()
    backup.rename(folder.backups_path / f".{backup.name}.ffff.tmp")
    return r"backups \(1\)"


def keep_only_the_identity(folder: DataFolder) -> str:
    shutil.rmtree(folder.backups_path)
    shutil.rmtree(folder.parameters_path)
    return "store-id"


def keep_only_what_was_replaced(folder: DataFolder) -> str:
    keep_only_the_parameters(folder)
    shutil.rmtree(folder.parameters_path)
    (folder.path / "replaced-2026-01-01T00-00-00-abcd").mkdir()
    return "replaced-2026"


def keep_only_the_log(folder: DataFolder) -> str:
    keep_only_the_parameters(folder)
    shutil.rmtree(folder.parameters_path)
    folder.wal_path.write_bytes(b"x" * 4096)
    return "learnd.db-wal"


@pytest.mark.parametrize("lose", [remove, empty])
@pytest.mark.parametrize(
    "keep",
    [
        keep_only_the_parameters,
        keep_only_the_backups,
        keep_only_an_unfinished_backup,
        keep_only_the_identity,
        keep_only_what_was_replaced,
        keep_only_the_log,
    ],
)
def test_any_part_of_a_store_is_enough_to_refuse_and_is_named(
    filled: DataFolder, keep: Callable[[DataFolder], str], lose: Callable[[DataFolder], None]
) -> None:
    lose(filled)
    named = keep(filled)
    before = contents(filled.path)
    for opening in ({}, {"is_reader": True}):
        with pytest.raises(StoreLostError, match=named):
            Store.open(filled, **opening)
    assert contents(filled.path) == before


@pytest.mark.parametrize("lose", [remove, empty, cut_to(1)])
def test_the_log_of_a_lost_database_survives_every_way_of_opening(
    folder: DataFolder, lose: Callable[[DataFolder], None]
) -> None:
    store = Store.open(folder)
    add_active_family(store)
    log = folder.wal_path.read_bytes()
    store.close()
    folder.wal_path.write_bytes(log)
    lose(folder)
    for opening in ({}, {"must_exist": True}, {"is_reader": True}):
        with pytest.raises(StoreLostError, match=r"learnd\.db-wal"):
            Store.open(folder, **opening)
    assert folder.wal_path.read_bytes() == log


@pytest.mark.parametrize("lose", [None, remove, empty])
def test_a_folder_without_any_part_of_a_store_is_a_new_one(
    folder: DataFolder, lose: Callable[[DataFolder], None] | None
) -> None:
    folder.create()
    if lose is not None:
        folder.store_path.touch()
        lose(folder)
    (folder.path / "tool.log").write_text("x")
    with pytest.raises(StoreMissingError):
        Store.open(folder, is_reader=True)
    with Store.open(folder) as store:
        assert store.families.all() == []


def test_a_first_start_that_was_killed_before_its_first_table_goes_on(folder: DataFolder) -> None:
    folder.create()
    connection = StoreConnection(folder.store_path, is_reader=False)
    before_the_commit = folder.store_path.read_bytes()
    connection.close()
    folder.store_path.write_bytes(before_the_commit)
    folder.wal_path.write_bytes(b"x" * 5000)  # a commit that was cut short
    with Store.open(folder) as store:
        assert store.families.all() == []
        assert store.identity() is not None


def test_a_store_that_must_exist_is_never_made(folder: DataFolder) -> None:
    with pytest.raises(StoreMissingError):
        Store.open(folder, must_exist=True)
    assert not folder.path.exists()
    folder.create()
    for make in (lambda: None, folder.store_path.touch):
        make()
        with pytest.raises(StoreMissingError):
            Store.open(folder, must_exist=True)
    remove(folder)
    connection = sqlite3.connect(folder.store_path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(StoreMissingError):
        Store.open(folder, must_exist=True)


def test_a_store_that_must_exist_opens_when_it_does(filled: DataFolder) -> None:
    with Store.open(filled, must_exist=True) as store:
        assert store.families.get("cartpole").totals.env_steps == 160


@pytest.mark.parametrize("lose", [*LOST, *DAMAGED])
def test_beginning_anew_sets_everything_aside_but_backups_and_earlier_folders(
    filled: DataFolder, lose: Callable[[DataFolder], None]
) -> None:
    with Store.open(filled) as store:
        old = store.identity()
    earlier = filled.path / "replaced-2026-01-01T00-00-00-abcd"
    earlier.mkdir()
    (earlier / "learnd.db").write_bytes(b"old")
    files = names_in(filled.parameters_path)
    backups = contents(filled.backups_path)
    lose(filled)
    aside = begin_anew(filled)
    assert aside is not None
    assert names_in(aside / "parameters") == files
    assert (aside / "store-id").read_text().strip() == old
    assert os.path.lexists(aside / "learnd.db") == (lose is not remove)
    assert contents(filled.backups_path) == backups
    assert (earlier / "learnd.db").read_bytes() == b"old"
    with Store.open(filled) as store:
        assert store.families.all() == []
        assert store.identity() not in {None, old}
        assert (filled.path / "store-id").read_text().strip() == store.identity()


def test_an_intact_store_is_never_set_aside(filled: DataFolder) -> None:
    before = contents(filled.path)
    with pytest.raises(MemoryStoreError, match=r"intact.*without --new"):
        begin_anew(filled)
    assert contents(filled.path) == before


def test_beginning_anew_in_an_empty_folder_sets_nothing_aside(folder: DataFolder) -> None:
    folder.create()
    assert begin_anew(folder) is None
    assert list(folder.path.glob("replaced-*")) == []
    Store.open(folder, must_exist=True).close()


def test_the_log_of_a_lost_database_is_set_aside_with_it(filled: DataFolder) -> None:
    filled.wal_path.write_bytes(b"frames")
    empty(filled)
    aside = begin_anew(filled)
    assert aside is not None
    assert (aside / "learnd.db-wal").read_bytes() == b"frames"


def test_a_published_version_survives_prune_by_the_store_that_was_begun_anew(filled: DataFolder) -> None:
    with Store.open(filled) as store:
        publish_next(store)
    files = names_in(filled.parameters_path)
    remove(filled)
    aside = begin_anew(filled)
    assert aside is not None
    from tests.memory.making import prune_only

    with Store.open(filled) as store:
        store.prune(prune_only(orphan_age_s=-1.0))
    assert names_in(aside / "parameters") == files
