"""The rows that the list of events is made of: notable runs, rollbacks, and the newest versions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from memory.folder import DataFolder
from memory.records import JobKind, JobOutcome
from memory.store import Store


def _run(store: Store, kind: JobKind, outcome: JobOutcome) -> int:
    run = store.jobs.start(kind, reason="due")
    store.jobs.finish(run, outcome)
    return run


def test_notable_runs_are_those_that_went_wrong_and_the_rare_ones_that_succeeded(tmp_path: Path) -> None:
    with Store.open(DataFolder(tmp_path)) as store:
        _run(store, JobKind.PRACTISE, JobOutcome.SUCCEEDED)
        _run(store, JobKind.EVALUATE, JobOutcome.SKIPPED)
        failed = _run(store, JobKind.PRACTISE, JobOutcome.FAILED)
        backup = _run(store, JobKind.BACKUP, JobOutcome.SUCCEEDED)
        missed = store.jobs.record_outcome(JobKind.PRUNE, JobOutcome.MISSED, reason="down")
        store.jobs.start(JobKind.BACKUP, reason="runs still")
        assert [run.id for run in store.jobs.notable_runs(limit=9)] == [missed, backup, failed]
        assert [run.id for run in store.jobs.notable_runs(limit=2)] == [missed, backup]


def test_rollbacks_and_the_newest_versions_come_newest_first(tmp_path: Path) -> None:
    with Store.open(DataFolder(tmp_path)) as store:
        for number in range(3):
            store.initializations.publish(
                {"w": np.full(2, number, np.float32)}, scores=(), provenance={}, reason="r", parent=number or None
            )
        store.initializations.roll_back(reason="worse")
        store.initializations.roll_back(to=1, reason="worse still")
        found = store.initializations.rollbacks(limit=5)
        assert [(r.from_version, r.to_version, r.reason) for r in found] == [(2, 1, "worse still"), (3, 2, "worse")]
        assert [version.version for version in store.initializations.newest(2)] == [3, 2]
