"""Named shared memory that an environment made is gone with its worker; that of others stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from multiprocessing import shared_memory
from pathlib import Path

import psutil
import pytest

from envs.errors import WorkerFaultError
from envs.family import FamilySpec, Split
from envs.gymnasium.named_memory import FOLDER
from tests.envs.families import LIMITS, all_active, family, opened
from tests.envs.isolation_here import require
from tests.repository import ROOT

MAKES_MEMORY = """
import os
from multiprocessing import resource_tracker, shared_memory

from gymnasium.envs.classic_control import CartPoleEnv

class Makes(CartPoleEnv):
    def __init__(self, name, attached=""):
        super().__init__()
        self.memory = shared_memory.SharedMemory(name, create=True, size=4096)
        self.memory.buf[0] = 1
        # Without a tracker nothing removes the memory, as in simulators that are not written in Python.
        resource_tracker.unregister(self.memory._name, "shared_memory")
        self.attached = open(f"/dev/shm/{attached}", "r+b") if attached else None

    def step(self, action):
        if action == 1:
            os.abort()
        return super().step(action)
"""
SHARED = replace(LIMITS, is_isolated=False)
"""The limits of a worker that has no ``/dev/shm`` of its own."""

OWN, OTHER = f"learnd-test-{os.getpid()}-own", f"learnd-test-{os.getpid()}-other"


@pytest.fixture(autouse=True)
def _no_leftovers() -> Iterator[None]:
    yield
    for name in (OWN, OTHER):
        with suppress(FileNotFoundError):
            (FOLDER / name).unlink()


def making(folder: Path, **kwargs: str) -> FamilySpec:
    (folder / "memory_maker.py").write_text(MAKES_MEMORY)
    return family("memory_maker:Makes", import_paths=(str(folder),), kwargs={"name": OWN, **kwargs})


def test_memory_of_an_isolated_worker_is_its_own(tmp_path: Path) -> None:
    require("shared_memory")
    (FOLDER / OWN).write_bytes(b"another program's")
    with closing(opened(making(tmp_path), 1)) as tasks:
        tasks.begin(0, split=Split.TRAINING)
    assert (FOLDER / OWN).read_bytes() == b"another program's"


def test_memory_is_removed_when_the_worker_is_closed(tmp_path: Path) -> None:
    with closing(opened(making(tmp_path), 1, SHARED)) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        assert (FOLDER / OWN).exists()
    assert not (FOLDER / OWN).exists()


def test_memory_is_removed_when_the_worker_crashes(tmp_path: Path) -> None:
    import torch

    with closing(opened(making(tmp_path), 1, SHARED)) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        with pytest.raises(WorkerFaultError, match="SIGABRT"):
            tasks.step(torch.tensor([1]), all_active(1))
    assert not (FOLDER / OWN).exists()


def test_memory_is_removed_when_the_worker_is_killed_while_it_waits(tmp_path: Path) -> None:
    with closing(opened(making(tmp_path), 1, SHARED)) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        worker = psutil.Process(tasks.pid)
        os.kill(tasks.pid, signal.SIGKILL)
        psutil.wait_procs([worker], timeout=10)
    assert not (FOLDER / OWN).exists()


def test_memory_is_removed_when_the_process_that_started_the_worker_is_killed(tmp_path: Path) -> None:
    making(tmp_path)
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from envs.family import Split\n"
        "from tests.envs.families import opened\n"
        "from tests.envs.gymnasium.test_named_memory import SHARED, making\n"
        f"tasks = opened(making(Path({str(tmp_path)!r}), name={OWN!r}), 1, SHARED)\n"
        "tasks.begin(0, split=Split.TRAINING)\n"
        "print(tasks.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    worker = int(killed.stdout)
    deadline = time.monotonic() + 20
    while ((FOLDER / OWN).exists() or psutil.pid_exists(worker)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not (FOLDER / OWN).exists()


def test_memory_that_was_there_before_the_worker_stays(tmp_path: Path) -> None:
    (FOLDER / OTHER).write_bytes(bytes(16))
    with closing(opened(making(tmp_path, attached=OTHER), 1, SHARED)) as tasks:
        tasks.begin(0, split=Split.TRAINING)
    assert (FOLDER / OTHER).exists()


def test_memory_that_another_process_uses_stays(tmp_path: Path) -> None:
    with closing(opened(making(tmp_path), 1, SHARED)) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        used = (FOLDER / OWN).open("rb")
    with used:
        assert (FOLDER / OWN).exists()


def test_the_name_of_pythons_shared_memory_is_a_file_in_that_folder() -> None:
    memory = shared_memory.SharedMemory(OWN, create=True, size=16)
    assert (FOLDER / OWN).exists()
    memory.close()
    memory.unlink()
