from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from memory.errors import FolderInUseError
from memory.folder import DataFolder
from memory.store import Store
from memory.upkeep.leftovers import remove_unfinished, unfinished_paths


@pytest.fixture
def stored(folder: DataFolder) -> DataFolder:
    """Return a data folder with an empty store."""
    Store.open(folder).close()
    return folder


def abandon(path: Path, *, age_s: float = 7200.0) -> Path:
    """Set back the time of the last write."""
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_old_unfinished_files_and_folders_are_removed_and_others_stay(stored: DataFolder) -> None:
    parameters = stored.parameters_path / ".abc.1.ff.tmp"
    parameters.write_bytes(b"half")
    backup = stored.backups_path / ".20261129T040000Z.ff.tmp"
    backup.mkdir()
    (backup / "learnd.db").write_bytes(b"half")
    young = stored.parameters_path / ".def.1.ff.tmp"
    young.write_bytes(b"half")
    before = sorted(stored.path.rglob("*"))
    removed = [abandon(parameters), abandon(backup)]
    assert unfinished_paths(stored) == sorted(removed)
    assert remove_unfinished(stored) == 2
    gone = set(before) - set(stored.path.rglob("*"))
    assert gone == {parameters, backup, backup / "learnd.db"}
    assert young.exists()


def test_the_old_store_of_a_killed_restore_is_kept(stored: DataFolder) -> None:
    aside = stored.path / ".replaced-20261129T040000Z.tmp"
    aside.mkdir()
    (aside / "learnd.db").write_bytes(b"the old store")
    abandon(aside)
    remove_unfinished(stored)
    assert (stored.path / "replaced-20261129T040000Z" / "learnd.db").read_bytes() == b"the old store"


def test_a_folder_in_use_is_not_touched(stored: DataFolder) -> None:
    path = stored.parameters_path / ".abc.1.ff.tmp"
    path.write_bytes(b"half")
    abandon(path)
    with stored.hold("learner"), pytest.raises(FolderInUseError):
        remove_unfinished(stored)
    assert path.exists()
