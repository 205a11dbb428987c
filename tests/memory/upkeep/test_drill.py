"""A restore drill shows whether a backup can be used, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory.errors import CorruptFileError
from memory.folder import DataFolder
from memory.store import Store
from memory.upkeep.drill import restore_drill
from tests.memory.making import add_active_family, make_step, make_tensors, publish_next


@pytest.fixture
def backup(folder: DataFolder) -> Path:
    """Return a backup of a store with one family and a published version."""
    with Store.open(folder) as store:
        add_active_family(store)
        store.learner_steps.commit(make_step(seed=0), make_tensors(0), {"seed": 0})
        publish_next(store)
        return store.back_up(keep=1).path


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_drill_tells_what_would_be_restored_and_changes_nothing(folder: DataFolder, backup: Path) -> None:
    before = contents(folder.path)
    drill = restore_drill(backup, within=folder.path)
    assert (drill.num_families, drill.policy_version, drill.damaged) == (1, 1, ())
    assert drill.num_trials > 0
    assert drill.size_bytes > 0
    assert contents(folder.path) == before


def test_a_drill_works_while_the_folder_is_held(folder: DataFolder, backup: Path) -> None:
    with folder.hold("control"), folder.hold("learner"):
        assert restore_drill(backup, within=folder.path).num_families == 1


def test_a_damaged_backup_fails_the_drill_and_leaves_nothing_behind(folder: DataFolder, backup: Path) -> None:
    file = next(path for path in DataFolder(backup).parameters_path.rglob("*") if path.is_file())
    file.chmod(0o600)
    file.write_bytes(b"damaged")
    with pytest.raises(CorruptFileError, match="verifying the backup"):
        restore_drill(backup, within=folder.path)
    assert not list(folder.path.glob(".drill-*"))
