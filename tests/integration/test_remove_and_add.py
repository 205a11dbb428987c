"""A family that is removed and added again under its name leaves nothing behind and begins a curve of its own."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from envs.gymnasium.named_memory import FOLDER
from memory.folder import DataFolder
from memory.store import Store
from tests.service import Service

ROUNDS = 10
PREFIX = f"learnd-round-{os.getpid()}-"

HOARDER = f"""
import os
import subprocess
import threading
import time
from multiprocessing import resource_tracker, shared_memory

from gymnasium.envs.classic_control import CartPoleEnv

KEPT = []

class Hoarder(CartPoleEnv):
    def __init__(self):
        super().__init__()
        name = f"{PREFIX}{{os.getpid()}}-{{time.monotonic_ns()}}"
        self.memory = shared_memory.SharedMemory(name, create=True, size=4096)
        KEPT.append(self.memory)  # as a simulator does, which unmaps its memory when its process ends
        resource_tracker.unregister(self.memory._name, "shared_memory")
        self.kept = [open(os.devnull) for _ in range(5)]
        if not threading.active_count() > 3:
            self.child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
            threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
"""
CONFIG = """
[stream]
embedded_default = false
[learner]
threads = 1
[reference]
default = "none"
[jobs]
evaluate = "off"
consolidate = "off"
[workers]
isolation = "off"  # so that the memory is that of this machine
[rl2]
num_trials_gymnasium = 4
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_rounds_of_adding_and_removing_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "hoarder.py").write_text(HOARDER)
    service = Service(tmp_path / "data", config=CONFIG)
    service.start()
    try:
        _round(service, tmp_path / "hoarder.py")
        at_rest = _trainer(service).num_fds()
        for _ in range(ROUNDS - 1):
            _round(service, tmp_path / "hoarder.py")
            # The trainer closes its ends of the pipes just after the processes have ended.
            service.wait_for(
                lambda: _trainer(service).num_fds() <= at_rest, timeout_s=20, what=f"to have {at_rest} descriptors"
            )
            assert _memory() == []
    finally:
        service.end()
    with Store.open(DataFolder(service.folder), is_reader=True) as store:
        families = store.families.all(with_removed=True)
        assert [family.name for family in families] == ["hoarder"] * ROUNDS
        assert all(family.totals.meta_updates > 0 for family in families)
        assert store.curves.latest() == []


def _round(service: Service, file: Path) -> None:
    """Add the family, wait for practice, remove it, and wait until its processes have ended."""
    service.learnd("env", "add", str(file), "--max-steps", "20", "--episodes", "1", "--no-check")
    with Store.open(DataFolder(service.folder), is_reader=True) as store:
        service.wait_for(lambda: store.families.get("hoarder").totals.meta_updates > 0, timeout_s=120, what="practice")
    assert _memory()
    service.learnd("env", "remove", "hoarder", "--yes")
    # Only the daemon and the trainer stay: the measurement of a reference ends too.
    service.wait_for(lambda: len(service.processes()) == 2, timeout_s=30, what="to end the family's processes")


def _memory() -> list[Path]:
    return list(FOLDER.glob(f"{PREFIX}*"))


def _trainer(service: Service) -> psutil.Process:
    trainer = service.learner()
    assert trainer is not None
    return trainer
