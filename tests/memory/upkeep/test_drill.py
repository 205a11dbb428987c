"""A restore drill shows whether a backup can be used, and changes nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from memory.errors import CorruptFileError
from memory.folder import DataFolder
from memory.store import Store
from memory.upkeep.drill import restore_drill
from memory.upkeep.drill_folder import drill_folder, remove_abandoned_drills
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


def test_a_drill_that_is_killed_leaves_a_folder_that_the_next_drill_removes(folder: DataFolder, backup: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from memory.upkeep.drill import restore_drill;"
        "kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        "restore_drill(Path(sys.argv[1]), within=Path(sys.argv[2]), progress=kill)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(backup), str(folder.path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    (left,) = folder.path.glob(".drill-*")
    restore_drill(backup, within=folder.path)
    assert not left.exists()
    assert not list(folder.path.glob(".drill-*"))


def test_the_folder_of_a_drill_under_way_stays_and_an_abandoned_one_goes(folder: DataFolder) -> None:
    folder.create()
    abandoned = folder.path / ".drill-abandoned.tmp"
    (abandoned / "learnd").mkdir(parents=True)
    link = folder.path / ".drill-link.tmp"
    link.symlink_to(folder.backups_path)
    with drill_folder(folder.path) as under_way:
        assert remove_abandoned_drills(folder.path) == 1
        assert under_way.is_dir()
        assert not abandoned.exists()
        assert link.is_symlink()
    assert not under_way.exists()
