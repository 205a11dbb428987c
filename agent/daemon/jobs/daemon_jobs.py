"""The jobs that the daemon runs itself, in a thread with its own store: prune, backup and verify."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from agent.config.settings import MemorySettings
from agent.daemon.jobs.backup_command import run_backup_command
from agent.output.typed_json import dataclass_to_json
from memory.records import BackupCheckReport, BackupReport, JobKind, PrunePolicy, PruneReport
from memory.store import Store
from memory.upkeep.verifying import verify_backups

log = structlog.get_logger(__name__)


def run_daemon_job(
    kind: JobKind, store: Store, memory: MemorySettings, *, progress: Callable[[], None]
) -> dict[str, Any]:
    """Run prune, backup or verify, log its warnings and return its report as JSON values.

    Args:
        kind: prune, backup or verify.
        store: the store, open for writing.
        memory: the limits of the store.
        progress: called repeatedly; an exception from it ends the job.

    Raises:
        BackupCommandError: the backup was made, and the command after it failed.
    """
    report: PruneReport | BackupReport | BackupCheckReport
    if kind is JobKind.PRUNE:
        report = store.prune(prune_policy(memory, store), progress=lambda *_: progress())
    elif kind is JobKind.VERIFY:
        report = verify_backups(store.folder, progress=lambda *_: progress())
    else:
        report = store.back_up(keep=memory.keep_backups, progress=lambda *_: progress())
    for warning in report.warnings:
        log.warning("job reported a warning", job=str(kind), warning=warning)
    detail = dataclass_to_json(report)
    if isinstance(report, BackupReport) and memory.backup_command:
        detail["command"] = run_backup_command(memory.backup_command, report.path, progress=progress)
        log.info("command after the backup ended", **detail["command"])
    return detail


def prune_policy(memory: MemorySettings, store: Store) -> PrunePolicy:
    """Return the limits for prune that keep the size of the whole store within ``memory.max_size``."""
    stats = store.stats.memory_stats()
    episode_bytes = sum(family.size_bytes for family in stats.families)
    other_bytes = max(0, stats.size_bytes - stats.free_bytes - episode_bytes)
    return PrunePolicy(
        max_episode_bytes=max(0, memory.max_size - other_bytes),
        max_episode_age_s=memory.max_age,
        max_rejected=memory.keep_rejected,
    )
