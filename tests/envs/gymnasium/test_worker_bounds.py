"""Tests of the bounds of a worker that are measured."""

from __future__ import annotations

from pathlib import Path

from envs.errors import FaultReason
from envs.gymnasium.worker_bounds import MIB, WorkerBounds, used_by
from envs.limits import WorkerLimits

LIMITS = WorkerLimits(max_processes=3, disk_mib=2)


def test_a_worker_within_its_bounds_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(MIB))
    assert WorkerBounds(LIMITS, str(tmp_path)).exceeded(3, 0.0) is None
    assert WorkerBounds(LIMITS, "").exceeded(3, 0.0) is None


def test_too_many_processes_are_told_with_the_setting(tmp_path: Path) -> None:
    exceeded = WorkerBounds(LIMITS, str(tmp_path)).exceeded(4, 0.0)
    assert exceeded == (FaultReason.OVER_PROCESSES, "it has 4 processes and may have 3 (workers.max_processes).")


def test_files_in_inner_folders_fill_the_folder(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("a", "inner/b", "inner/c"):
        (tmp_path / name).write_bytes(bytes(MIB))
    exceeded = WorkerBounds(LIMITS, str(tmp_path)).exceeded(1, 0.0)
    assert exceeded is not None
    reason, found = exceeded
    assert reason is FaultReason.OVER_DISK
    assert found.startswith("it filled its own folder with 3 MiB and may use 2 MiB")
    assert used_by(str(tmp_path))[1] == 4


def test_a_folder_with_many_files_is_measured_less_often(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / str(number)).touch()
    bounds = WorkerBounds(LIMITS, str(tmp_path))
    assert bounds.exceeded(1, 0.0) is None
    (tmp_path / "large").write_bytes(bytes(3 * MIB))
    assert bounds.exceeded(1, 1e-9) is None
    assert bounds.exceeded(1, 1e9) is not None
