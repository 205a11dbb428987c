from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from memory.errors import FolderInUseError, MemoryStoreError
from memory.folder import BALLAST_BYTES, DataFolder
from memory.store import Store

HOLDER = """
import sys, time
from pathlib import Path
from memory.folder import DataFolder
held = DataFolder(Path(sys.argv[1])).hold(sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""


def start_holder(folder: DataFolder, name: str = "control") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder.path), name], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_created_folder_is_private_and_has_the_space_of_its_ballast_allocated(folder: DataFolder) -> None:
    folder.create()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    ballast = folder.ballast_path.stat()
    assert ballast.st_size == BALLAST_BYTES
    assert ballast.st_blocks * 512 >= BALLAST_BYTES
    assert folder.parameters_path.is_dir()


def test_creating_a_folder_again_changes_nothing(folder: DataFolder) -> None:
    folder.create()
    before = folder.ballast_path.stat().st_mtime_ns
    folder.create()
    assert folder.ballast_path.stat().st_mtime_ns == before


def test_a_folder_where_a_file_stands_is_refused_with_its_path_and_a_hint(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(MemoryStoreError, match=r"taken.*--data-dir"):
        DataFolder(tmp_path / "taken").create()


def test_a_second_holder_is_refused_with_the_pid_of_the_first(folder: DataFolder) -> None:
    folder.create()
    process = start_holder(folder)
    try:
        with pytest.raises(FolderInUseError, match=f"process {process.pid} ") as refused:
            folder.hold()
        assert refused.value.pid == process.pid
        assert folder.holder_pid() == process.pid
        with folder.hold("learner"):
            assert folder.holder_pid("learner") == os.getpid()
    finally:
        end(process)


def test_a_holder_in_the_same_process_is_refused_too(folder: DataFolder) -> None:
    folder.create()
    with folder.hold(), pytest.raises(FolderInUseError, match=f"process {os.getpid()} "):
        folder.hold()


def test_a_killed_holder_lets_go_of_the_folder(folder: DataFolder) -> None:
    folder.create()
    process = start_holder(folder)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert folder.holder_pid() is None
    folder.hold().close()


def test_nobody_holds_a_folder_that_was_let_go_or_never_made(folder: DataFolder) -> None:
    assert folder.holder_pid() is None
    folder.create()
    held = folder.hold()
    held.close()
    held.close()
    assert folder.holder_pid() is None


def test_looking_who_holds_a_folder_does_not_take_the_lock(folder: DataFolder) -> None:
    folder.create()
    folder.hold().close()
    for _ in range(100):
        assert folder.holder_pid() is None
        with folder.hold():
            assert folder.holder_pid() == os.getpid()


def test_released_ballast_is_put_back_when_there_is_room(folder: DataFolder) -> None:
    folder.create()
    assert folder.release_ballast()
    assert not folder.release_ballast()
    assert folder.restore_ballast()
    assert folder.ballast_path.stat().st_size == BALLAST_BYTES


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o775, 0o757, 0o1777])
def test_a_folder_that_others_may_write_to_is_refused_with_the_command_that_closes_it(
    folder: DataFolder, mode: int
) -> None:
    Store.open(folder).close()
    folder.path.chmod(mode)
    for opening in ({}, {"must_exist": True}):
        with pytest.raises(MemoryStoreError, match=f"chmod 700 {folder.path}"):
            Store.open(folder, **opening)
    folder.path.chmod(0o700)
    Store.open(folder).close()


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
def test_a_folder_that_others_may_read_is_used_as_it_is(folder: DataFolder, mode: int) -> None:
    folder.path.mkdir()
    folder.path.chmod(mode)
    folder.create()
    assert stat.S_IMODE(folder.path.stat().st_mode) == mode


def test_another_users_folder_is_refused_unless_root_asks(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.create()
    owner = folder.path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(MemoryStoreError, match=f"another user.*uid {owner};"):
        folder.require_private()
    for allowed in (owner, 0):
        monkeypatch.setattr(os, "geteuid", lambda allowed=allowed: allowed)
        folder.require_private()


@pytest.mark.parametrize("name", ["control", "learner"])
def test_removing_a_lock_file_lets_no_second_holder_in(folder: DataFolder, name: str) -> None:
    folder.create()
    process = start_holder(folder, name)
    try:
        folder.lock_path(name).unlink()
        with pytest.raises(FolderInUseError, match=f"process {process.pid} "):
            folder.hold(name)
        assert not folder.lock_path(name).exists()
        assert folder.holder_pid(name) == process.pid
    finally:
        end(process)
    folder.hold(name).close()


def test_a_folder_put_in_the_place_of_a_held_one_can_be_held(folder: DataFolder, tmp_path: Path) -> None:
    folder.create()
    with folder.hold():
        folder.path.rename(tmp_path / "away")
        folder.create()
        with folder.hold():
            assert folder.holder_pid() == os.getpid()


def test_a_holder_is_orphaned_once_the_process_that_started_it_has_ended(folder: DataFolder) -> None:
    folder.create()
    starter = (
        "import subprocess, sys; process = subprocess.Popen([sys.executable, '-c', *sys.argv[1:]],"
        "stdout=subprocess.PIPE); process.stdout.readline(); print(process.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", starter, HOLDER, str(folder.path), "learner"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        try:
            assert folder.holder_pid("learner") == pid
            assert not folder.is_orphaned("learner")
            parent.kill()
            parent.wait()
            until_true(lambda: folder.is_orphaned("learner"))
        finally:
            os.kill(pid, signal.SIGKILL)


def test_a_process_that_does_not_have_the_lock_file_open_is_no_orphan(folder: DataFolder) -> None:
    folder.create()
    process = start_holder(folder, "learner")
    try:
        folder.lock_path("learner").write_text("1\n0\n")
        assert not folder.is_orphaned("learner")
    finally:
        end(process)


def test_nobody_is_an_orphan_where_nobody_holds_the_folder(folder: DataFolder) -> None:
    folder.create()
    folder.hold("learner").close()
    assert not folder.is_orphaned("learner")


def until_true(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come true")
