"""The values that ``learnd status`` shows, as plain dictionaries.

Scripts poll this, so it does not import ``memory.records``, which takes longer to import than the query takes to run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memory.connection import from_json
from memory.readers import open_reader
from memory.tables.daemon_status import DaemonStatusTable
from memory.tables.reference_failures import reference_failures

if TYPE_CHECKING:
    from memory.connection import Row, StoreConnection
    from memory.folder import DataFolder

_FAMILIES = """
SELECT name, state, state_reason, families.env_steps, trials, episodes, families.meta_updates,
       score.value AS eval_score, score.standard_error AS eval_score_standard_error,
       held_out.value AS eval_return, held_out.standard_error AS eval_return_standard_error,
       performance.value AS performance, forgetting.value AS forgetting,
       trial.value AS trial_return, coalesce(held_out.at, score.at) AS evaluated_at, strikes, quarantined_until
FROM families
LEFT JOIN latest_points AS score
    ON score.family_id = families.id AND score.metric = 'eval_score' AND score.label = ''
LEFT JOIN latest_points AS held_out
    ON held_out.family_id = families.id AND held_out.metric = 'eval_return' AND held_out.label = ''
LEFT JOIN latest_points AS performance
    ON performance.family_id = families.id AND performance.metric = 'performance' AND performance.label = ''
LEFT JOIN latest_points AS forgetting
    ON forgetting.family_id = families.id AND forgetting.metric = 'forgetting' AND forgetting.label = ''
LEFT JOIN latest_points AS trial
    ON trial.family_id = families.id AND trial.metric = 'trial_return' AND trial.label = ''
WHERE ? OR state <> 'removed' ORDER BY families.id
"""
_RUNNING = """
SELECT id AS run_id, kind AS job, family, reason, started_at, detail
FROM job_runs WHERE outcome IS NULL ORDER BY id DESC
"""


class Overview:
    """An overview of the service and its families."""

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection

    def overview(self) -> dict[str, Any]:
        """Return the overview, read in one snapshot.

        Returns:
            ``daemon``: the daemon's last status, or None; ``policy_version``: None before the first version;
            ``learner_steps``; ``running``: the runs of jobs that have not ended, newest first, each with its
            ``progress``; ``families``: :meth:`family_reports`.
        """
        with self._connection.snapshot():
            return {
                "daemon": DaemonStatusTable(self._connection).get(),
                "policy_version": self._connection.value("SELECT version FROM initializations WHERE is_current = 1"),
                "learner_steps": self._connection.value("SELECT learner_steps FROM checkpoints WHERE is_live = 1") or 0,
                "running": [_running(row) for row in self._connection.rows(_RUNNING)],
                "families": self.family_reports(),
            }

    def family_reports(self, *, with_removed: bool = False) -> list[dict[str, Any]]:
        """Return each family's state, totals and newest score and return, in the order in which they were added.

        ``reference_failure`` has the failures of the measurement of its reference; None if there are none.
        """
        failures = reference_failures(self._connection)
        found = self._connection.rows(_FAMILIES, (with_removed,))
        return [
            {**dict(row), "reference_failure": failures.get(row["name"]) if row["state"] != "removed" else None}
            for row in found
        ]


def _running(row: Row) -> dict[str, Any]:
    values = dict(row)
    values["progress"] = from_json(values.pop("detail")) or None
    return values


def read_overview(folder: DataFolder) -> dict[str, Any]:
    """Return the overview of a data folder's store.

    Raises:
        StoreMissingError: there is no store.
        UnknownSchemaError: another version of learnd wrote the store.
        MemoryStoreError: the store cannot be read.
    """
    connection = open_reader(folder.store_path)
    try:
        return Overview(connection).overview()
    finally:
        connection.close()
