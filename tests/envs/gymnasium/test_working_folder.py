"""Tests of the working folder: it does not depend on the process or folder that starts the worker."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch

from envs.admission import probe
from envs.errors import EnvsError, FamilySpecError, FaultReason, WorkerFaultError
from envs.family import FamilySpec, Split
from envs.gymnasium.working_folder import WorkingFolder
from tests.envs.families import FOLDER, LIMITS, all_active, family, opened, sound


def first_observation(spec: FamilySpec) -> list[float]:
    tasks = opened(spec)
    try:
        return tasks.begin(0, split=Split.TRAINING)[0].tolist()
    finally:
        tasks.close()


def reading(file: str, *folders: Path, when: str = "reset") -> FamilySpec:
    paths = tuple(str(folder) for folder in folders)
    return sound("ReadsFile", kwargs={"file": file, "when": when}, import_paths=paths)


@pytest.fixture
def folder_with_level(tmp_path: Path) -> Path:
    folder = tmp_path / "with_level"
    (folder / "levels").mkdir(parents=True)
    (folder / "levels" / "first.txt").write_text("1 2 3")
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's working folder; modules in this folder can be imported without a path."""
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_relative_paths_start_in_the_first_import_path(folder_with_level: Path, elsewhere: Path) -> None:
    assert first_observation(reading("levels/first.txt", folder_with_level, elsewhere)) == [1, 2, 3]


def test_an_import_path_that_is_no_folder_is_passed_over(folder_with_level: Path, elsewhere: Path) -> None:
    archive = elsewhere / "modules.zip"
    archive.write_bytes(b"")
    spec = reading("levels/first.txt", elsewhere / "missing", archive, folder_with_level)
    assert first_observation(spec) == [1, 2, 3]


@pytest.mark.usefixtures("elsewhere")
def test_a_file_that_exists_only_where_the_user_stands_is_not_found_and_the_folder_is_told(
    folder_with_level: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder_with_level)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(EnvsError, match=rf"levels/first\.txt.*worker's folder, {other}\)"):
        probe(reading("levels/first.txt", other), limits=LIMITS)
    with pytest.raises(WorkerFaultError, match=rf"levels/first\.txt.*worker's folder, {other}\)") as caught:
        first_observation(reading("levels/first.txt", other))
    assert caught.value.reason is FaultReason.RAISED
    with pytest.raises(WorkerFaultError, match=rf"did not start.*worker's folder, {other}\)"):
        first_observation(reading("levels/first.txt", other, when="made"))


@pytest.mark.usefixtures("elsewhere")
def test_an_absolute_path_that_is_missing_is_told_without_the_folder() -> None:
    with pytest.raises(WorkerFaultError) as caught:
        first_observation(reading("/no/such/level.txt"))
    assert "worker's folder" not in caught.value.found


@pytest.mark.usefixtures("elsewhere")
def test_without_an_import_path_the_folder_is_private_writable_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(tmp_path.iterdir())
    tasks = opened(sound("WritesFile", import_paths=()))
    tasks.begin(0, split=Split.TRAINING)
    seen = tasks.step(torch.zeros(2, dtype=torch.int64), all_active(2)).observation
    [made] = set(tmp_path.iterdir()) - before
    assert made.stat().st_mode & 0o777 == 0o700
    tasks.close()
    assert seen[:, 0].tolist() == [1, 1]
    assert set(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("elsewhere")
def test_the_private_folder_is_removed_where_the_worker_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(tmp_path.iterdir())
    with pytest.raises(WorkerFaultError, match="could not be started"):
        opened(sound("Counter", import_paths=(), python="/no/such/python"))
    with pytest.raises(FamilySpecError):
        opened(family("CartPol-v1", import_paths=()))
    assert set(tmp_path.iterdir()) == before


def test_a_family_runs_where_no_private_folder_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    folder = WorkingFolder(family("CartPole-v1", import_paths=()))
    folder.close()
    assert folder.path == "/"


@pytest.mark.usefixtures("elsewhere")
def test_a_shared_library_that_is_missing_is_told_without_the_folder(tmp_path: Path) -> None:
    text = "import ctypes\ndef make():\n    ctypes.CDLL('libmissing.so.1')\n"
    (tmp_path / "needs_library.py").write_text(text)
    with pytest.raises(WorkerFaultError, match="libmissing") as caught:
        opened(family("needs_library:make", import_paths=(str(tmp_path),)))
    assert "worker's folder" not in caught.value.found
