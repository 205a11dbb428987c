"""What the service does now and where every family stands, as JSON values with stable keys.

Read from the store and the lock of the data folder, so it works with the daemon up or down. Loads nothing but the
store: scripts ask for it often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memory.errors import StoreMissingError
from memory.folder import DataFolder
from memory.records import CurveMetric, Family, StoredCurvePoint
from memory.store import Store


def status_report(folder: DataFolder) -> dict[str, Any]:
    """The service's status as JSON values, from the store and the lock of the data folder."""
    try:
        store = Store.open(folder, is_reader=True)
    except StoreMissingError:
        nothing: dict[str, Any] = {"policy_version": None, "learner_steps": 0, "running": [], "families": []}
        return {**_service_status(folder, None), **nothing}
    with store:
        current = store.current_initialization()
        checkpoint = store.last_checkpoint()
        service = _service_status(folder, store.daemon_status())
        return {
            **service,
            "policy_version": None if current is None else current.version,
            "learner_steps": 0 if checkpoint is None else checkpoint.learner_steps,
            "running": _running_jobs(store) if service["pid"] is not None else [],
            "families": family_reports(store.families(), store.latest_points()),
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


def _running_jobs(store: Store) -> list[dict[str, Any]]:
    return [
        {
            "run_id": run.id,
            "job": run.kind,
            "family": run.family,
            "reason": run.reason,
            "started_at": run.started_at,
        }
        for run in store.job_runs(limit=20)
        if run.outcome is None
    ]


def family_reports(families: Sequence[Family], points: Sequence[StoredCurvePoint]) -> list[dict[str, Any]]:
    """Where each family stands, as JSON values with stable keys."""
    newest = {(point.family, point.point.metric): point for point in points if not point.point.label}
    reports = []
    for family in families:
        score = newest.get((family.name, CurveMetric.EVAL_SCORE))
        trial_return = newest.get((family.name, CurveMetric.TRIAL_RETURN))
        reports.append(
            {
                "name": family.name,
                "state": family.state,
                "state_reason": family.state_reason,
                "env_steps": family.totals.env_steps,
                "trials": family.totals.trials,
                "episodes": family.totals.episodes,
                "meta_updates": family.totals.meta_updates,
                "eval_score": None if score is None else score.point.value,
                "eval_score_standard_error": None if score is None else score.point.standard_error,
                "trial_return": None if trial_return is None else trial_return.point.value,
                "evaluated_at": None if score is None else score.at,
                "strikes": family.strikes,
                "quarantined_until": family.quarantined_until,
            }
        )
    return reports
