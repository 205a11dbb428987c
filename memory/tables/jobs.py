"""Jobs: the schedule of each kind, and a record of every run."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from memory.connection import Row, StoreConnection, from_json, to_json
from memory.errors import MemoryStoreError
from memory.records import NOT_RUN, CounterValue, JobKind, JobOutcome, JobRun, JobSchedule, JobSummary, JobTime
from memory.tables.counters import CounterTable

# This takes one index lookup per family instead of one per run.
_LAST_STARTS = """
WITH RECURSIVE names(family) AS (
    SELECT min(family) FROM job_runs WHERE kind = :kind
    UNION ALL
    SELECT (SELECT min(family) FROM job_runs WHERE kind = :kind AND family > names.family)
    FROM names WHERE names.family IS NOT NULL
)
SELECT family,
       (SELECT started_at FROM job_runs WHERE kind = :kind AND family = names.family ORDER BY id DESC LIMIT 1) AS at
FROM names WHERE family IS NOT NULL
"""


VERDICTS = (JobOutcome.SUCCEEDED, JobOutcome.FAILED)
"""Outcomes of runs that came to a result."""

_TIME_TAKEN = """
SELECT kind, family, count(*) AS num_runs, sum(finished_at - started_at) AS seconds FROM job_runs
WHERE id > (SELECT max(id) FROM job_runs) - :most AND started_at >= :since AND finished_at IS NOT NULL
GROUP BY kind, family ORDER BY seconds DESC, kind, family
"""

_NOTABLE = """
SELECT * FROM job_runs
WHERE outcome IN ('failed', 'interrupted', 'missed', 'overran')
    OR (outcome = 'succeeded' AND kind IN ('admit', 'backup', 'reference'))
