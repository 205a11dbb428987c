"""Tests of a store's UUID in the database, the data folder and the backups."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from memory.errors import ForeignStoreError, MemoryStoreError
from memory.folder import DataFolder
from memory.identity import identity_of_folder, write_identity
from memory.sqlite_library import sqlite3
from memory.store import Store
from tests.memory.making import add_active_family, make_step, make_tensors, prune_only


def make_legacy(folder: DataFolder) -> list[Path]:
    """Downgrade a store with two backups to the format from before stores had UUIDs; return the backups."""
    with Store.open(folder) as store:
        add_active_family(store)
        store.learner_steps.commit(make_step(), make_tensors(), {})
        backups = [store.back_up(keep=3).path for _ in range(2)]
    for path in (folder.path, *backups):
        connection = sqlite3.connect(path / "learnd.db")
        with connection:
            connection.execute("DROP TABLE store_identity")
            connection.execute("DELETE FROM _sqlite_migrations WHERE name = 'add_store_identity'")
        connection.close()
        (path / "store-id").unlink(missing_ok=True)
    return backups


def test_a_new_store_has_its_uuid_beside_the_database(store: Store, folder: DataFolder) -> None:
    assert store.identity() is not None
    assert identity_of_folder(folder.path) == store.identity()


def test_two_stores_have_different_uuids(tmp_path: Path) -> None:
    with Store.open(DataFolder(tmp_path / "one")) as one, Store.open(DataFolder(tmp_path / "other")) as other:
        assert one.identity() != other.identity()


def test_a_legacy_store_and_its_backups_get_one_uuid(folder: DataFolder) -> None:
    backups = make_legacy(folder)
    with Store.open(folder) as store:
        identity = store.identity()
        assert identity is not None
        assert [identity_of_folder(path) for path in (folder.path, *backups)] == [identity] * 3
        assert store.families.get("cartpole").totals.env_steps == 160


def test_a_backup_that_has_a_uuid_keeps_it(folder: DataFolder) -> None:
    first, second = make_legacy(folder)
    theirs = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
    write_identity(first, theirs)
    with Store.open(folder) as store:
        assert (identity_of_folder(first), identity_of_folder(second)) == (theirs, store.identity())


def test_a_missing_or_unreadable_store_id_is_written_again(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        identity = store.identity()
    for damage in ((folder.path / "store-id").unlink, lambda: (folder.path / "store-id").write_text("half")):
        damage()
        Store.open(folder).close()
        assert identity_of_folder(folder.path) == identity


def test_the_database_of_another_store_is_refused_to_writers_and_open_to_readers(tmp_path: Path) -> None:
    ours, theirs = DataFolder(tmp_path / "ours"), DataFolder(tmp_path / "theirs")
    for folder in (ours, theirs):
        with Store.open(folder) as store:
            add_active_family(store, folder.path.name)
    ours.store_path.write_bytes(theirs.store_path.read_bytes())
    before = ours.store_path.read_bytes()
    for opening in ({}, {"must_exist": True}):
        with pytest.raises(ForeignStoreError, match=r"UUID.*learnd memory restore newest"):
            Store.open(ours, **opening)
    assert ours.store_path.read_bytes()[100:] == before[100:]
    with Store.open(ours, is_reader=True) as reader:
        assert [family.name for family in reader.families.all()] == ["theirs"]


@pytest.mark.parametrize("identity", [None, "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"])
def test_prune_removes_no_parameter_file_of_another_store(
    store: Store, folder: DataFolder, identity: str | None
) -> None:
    orphan = folder.parameters_path / ("0" * 64 + ".safetensors")
    orphan.write_bytes(b"x")
    os.utime(orphan, (time.time() - 7200,) * 2)
    own = identity_of_folder(folder.path)
    assert own is not None
    if identity is None:
        (folder.path / "store-id").unlink()
    else:
        write_identity(folder.path, identity)
    with pytest.raises(ForeignStoreError):
        store.prune(prune_only(orphan_age_s=0.0))
    assert orphan.exists()
    write_identity(folder.path, own)
    store.prune(prune_only(orphan_age_s=0.0))
    assert not orphan.exists()


def test_a_folder_in_the_place_of_the_uuid_is_reported_as_an_error_of_the_store(folder: DataFolder) -> None:
    Store.open(folder).close()
    (folder.path / "store-id").unlink()
    (folder.path / "store-id").mkdir()
    with pytest.raises(MemoryStoreError, match="Is a directory") as refused:
        Store.open(folder)
    assert refused.value.subject.endswith("store-id")


def test_a_file_in_the_place_of_the_folder_has_no_uuid(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert identity_of_folder(tmp_path / "data") is None
