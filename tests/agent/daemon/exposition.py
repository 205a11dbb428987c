"""The text of a scrape for tests, with readings of a healthy service."""

from __future__ import annotations

import dataclasses
from typing import Any

from agent.daemon.metrics.device_usage import DeviceUsage
from agent.daemon.metrics.live_samples import Readings
from agent.daemon.metrics.process_usage import KINDS, ProcessUsage
from agent.daemon.metrics.text import MetricsText
from agent.daemon.processes.supervisor import TrainerState
from agent.daemon.store.snapshot import Snapshot
from memory.records import JobKind

READINGS = Readings(
    version="1.2.3",
    red=(),
    trainer=TrainerState.IDLE,
    heartbeat_age_s=0.0,
    snapshot_age_s=0.5,
    disk_free_bytes=2**30,
    disk_size_bytes=2**34,
    is_practice_allowed=True,
    backup_age_s=60.0,
    job_periods_s={JobKind.BACKUP: 86400.0},
    limits_bytes={"memory.max_size": 2.0**32},
    limits_seconds={"learner.stall_timeout_s": 120.0},
    processes={kind: ProcessUsage(resident_bytes=2**20, cpu_s=1.5) for kind in KINDS},
    devices=(DeviceUsage(name="cuda:0", used_bytes=2**20, size_bytes=2**30, utilisation=0.25),),
)


def new_text(snapshot: Snapshot | None, **changes: Any) -> MetricsText:
    """Return the text of a service with this snapshot, and readings of a healthy service with ``changes``."""
    readings = dataclasses.replace(READINGS, **changes)
    text = MetricsText(readings=lambda: readings, monotonic=lambda: 0.0)
    if snapshot is not None:
        text.take(snapshot)
    return text


def metrics_text(snapshot: Snapshot | None, **changes: Any) -> str:
    return new_text(snapshot, **changes).answer().body.decode()
