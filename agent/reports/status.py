"""The state of the daemon and of every family, as JSON values with stable keys.

The report is read from the store and the lock of the data folder, so it is available whether or not the daemon runs.
The module imports no more than this needs, because scripts request the report often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memory.errors import StoreMissingError
from memory.tables.overview import read_overview

if TYPE_CHECKING:
    from memory.folder import DataFolder


def status_report(folder: DataFolder) -> dict[str, Any]:
    """Return the status report as JSON values, from the store and the lock of the data folder."""
    try:
        overview = read_overview(folder)
    except StoreMissingError:
        overview = {"daemon": None, "policy_version": None, "learner_steps": 0, "running": [], "families": []}
    return status_values(overview, pid=folder.holder_pid(), row=overview["daemon"], data_dir=str(folder.path))


def status_values(
    overview: dict[str, Any], *, pid: int | None, row: dict[str, Any] | None, data_dir: str
) -> dict[str, Any]:
    """Return the status report as JSON values.

    Args:
        overview: the values of :meth:`memory.tables.overview.Overview.overview`.
        pid: the daemon's process id; None if it is not running.
        row: the daemon's last status; None if there is none.
        data_dir: path of the data folder.
    """
    service = _service_status(pid, row, data_dir)
    return {
        **service,
        "policy_version": overview["policy_version"],
        "learner_steps": overview["learner_steps"],
        "running": overview["running"] if service["pid"] is not None else [],
        "families": overview["families"],
    }


def _service_status(pid: int | None, row: dict[str, Any] | None, data_dir: str) -> dict[str, Any]:
    """Return the daemon's state.

    The row that the daemon last wrote is used only if the process that holds the lock of the data folder wrote it.
    """
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
        "needs_restart": known.get("needs_restart", []),
        "family_files": known.get("family_files", []),
        "data_dir": data_dir,
        "last_seen_at": written.get("written_at"),
        "has_ended_in_order": None if pid is not None or not row else written.get("state") == "stopped",
    }
