from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from memory.errors import FolderInUseError, MemoryStoreError
from memory.folder import BALLAST_BYTES, DataFolder

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


def test_a_created_folder_is_private_and_has_its_ballast_written_out(folder: DataFolder) -> None:
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
