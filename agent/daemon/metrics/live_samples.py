"""The values of the metrics that the daemon knows without the store: health, trainer, processes, limits."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent.config.settings import Settings
from agent.daemon.health import RedReason
from agent.daemon.metrics.device_usage import DeviceUsage
from agent.daemon.metrics.process_usage import ProcessUsage
from agent.daemon.metrics.snapshot_samples import Samples
from agent.daemon.processes.supervisor import TrainerState
from agent.daemon.scheduling.schedule import triggers_of
from agent.daemon.store.snapshot import Snapshot
from memory.records import JobKind


@dataclass(frozen=True, kw_only=True)
class Readings:
    """The present values that a scrape takes from the daemon.

    Attributes:
        version: learnd's version.
        red: the reasons for red health.
        trainer: the state of the trainer.
        heartbeat_age_s: seconds since the trainer's job or start made progress; 0 if it is idle.
        snapshot_age_s: seconds since the store was last read.
        disk_free_bytes: free space of the data folder's file system.
        disk_size_bytes: its size.
        is_practice_allowed: whether a window of practice is open.
        backup_age_s: see :func:`backup_age_s`.
        job_failures: number of failures in a row of each kind of job that fails.
        job_periods_s: time between the next two due times of each scheduled job.
        limits_bytes, limits_seconds: limits in force, by the settings' names.
        processes: use of memory and CPU by kind of process.
        devices: use of the GPUs.
    """

    version: str
    red: Collection[RedReason]
    trainer: TrainerState
    heartbeat_age_s: float
    snapshot_age_s: float
    disk_free_bytes: int
    disk_size_bytes: int
    is_practice_allowed: bool
    backup_age_s: float
    job_failures: Mapping[JobKind, int] = field(default_factory=dict)
    job_periods_s: Mapping[JobKind, float] = field(default_factory=dict)
    limits_bytes: Mapping[str, float] = field(default_factory=dict)
    limits_seconds: Mapping[str, float] = field(default_factory=dict)
    processes: Mapping[str, ProcessUsage] = field(default_factory=dict)
    devices: Sequence[DeviceUsage] = ()


def live_samples(readings: Readings) -> dict[str, Samples]:
    """Return the values of every metric that follows from the readings, by the metrics' names."""
    return {name: samples for part in (_service, _jobs, _resources) for name, samples in part(readings)}


def _service(readings: Readings) -> Iterator[tuple[str, Samples]]:
    yield "learnd_build_info", {(readings.version, platform.python_version()): 1.0}
    yield "learnd_health", {(str(reason),): float(reason in readings.red) for reason in RedReason}
    yield "learnd_learner_state", {(str(state),): float(state is readings.trainer) for state in TrainerState}
    yield "learnd_learner_heartbeat_age_seconds", {(): readings.heartbeat_age_s}
    yield "learnd_snapshot_age_seconds", {(): readings.snapshot_age_s}
    yield "learnd_disk_free_bytes", {(): float(readings.disk_free_bytes)}
    yield "learnd_disk_size_bytes", {(): float(readings.disk_size_bytes)}
    yield "learnd_practice_allowed", {(): float(readings.is_practice_allowed)}
    yield "learnd_backup_age_seconds", {(): readings.backup_age_s}
    yield "learnd_limit_bytes", {(setting,): float(limit) for setting, limit in readings.limits_bytes.items()}
    yield "learnd_limit_seconds", {(setting,): float(limit) for setting, limit in readings.limits_seconds.items()}


def _jobs(readings: Readings) -> Iterator[tuple[str, Samples]]:
    failures = readings.job_failures
    yield "learnd_job_failures_in_a_row", {(str(kind),): float(failures.get(kind, 0)) for kind in JobKind}
    yield "learnd_job_period_seconds", {(str(kind),): period for kind, period in readings.job_periods_s.items()}


def _resources(readings: Readings) -> Iterator[tuple[str, Samples]]:
    processes = readings.processes.items()
    yield "learnd_process_memory_bytes", {(kind,): float(usage.resident_bytes) for kind, usage in processes}
    yield "learnd_process_cpu_seconds_total", {(kind,): usage.cpu_s for kind, usage in processes}
    devices = readings.devices
    yield "learnd_device_memory_used_bytes", {(device.name,): float(device.used_bytes) for device in devices}
    yield "learnd_device_memory_size_bytes", {(device.name,): float(device.size_bytes) for device in devices}
    yield "learnd_device_utilisation_ratio", {(device.name,): device.utilisation for device in devices}


def limits_bytes(settings: Settings) -> dict[str, float]:
    """Return the limits of sizes in force, by the settings' names."""
    return {"memory.max_size": settings.memory.max_size, "workers.memory_limit": settings.workers.memory_limit}


def limits_seconds(settings: Settings) -> dict[str, float]:
    """Return the limits of times in force, by the settings' names."""
    return {
        "practise.slice_s": settings.practise.slice_s,
        "practise.wait_s": settings.practise.wait_s,
        "learner.start_timeout_s": settings.learner.start_timeout_s,
        "learner.stall_timeout_s": settings.learner.stall_timeout_s,
        "memory.max_age": settings.memory.max_age,
        "workers.step_timeout_s": settings.workers.step_timeout_s,
        "workers.start_timeout_s": settings.workers.start_timeout_s,
        "workers.quarantine_max_s": settings.workers.quarantine_max_s,
    }


def job_periods_s(settings: Settings, *, now: float) -> dict[JobKind, float]:
    """Return the time between the next two due times of each scheduled job that is not off."""
    periods = {}
    for kind, trigger in triggers_of(settings).items():
        first = trigger.next_after(now)
        second = trigger.next_after(first) if first < float("inf") else first
        if second < float("inf"):
            periods[kind] = second - first
    return periods


def backup_age_s(snapshot: Snapshot | None, *, started_at: float, now: float) -> float:
    """Return the seconds since the last successful backup.

    Before the first, they count from the first family that was added, or from the daemon's start if there is none.
    """
    since = started_at
    if snapshot is not None:
        summary = snapshot.jobs.get(JobKind.BACKUP)
        success = summary.last_success_at if summary else None
        since = success or snapshot.first_added_at or started_at
    return max(0.0, now - since)
