"""`learnd memory backups` and `learnd memory restore` on a real data folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from memory.folder import DataFolder
from memory.store import Store
from tests.cli.conftest import Learnd


def _back_up(folder: DataFolder) -> Path:
    with Store.open(folder) as store:
        return store.back_up(keep=3).path


def test_restoring_the_newest_backup_brings_back_what_was_lost(learnd: Learnd, filled: DataFolder) -> None:
    families = learnd.json("env", "list")["families"]
    backup = _back_up(filled)
    assert [found["name"] for found in learnd.json("memory", "backups")["backups"]] == [backup.name]
    filled.store_path.write_bytes(b"spilt coffee")

    answer = learnd.json("memory", "restore", "newest")

    assert Path(answer["set_aside"]).read_bytes() == b"spilt coffee"
    assert learnd.json("env", "list")["families"] == families


def test_a_backup_carried_elsewhere_is_restored_by_its_path(learnd: Learnd, filled: DataFolder, tmp_path: Path) -> None:
    carried = shutil.copytree(_back_up(filled), tmp_path / "carried")
    filled.store_path.unlink()
    answer = learnd.json("memory", "restore", str(carried))
    assert answer["set_aside"] is None
    assert learnd.json("policy", "list")["versions"]


def test_a_running_service_keeps_its_store(learnd: Learnd, filled: DataFolder) -> None:
    backup = _back_up(filled)
    with filled.hold("control"):
        error = learnd.json("memory", "restore", backup.name, code=1)["error"]
    assert str(filled.path) in error["subject"] + error["found"]
    assert not list(filled.path.glob("replaced-*"))


def test_a_damaged_backup_is_refused_and_nothing_touched(learnd: Learnd, filled: DataFolder) -> None:
    backup = _back_up(filled)
    parameters = next((backup / "parameters").glob("*.safetensors"))
    content = bytearray(parameters.read_bytes())
    content[-1] ^= 1
    parameters.unlink()  # it may be a link to another backup's
    parameters.write_bytes(bytes(content))
    before = filled.store_path.read_bytes()
    error = learnd.json("memory", "restore", "newest", code=1)["error"]
    assert parameters.stem[:8] in error["found"]
    assert filled.store_path.read_bytes() == before


def test_an_unknown_backup_is_told_with_those_there_are(learnd: Learnd, filled: DataFolder) -> None:
    backup = _back_up(filled)
    error = learnd.json("memory", "restore", "yesterday", code=1)["error"]
    assert backup.name in error["hint"]
