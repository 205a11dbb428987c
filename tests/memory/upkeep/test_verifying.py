"""Backups are checked again, because a disk can damage them after they were made."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory.errors import DamagedBackupsError
from memory.folder import DataFolder
from memory.store import Store
from memory.upkeep.verifying import verify_backups
from tests.memory.making import add_active_family, make_step, make_tensors, publish_next


@pytest.fixture
def backups(folder: DataFolder) -> list[Path]:
    """Return two backups, oldest first."""
    with Store.open(folder) as store:
        add_active_family(store)
        paths = []
        for number in range(2):
            store.learner_steps.commit(make_step(seed=number), make_tensors(number), {"seed": number})
            publish_next(store)
            paths.append(store.back_up(keep=5).path)
    return paths


def test_intact_backups_are_named_newest_first(folder: DataFolder, backups: list[Path]) -> None:
    assert verify_backups(folder).checked == tuple(path.name for path in reversed(backups))


def test_without_backups_there_is_nothing_to_check(folder: DataFolder) -> None:
    folder.create()
    assert verify_backups(folder).checked == ()


@pytest.mark.parametrize("part", ["file", "database", "missing"])
def test_a_damaged_backup_is_an_error_with_its_name(folder: DataFolder, backups: list[Path], part: str) -> None:
    damaged = DataFolder(backups[0])
    if part == "file":
        file = next(path for path in damaged.parameters_path.rglob("*") if path.is_file())
        file.unlink()  # the newer backup may share it
        file.write_bytes(b"damaged")
    elif part == "database":
        damaged.store_path.write_bytes(b"damaged" * 1000)
    else:
        damaged.store_path.unlink()
    with pytest.raises(DamagedBackupsError, match="is damaged") as caught:
        verify_backups(folder)
    assert caught.value.backups == (damaged.path.name,)
    assert damaged.path.name in caught.value.found
    assert backups[1].name not in caught.value.found
