"""A start on a full disk removes the ballast before it fails. The tests use a real small file system."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from memory.folder import BALLAST_BYTES, DataFolder
from memory.store import Store
from tests.agent.daemon.daemon_process import QUICK, DaemonProcess, until
from tests.memory.damage import fill_last_bytes

DISK_BYTES = 32 << 20
HOURLY = QUICK + "[stream]\nembedded_default = false\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 32 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "learnd-test", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def full(small_disk: Path, tmp_path: Path) -> DataFolder:
    """Return a data folder with a closed store and its ballast, on a disk without a free byte."""
    folder = DataFolder(tmp_path / "data")
    folder.path.symlink_to(small_disk / "learnd")
    (small_disk / "learnd").mkdir(mode=0o700)
    Store.open(folder).close()
    folder.hold().close()
    fill_last_bytes(small_disk / "of-another-program")
    return folder


def warnings(service: DaemonProcess) -> list[str]:
    return [line["event"] for line in service.events() if line.get("level") == "warning"]


@pytest.mark.parametrize("missing", ["", "control.lock", "parameters", "learnd.db", "store-id"])
def test_a_start_on_a_full_disk_uses_the_ballast_and_prunes(full: DataFolder, missing: str) -> None:
    if missing == "parameters":
        shutil.rmtree(full.parameters_path)
    elif missing:
        (full.path / missing).unlink()
    if missing == "learnd.db":  # as if there had never been a store
        (full.path / "store-id").unlink()
    fill_last_bytes(full.path.resolve().parent / "more")
    with DaemonProcess(full.path, config=HOURLY) as service:
        until(lambda: service.metric("learnd_job_runs_total", job="prune", outcome="succeeded"), "prune has run")
        assert any("ballast" in warning for warning in warnings(service))
        assert not full.ballast_path.exists()
        service.stop()
        assert service.process.returncode == 0


def test_a_start_on_a_full_disk_without_ballast_ends_with_the_reason(full: DataFolder) -> None:
    full.ballast_path.unlink()
    fill_last_bytes(full.path.resolve().parent / "more")
    service = DaemonProcess(full.path, config=HOURLY)
    assert service.process.wait(timeout=20) == 5
    (error,) = [line["error"] for line in service.events() if line.get("event") == "data folder cannot be used"]
    assert "Free some room" in error


def test_the_ballast_is_back_once_there_is_room(full: DataFolder) -> None:
    with DaemonProcess(full.path, config=HOURLY) as service:
        until(lambda: service.metric("learnd_job_runs_total", job="prune", outcome="succeeded"), "prune has run")
        service.stop()
    (full.path.resolve().parent / "of-another-program").unlink()
    with DaemonProcess(full.path, config=HOURLY):
        assert full.ballast_path.stat().st_size == BALLAST_BYTES