ORDER BY id DESC LIMIT :limit
"""

MOST_TIMED_RUNS = 20_000
"""Newest runs among which time is added up, so that the statement does not read months of runs."""


class JobTable:
    """The schedule and the runs of a store's jobs."""

    def __init__(self, connection: StoreConnection, counters: CounterTable) -> None:
        self._connection = connection
        self._counters = counters

    def set_schedule(self, kind: JobKind, trigger: str, *, next_due_at: float) -> None:
        """Set the schedule of a kind of job; the time of its last start is unchanged.

        Args:
            kind: the kind of job.
            trigger: "interval:SECONDS" or "cron:EXPRESSION".
            next_due_at: time at which the job is due next.
        """
        with self._connection.transaction("setting the schedule"):
            self._connection.execute(
                "INSERT INTO job_schedule (kind, trigger_text, next_due_at) VALUES (?, ?, ?) ON CONFLICT (kind)"
                " DO UPDATE SET trigger_text = excluded.trigger_text, next_due_at = excluded.next_due_at",
                (kind, trigger, next_due_at),
            )

    def schedule(self) -> list[JobSchedule]:
        """Return the schedule of each kind of job, sorted by the time at which it is due."""
        found = self._connection.rows("SELECT * FROM job_schedule ORDER BY next_due_at, kind")
        return [
            JobSchedule(
                kind=JobKind(row["kind"]),
                trigger=row["trigger_text"],
                last_started_at=row["last_started_at"],
                next_due_at=row["next_due_at"],
            )
            for row in found
        ]

    def start(self, kind: JobKind, *, family: str | None = None, reason: str, next_due_at: float | None = None) -> int:
        """Record the start of a job and update its schedule in the same transaction; return the run's id.

        Args:
            kind: the kind of job.
            family: the family that the job is for; None for jobs that cover all families.
            reason: the reason for the run.
            next_due_at: time at which this kind of job is due next; None leaves the time unchanged.
        """
        now = self._connection.clock()
        with self._connection.transaction("starting a job"):
            self._connection.execute(
                "UPDATE job_schedule SET last_started_at = ?, next_due_at = coalesce(?, next_due_at) WHERE kind = ?",
                (now, next_due_at, kind),
            )
            return self._connection.insert(
                "INSERT INTO job_runs (kind, family, reason, started_at) VALUES (?, ?, ?, ?)",
                (kind, family, reason, now),
            )

    def finish(
        self,
        run_id: int,
        outcome: JobOutcome,
        *,
        detail: dict[str, Any] | None = None,
        error: str = "",
        amounts: Iterable[CounterValue] = (),
    ) -> None:
        """Record the outcome of a run, and count it in ``job_runs{job, outcome}``.

        If the run already has an outcome, nothing changes.

        Args:
            run_id: the run.
            outcome: the outcome.
            detail: JSON values that the job reported.
            error: description of the error; empty if there was none.
            amounts: what other counters grow by in the same transaction.

        Raises:
            MemoryStoreError: there is no such run.
        """
        with self._connection.transaction("finishing a job"):
            row = self._connection.row("SELECT kind, outcome FROM job_runs WHERE id = ?", (run_id,))
            if row is None:
                raise MemoryStoreError(
                    operation="finishing job run", subject=str(run_id), found="there is none of that id."
                )
            if row["outcome"] is not None:
                return
            self._connection.execute(
                "UPDATE job_runs SET outcome = ?, finished_at = ?, detail = ?, error = ? WHERE id = ?",
                (outcome, self._connection.clock(), to_json(detail or {}), error, run_id),
            )
            self._count(JobKind(row["kind"]), outcome)
            self._add(amounts)

    def withdraw(self, run_id: int, *, amounts: Iterable[CounterValue] = ()) -> None:
        """Delete a run that has no outcome and that is not worth a record; do not count it, but add ``amounts``."""
        with self._connection.transaction("withdrawing a job's run"):
            self._add(amounts)
            self._connection.execute("DELETE FROM job_runs WHERE id = ? AND outcome IS NULL", (run_id,))

    def report(self, run_id: int, progress: dict[str, Any]) -> None:
        """Record the progress of a run as its detail, unless it has ended. After a power cut it may be lost."""
        with self._connection.transaction("recording a job's progress", is_durable=False):
            self._connection.execute(
                "UPDATE job_runs SET detail = ? WHERE id = ? AND outcome IS NULL", (to_json(progress), run_id)
            )

    def record_outcome(
        self,
        kind: JobKind,
        outcome: JobOutcome,
        *,
        reason: str,
        family: str | None = None,
        next_due_at: float | None = None,
        error: str = "",
    ) -> int:
        """Record an outcome that has no run (missed, overran, skipped); return the record's id."""
        now = self._connection.clock()
        with self._connection.transaction("recording a job's outcome"):
            self._connection.execute(
                "UPDATE job_schedule SET next_due_at = coalesce(?, next_due_at) WHERE kind = ?", (next_due_at, kind)
            )
            self._count(kind, outcome)
            return self._connection.insert(
                "INSERT INTO job_runs (kind, family, reason, outcome, started_at, finished_at, error)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (kind, family, reason, outcome, now, now, error),
            )

    def interrupt_running(self) -> int:
        """Mark the runs that an earlier daemon did not finish as interrupted; return their number."""
        with self._connection.transaction("interrupting the runs left open"):
            open_runs = self._connection.rows("SELECT id FROM job_runs WHERE outcome IS NULL")
            for row in open_runs:
                self.finish(row["id"], JobOutcome.INTERRUPTED, error="The daemon stopped or was killed during the run.")
        return len(open_runs)

    def _count(self, kind: JobKind, outcome: JobOutcome) -> None:
        self._counters.add("job_runs", {"job": str(kind), "outcome": str(outcome)})

    def _add(self, amounts: Iterable[CounterValue]) -> None:
        for amount in amounts:
            self._counters.add(amount.name, amount.labels, amount.value)

    def runs(self, *, kind: JobKind | None = None, limit: int = 50) -> list[JobRun]:
        """Return runs, newest first."""
        if kind is None:
            found = self._connection.rows("SELECT * FROM job_runs ORDER BY id DESC LIMIT ?", (limit,))
        else:
            found = self._connection.rows(
                "SELECT * FROM job_runs WHERE kind = ? ORDER BY id DESC LIMIT ?", (kind, limit)
            )
        return [_job_run(row) for row in found]

    def notable_runs(self, *, limit: int) -> list[JobRun]:
        """Return the newest runs that a person would look at, newest first.

        These are the runs that failed, were interrupted, missed or overran, and the successes of kinds that are rare.
        """
        return [_job_run(row) for row in self._connection.rows(_NOTABLE, {"limit": limit})]

    def summaries(self) -> list[JobSummary]:
        """Return the newest ended run, the newest one with a verdict and the newest successful one of every kind.

        Records of missed and overrun jobs are left out: such a job did not run and has no duration.
        """
        with self._connection.snapshot():
            return [self._summary(kind) for kind in JobKind]

    def _summary(self, kind: JobKind) -> JobSummary:
        ran = [outcome for outcome in JobOutcome if outcome not in NOT_RUN]
        newest = [row for outcome in ran if (row := self._newest(kind, outcome)) is not None]
        runs: dict[int, JobRun] = {}

        def last(outcomes: Collection[JobOutcome]) -> JobRun | None:
            """Return the newest run with such an outcome. A row is decoded once, because reports can be long."""
            row = max((r for r in newest if r["outcome"] in outcomes), key=lambda r: int(r["id"]), default=None)
            if row is None:
                return None
            if row["id"] not in runs:
                runs[row["id"]] = _job_run(row)
            return runs[row["id"]]

        return JobSummary(
            kind=kind, last_run=last(ran), last_verdict=last(VERDICTS), last_success=last((JobOutcome.SUCCEEDED,))
        )

    def _newest(self, kind: JobKind, outcome: JobOutcome) -> Row | None:
        return self._connection.row(
            "SELECT * FROM job_runs WHERE kind = ? AND outcome = ? ORDER BY id DESC LIMIT 1", (kind, outcome)
        )

    def time_taken(self, since: float) -> list[JobTime]:
        """Return the time that runs took which began at ``since`` or later and have ended, the longest first."""
        found = self._connection.rows(_TIME_TAKEN, {"since": since, "most": MOST_TIMED_RUNS})
        return [
            JobTime(
                kind=JobKind(row["kind"]),
                family=row["family"],
                num_runs=row["num_runs"],
                seconds=max(0.0, row["seconds"]),
            )
            for row in found
        ]

    def last_practised(self) -> dict[str, float]:
        """Return the start of each practised family's last practice run, by family name."""
        found = self._connection.rows(_LAST_STARTS, {"kind": JobKind.PRACTISE})
        return {row["family"]: row["at"] for row in found}


def _job_run(row: Row) -> JobRun:
    return JobRun(
        id=row["id"],
        kind=JobKind(row["kind"]),
        family=row["family"],
        reason=row["reason"],
        outcome=None if row["outcome"] is None else JobOutcome(row["outcome"]),
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        detail=from_json(row["detail"]),
        error=row["error"],
    )
