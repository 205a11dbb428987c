"""What the service does now and where every family stands, as JSON values with stable keys.

Read from the store and the lock of the data folder, so it works with the daemon up or down. Loads nothing but what it
reads of the store: scripts ask for it often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memory.errors import StoreMissingError
from memory.tables.overview import read_overview

if TYPE_CHECKING:
    from memory.folder import DataFolder


def status_report(folder: DataFolder) -> dict[str, Any]:
    """The service's status as JSON values, from the store and the lock of the data folder."""
    try:
        overview = read_overview(folder)
    except StoreMissingError:
        overview = {"daemon": None, "policy_version": None, "learner_steps": 0, "running": [], "families": []}
    service = _service_status(folder, overview["daemon"])
    return {
        **service,
        "policy_version": overview["policy_version"],
        "learner_steps": overview["learner_steps"],
        "running": overview["running"] if service["pid"] is not None else [],
        "families": overview["families"],
    }


def _service_status(folder: DataFolder, row: dict[str, Any] | None) -> dict[str, Any]:
    """What the daemon last wrote of itself, believed only as far as the lock of the data folder bears it out."""
    pid = folder.holder_pid()
    written = row or {}
    is_own_row = pid is not None and written.get("pid") == pid
    state = "stopped" if pid is None else str(written.get("state", "running")) if is_own_row else "starting"
    known = written if is_own_row else {}
    return {
        "state": state,
        "pid": pid,
        "since": known.get("started_at"),
        "device": known.get("device"),
        "listen": known.get("listen"),
        "learner": known.get("learner"),
        "health": {"is_healthy": pid is not None and not known.get("reasons"), "reasons": known.get("reasons", [])},
        "data_dir": str(folder.path),
        "last_seen_at": written.get("written_at"),
    }
