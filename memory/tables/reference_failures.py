"""The failures of measurements of reference returns, read from the runs of jobs.

``learnd status`` uses this module, so it does not import ``memory.records`` (see :mod:`memory.tables.overview`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memory.connection import StoreConnection

# Interrupted runs are left out, and so are runs of a removed family of the same name. With max(), SQLite takes the
# other columns from the row that has the maximum.
_FAILURES = """
SELECT families.name, count(*) AS count, max(runs.id) AS newest, runs.error, runs.finished_at AS ended_at
FROM families
JOIN job_runs AS runs
    ON runs.kind = 'reference' AND runs.family = families.name AND runs.started_at >= families.created_at
WHERE families.state <> 'removed' AND families.reference_return IS NULL AND runs.outcome = 'failed'
    AND runs.id > coalesce((
        SELECT max(id) FROM job_runs AS others
        WHERE others.kind = 'reference' AND others.family = families.name
            AND others.outcome NOT IN ('failed', 'interrupted')
    ), 0)
GROUP BY families.id
"""


def reference_failures(connection: StoreConnection) -> dict[str, dict[str, Any]]:
    """Return the failures of each family whose reference could not be measured, since its last run that did not fail.

    Returns:
        Name of the family → ``count``: the number of failures in a row; ``error`` and ``ended_at`` of the newest.
    """
    return {
        row["name"]: {"count": row["count"], "error": row["error"], "ended_at": row["ended_at"]}
        for row in connection.rows(_FAILURES)
    }
