"""The watch of the resources that the service uses, for metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import psutil
import structlog

from agent.daemon.metrics.device_usage import DeviceUsage, read_devices
from agent.daemon.metrics.process_usage import ProcessMeter, ProcessUsage
from agent.daemon.store.thread import in_daemon_thread

log = structlog.get_logger(__name__)

PERIOD_S = 10.0


class ResourceWatch:
    """A watch that reads the use of processes and GPUs every ``PERIOD_S``.

    Args:
        trainer_pid: returns the trainer's process id; None if none runs.
        uses_gpu: returns whether the trainer uses a GPU.

    Attributes:
        processes: the newest use by kind of process.
        devices: the newest use of each GPU.
    """

    def __init__(self, *, trainer_pid: Callable[[], int | None], uses_gpu: Callable[[], bool]) -> None:
        self._trainer_pid = trainer_pid
        self._uses_gpu = uses_gpu
        self._meter = ProcessMeter()
        self.processes: Mapping[str, ProcessUsage] = {}
        self.devices: tuple[DeviceUsage, ...] = ()

    async def watch(self) -> None:
        """Read the use of resources until cancelled."""
        while True:
            try:
                self.processes = await in_daemon_thread("processes", partial(self._meter.read, self._trainer_pid()))
                self.devices = await in_daemon_thread("devices", read_devices) if self._uses_gpu() else ()
            except (psutil.Error, OSError):
                log.exception("use of processes cannot be read")
            await asyncio.sleep(PERIOD_S)
