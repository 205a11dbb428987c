"""Prune: removal of data beyond the limits of a policy, in small transactions. It works on a full disk too."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from memory.connection import StoreConnection
from memory.errors import StoreFullError
from memory.files.parameters import ParameterFolder
from memory.folder import DataFolder
from memory.identity import foreign_store_error, identity_of_database, identity_of_folder
from memory.records import Progress, PrunePolicy, PruneReport
from memory.tables.parameter_files import forget_unreferenced
from memory.tables.stats import wal_path
from memory.tables.store_clock import advance

_FORGETTABLE_TRIALS = """
WITH bounds AS MATERIALIZED (
    SELECT id AS family_id,
           CASE WHEN state = 'removed' OR :min_trials <= 0 THEN 9223372036854775807
                ELSE coalesce((SELECT trials.id FROM trials WHERE family_id = families.id
                               ORDER BY trials.id DESC LIMIT 1 OFFSET :min_trials - 1), 0)
           END AS first_protected
    FROM families
)
SELECT trials.id, trials.size_bytes, trials.counted_s
FROM trials CROSS JOIN bounds ON bounds.family_id = trials.family_id
WHERE trials.id < bounds.first_protected
    AND NOT EXISTS (SELECT 1 FROM rehearsal_trials WHERE rehearsal_trials.trial_id = trials.id)
