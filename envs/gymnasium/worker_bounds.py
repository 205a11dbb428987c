"""Bounds of a worker that are measured at intervals: its number of processes, and the files in its own folder."""

from __future__ import annotations

import os
import time

from envs.errors import FaultReason
from envs.limits import WorkerLimits

MIB = 1 << 20

MAX_FILES = 100_000
"""Number of files in the worker's own folder above which they are no longer counted, but too many."""

MEASURING_SHARE = 0.02
"""Largest share of time spent on measuring the folder; with many files it is measured less often."""


class WorkerBounds:
    """The bounds of one worker.

    Args:
        limits: the limits of the worker.
        folder: the worker's own folder; "" for none.
    """

    def __init__(self, limits: WorkerLimits, folder: str) -> None:
        self._limits = limits
        self._folder = folder
        self._measure_at = 0.0

    def exceeded(self, num_processes: int, now_s: float) -> tuple[FaultReason, str] | None:
        """Return the reason why the worker must end, in words too; None if it keeps its bounds.

        Args:
            num_processes: number of the worker's processes.
            now_s: the present time of the monotonic clock.
        """
        if num_processes > self._limits.max_processes:
            found = f"it has {num_processes} processes and may have {self._limits.max_processes}"
            return FaultReason.OVER_PROCESSES, f"{found} (workers.max_processes)."
        if not self._folder or now_s < self._measure_at:
            return None
        started = time.monotonic()
        num_bytes, num_files = used_by(self._folder)
        self._measure_at = now_s + (time.monotonic() - started) / MEASURING_SHARE
        if num_files >= MAX_FILES:
            return FaultReason.OVER_DISK, f"it made {MAX_FILES} files in its own folder."
        if num_bytes > self._limits.disk_mib * MIB:
            found = f"it filled its own folder with {num_bytes // MIB} MiB and may use {self._limits.disk_mib} MiB"
            return FaultReason.OVER_DISK, f"{found} (workers.disk_limit)."
        return None


def used_by(folder: str) -> tuple[int, int]:
    """Return the size on disk in bytes and the number of the files below a folder, up to ``MAX_FILES``."""
    num_bytes = num_files = 0
    to_visit = [folder]
    while to_visit and num_files < MAX_FILES:
        try:
            entries = os.scandir(to_visit.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        to_visit.append(entry.path)
                except OSError:
                    continue
                num_bytes += 512 * status.st_blocks
                num_files += 1
    return num_bytes, num_files
