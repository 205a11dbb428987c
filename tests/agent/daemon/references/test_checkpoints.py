"""The checkpoints of measurements in the data folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from agent.daemon.references.checkpoints import MeasurementCheckpoints
from memory.folder import DataFolder
from memory.records import Family
from memory.store import Store
from tests.memory.making import add_active_family


def family(folder: Path) -> Family:
    with Store.open(DataFolder(folder)) as store:
        add_active_family(store)
        return replace(store.families.all()[0], id=1, reference_return=None)


def test_checkpoints_of_families_that_need_none_are_removed(tmp_path: Path) -> None:
    measured = family(tmp_path / "data")
    paused = replace(measured, id=2)
    known = replace(measured, id=3, reference_return=1.0)
    checkpoints = MeasurementCheckpoints(tmp_path / "measurements")
    names = [f"{number}.safetensors" for number in (1, 2, 3, 4)]
    assert checkpoints.prepare(measured, []) == tmp_path / "measurements" / names[0]
    for name in names:
        (tmp_path / "measurements" / name).touch()
    checkpoints.prepare(measured, [measured, paused, known])
    assert sorted(file.name for file in (tmp_path / "measurements").iterdir()) == names[:2]
    checkpoints.remove(measured)
    checkpoints.remove(measured)
    assert [file.name for file in (tmp_path / "measurements").iterdir()] == names[1:2]


def test_a_folder_that_cannot_be_made_does_not_prevent_the_measurement(tmp_path: Path) -> None:
    measured = family(tmp_path / "data")
    (tmp_path / "file").touch()
    checkpoints = MeasurementCheckpoints(tmp_path / "file" / "measurements")
    assert checkpoints.prepare(measured, []).name == "1.safetensors"
    checkpoints.remove(measured)