ORDER BY trials.id LIMIT :batch
"""
_BATCH = 500
_AGE_TOLERANCE_S = 300.0
_VACUUM_PAGES = 2_000


@dataclass(frozen=True)
class _Series:
    family_id: int
    metric: str
    label: str
    count: int


class Pruning:
    """A prune of a store.

    Every step is a separate short transaction. The trainer can therefore commit in between, and every step of a killed
    prune is either complete or not done at all.
    """

    def __init__(self, connection: StoreConnection, folder: DataFolder, parameters: ParameterFolder) -> None:
        self._connection = connection
        self._folder = folder
        self._parameters = parameters

    def prune(self, policy: PrunePolicy, *, progress: Progress | None = None) -> PruneReport:
        """Remove data beyond the limits of a policy.

        Totals, published versions and the files that rows refer to are never removed. On a full disk even deletions
        fail; the ballast file is then removed first, and written again at the end.

        Args:
            policy: the limits.
            progress: called with the kind of items being removed and the number removed so far.

        Raises:
            StoreFullError: the disk is full even without the ballast file.
            ForeignStoreError: the parameter files belong to another store; nothing was removed.
        """
        started = time.monotonic()
        tell = progress or (lambda _what, _count: None)
        size_before = self._disk_bytes()
        try:
            report = self._prune_all(policy, tell)
        except StoreFullError:
            if not self._folder.release_ballast():
                raise
            report = replace(self._prune_all(policy, tell), released_ballast=True)
        shrunk = max(0, size_before - self._disk_bytes())
        self._folder.restore_ballast()
        return replace(report, freed_bytes=report.freed_bytes + shrunk, duration_s=time.monotonic() - started)

    def _disk_bytes(self) -> int:
        path = self._folder.store_path
        return sum(part.stat().st_size for part in (path, wal_path(path)) if part.exists())

    def _prune_all(self, policy: PrunePolicy, tell: Progress) -> PruneReport:
        self._settle_interrupted_restore()
        files, freed = self._prune_files(policy, tell)
        with self._connection.transaction("counting the time"):
            counted_s = advance(self._connection, self._connection.clock())
        trials, episodes = self._prune_trials(policy, counted_s, tell)
        self._prune_encoders()
        uncertain = self._trials_of_uncertain_age(policy, counted_s)
        report = PruneReport(
            trials=trials,
            episodes=episodes,
            trials_of_uncertain_age=uncertain,
            trials_kept_for_rehearsal=int(self._connection.value("SELECT count(*) FROM rehearsal_trials")),
            warnings=self._warnings(uncertain),
            job_runs=self._prune_job_runs(policy, tell),
            learner_steps_folded=self._fold_learner_steps(policy, tell),
            curve_points=self._thin_curves(policy, tell),
            requests=self._prune_requests(policy),
        )
        rejected = self._prune_rejected(policy)
        more_files, more_freed = self._prune_files(policy, tell)
        self._shrink(tell)
        return replace(
            report,
            rejected_initializations=rejected,
            parameter_files=files + more_files,
            freed_bytes=freed + more_freed,
        )

    def _settle_interrupted_restore(self) -> None:
        """Clean up after a killed restore, unless another process holds the folder and may be restoring."""
        from memory.upkeep.interrupted_restore import settle_interrupted_restore

        if self._folder.holder_pid() in {None, os.getpid()}:
            settle_interrupted_restore(self._folder)

    def _prune_trials(self, policy: PrunePolicy, counted_s: float, tell: Progress) -> tuple[int, int]:
        """Remove trials, oldest first, until size and age meet the policy; return numbers of trials and episodes.

        The trials in the reservoirs of rehearsal stay.
        """
        trials = episodes = 0
        while batch := self._trials_to_forget(policy, counted_s):
            with self._connection.transaction("pruning trials"):
                for trial_id in batch:
                    episodes += self._forget_trial(trial_id)
            trials += len(batch)
            tell("trials", trials)
        return trials, episodes

    def _trials_to_forget(self, policy: PrunePolicy, counted_s: float) -> list[int]:
        """Return the ids of the next trials to remove: unprotected ones beyond the allowed age or size, oldest first.

        A trial's age is the time that the store has counted since the trial was recorded, not that of the wall clock.
        """
        max_age_s = policy.max_episode_age_s
        oldest_allowed = -1.0 if max_age_s is None else counted_s - max_age_s
        with self._connection.snapshot():
            excess = self._connection.value("SELECT sum(kept_bytes) FROM families") or 0
            excess -= policy.max_episode_bytes
            candidates = self._connection.rows(
                _FORGETTABLE_TRIALS, {"min_trials": policy.min_trials_per_family, "batch": _BATCH}
            )
        chosen = []
        for row in candidates:
            if excess <= 0 and row["counted_s"] >= oldest_allowed:
                break
            chosen.append(int(row["id"]))
            excess -= row["size_bytes"]
        return chosen

    def _trials_of_uncertain_age(self, policy: PrunePolicy, counted_s: float) -> int:
        """Count the trials that are too old or in the future by the wall clock, but not old by the store's clock."""
        if policy.max_episode_age_s is None:
            return 0
        now = self._connection.clock()
        return int(
            self._connection.value(
                "SELECT count(*) FROM trials WHERE counted_s >= ? AND (recorded_at < ? OR recorded_at > ?)",
                (
                    counted_s - policy.max_episode_age_s,
                    now - policy.max_episode_age_s - _AGE_TOLERANCE_S,
                    now + _AGE_TOLERANCE_S,
                ),
            )
        )

    def _warnings(self, num_uncertain: int) -> tuple[str, ...]:
        if num_uncertain == 0:
            return ()
        text = (
            f"{num_uncertain} trials have an age by the wall clock that the store did not count: the clock was set, or"
            " learnd was stopped for more than a day. They were not removed by age. Check the clock (`date`)."
        )
        return (text,)

    def _forget_trial(self, trial_id: int) -> int:
        trial = self._connection.row("SELECT * FROM trials WHERE id = ?", (trial_id,))
        if trial is None:
            return 0
        for table in ("episodes", "context_keys", "imported_trials"):
            self._connection.execute(f"DELETE FROM {table} WHERE trial_id = ?", (trial_id,))  # noqa: S608
        self._connection.execute("DELETE FROM trials WHERE id = ?", (trial_id,))
        self._connection.execute(
            "UPDATE families SET kept_trials = kept_trials - 1, kept_episodes = kept_episodes - ?,"
            " kept_bytes = kept_bytes - ? WHERE id = ?",
            (trial["num_episodes"], trial["size_bytes"], trial["family_id"]),
        )
        return int(trial["num_episodes"])

    def _prune_encoders(self) -> None:
        """Remove the context encoders of removed families."""
        with self._connection.transaction("pruning context encoders"):
            self._connection.execute(
                "DELETE FROM context_encoders WHERE family_id IN (SELECT id FROM families WHERE state = 'removed')"
            )

    def _prune_job_runs(self, policy: PrunePolicy, tell: Progress) -> int:
        """Remove old ended runs, except the newest of each kind and family and the newest success of each kind."""
        removed = 0
        for row in self._connection.rows("SELECT DISTINCT kind FROM job_runs"):
            first_kept = self._connection.value(
                "SELECT id FROM job_runs WHERE kind = ? ORDER BY id DESC LIMIT 1 OFFSET ?",
                (row["kind"], policy.max_job_runs_per_kind - 1),
            )
            if first_kept is None:
                continue
            removed += self._in_batches(
                "job runs",
                "DELETE FROM job_runs WHERE id IN (SELECT id FROM job_runs AS old WHERE kind = ?1 AND id < ?2"
                " AND outcome IS NOT NULL"
                " AND id <> (SELECT max(id) FROM job_runs WHERE kind = ?1 AND family IS old.family)"
                " AND id <> coalesce((SELECT max(id) FROM job_runs WHERE kind = ?1 AND outcome = 'succeeded'), 0)"
                " ORDER BY id LIMIT ?3)",
                (row["kind"], first_kept),
                tell,
            )
        return removed

    def _fold_learner_steps(self, policy: PrunePolicy, tell: Progress) -> int:
        """Replace old learner steps by their sums per family, so that totals still equal the sum of the records."""
        newest = self._connection.value("SELECT max(id) FROM learner_steps") or 0
        first_kept = newest - policy.max_learner_steps + 1
        folded = 0
        while True:
            with self._connection.transaction("folding learner steps"):
                self._connection.execute(
                    "INSERT INTO folded_steps SELECT family_id, count(*), sum(env_steps), sum(episodes), sum(trials),"
                    " sum(meta_updates) FROM (SELECT * FROM learner_steps WHERE id < ? ORDER BY id LIMIT ?)"
                    " WHERE true GROUP BY family_id ON CONFLICT (family_id) DO UPDATE SET"
                    " learner_steps = learner_steps + excluded.learner_steps,"
                    " env_steps = env_steps + excluded.env_steps, episodes = episodes + excluded.episodes,"
                    " trials = trials + excluded.trials, meta_updates = meta_updates + excluded.meta_updates",
                    (first_kept, _BATCH),
                )
                count = self._connection.execute(
                    "DELETE FROM learner_steps WHERE id IN"
                    " (SELECT id FROM learner_steps WHERE id < ? ORDER BY id LIMIT ?)",
                    (first_kept, _BATCH),
                )
            if count == 0:
                return folded
            folded += count
            tell("learner steps", folded)

    def _thin_curves(self, policy: PrunePolicy, tell: Progress) -> int:
        """Remove every second point of the older half of each curve that is too long."""
        found = self._connection.rows(
            "SELECT family_id, metric, label, count(*) AS count FROM curve_points"
            " GROUP BY family_id, metric, label HAVING count > ?",
            (policy.max_curve_points,),
        )
        dropped = 0
        for row in found:
            series = _Series(row["family_id"], row["metric"], row["label"], row["count"])
            dropped += self._thin_series(series, policy.max_curve_points)
            tell("curve points", dropped)
        return dropped

    def _thin_series(self, series: _Series, max_points: int) -> int:
        count, dropped = series.count, 0
        while count > max_points and count > 3:
            with self._connection.transaction("thinning a curve"):
                removed = self._connection.execute(
                    "DELETE FROM curve_points WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id)"
                    " AS position FROM curve_points WHERE family_id = ? AND metric = ? AND label = ?)"
                    " WHERE position <= ? AND position % 2 = 0)",
                    (series.family_id, series.metric, series.label, max(2, count // 2)),
                )
            count -= removed
            dropped += removed
        return dropped

    def _prune_requests(self, policy: PrunePolicy) -> int:
        with self._connection.transaction("pruning answered requests"):
            return self._connection.execute(
                "DELETE FROM requests WHERE finished_at IS NOT NULL AND id NOT IN"
                " (SELECT id FROM requests WHERE finished_at IS NOT NULL ORDER BY id DESC LIMIT ?)",
                (policy.max_finished_requests,),
            )

    def _prune_rejected(self, policy: PrunePolicy) -> int:
        with self._connection.transaction("pruning rejected initializations"):
            return self._connection.execute(
                "DELETE FROM initializations WHERE version IS NULL AND id NOT IN"
                " (SELECT id FROM initializations WHERE version IS NULL ORDER BY id DESC LIMIT ?)",
                (policy.max_rejected,),
            )

    def _in_batches(self, what: str, sql: str, parameters: tuple[object, ...], tell: Progress) -> int:
        """Run a deletion repeatedly until it finds no rows; its last parameter is the batch size."""
        total = 0
        while True:
            with self._connection.transaction(f"pruning {what}"):
                count = self._connection.execute(sql, (*parameters, _BATCH))
            if count == 0:
                return total
            total += count
            tell(what, total)

    def _prune_files(self, policy: PrunePolicy, tell: Progress) -> tuple[int, int]:
        """Remove parameter files without a reference and unfinished files; return their number and size in bytes."""
        with self._parameters.removable() as is_free:
            if not is_free:
                return 0, 0
            self._require_own_files()
            with self._connection.transaction("forgetting parameter files"):
                forgotten = forget_unreferenced(self._connection)
                recorded = {row["sha256"] for row in self._connection.rows("SELECT sha256 FROM parameter_files")}
            # A time in the future means that the clock was ahead when the file was written. Such a file counts as old.
            oldest, newest = time.time() - policy.orphan_age_s, time.time() + max(0.0, policy.orphan_age_s)
            removed, freed = self._parameters.remove_unfinished(older_than=oldest, newer_than=newest)
            for sha256, stats in self._parameters.listed().items():
                if sha256 not in recorded and (sha256 in forgotten or not oldest <= stats.st_mtime <= newest):
                    freed += self._parameters.remove(sha256)
                    removed += 1
        tell("parameter files", removed)
        return removed, freed

    def _require_own_files(self) -> None:
        """Check that the parameter files belong to this database, which has no references to another store's files.

        Raises:
            ForeignStoreError: the data folder has another UUID than the database, or none.
        """
        recorded, found = identity_of_database(self._connection), identity_of_folder(self._folder.path)
        if recorded is None or recorded != found:
            raise foreign_store_error(
                self._folder, recorded=recorded, found=found, operation="removing parameter files of"
            )

    def _shrink(self, tell: Progress) -> None:
        """Return free pages to the file system in small steps, then move the WAL into the database."""
        while (free := int(self._connection.value("PRAGMA freelist_count"))) > _VACUUM_PAGES:
            # A quarter of the pages stays free, so that the next commits do not have to grow the file again.
            if free * 4 <= int(self._connection.value("PRAGMA page_count")):
                break
            with self._connection.transaction("shrinking the database"):
                self._connection.rows(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
            tell("free pages", free)
        self._connection.truncate_wal()
