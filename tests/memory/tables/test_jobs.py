from __future__ import annotations

import pytest

from memory.errors import MemoryStoreError
from memory.folder import DataFolder
from memory.records import JobKind, JobOutcome
from memory.store import Store
from tests.memory.making import Clock


def test_a_long_interval_survives_restarts(folder: DataFolder, clock: Clock) -> None:
    with Store.open(folder, clock=clock) as store:
        store.jobs.set_schedule(JobKind.BACKUP, "interval:21600", next_due_at=clock.now + 21_600)
    for _ in range(4):
        clock.now += 5 * 3600
        with Store.open(folder, clock=clock) as store:
            assert store.jobs.schedule()[0].next_due_at == 1_700_000_000.0 + 21_600


def test_starting_a_job_moves_its_schedule_in_the_same_commit(store: Store, folder: DataFolder, clock: Clock) -> None:
    store.jobs.set_schedule(JobKind.EVALUATE, "interval:60", next_due_at=clock.now)
    with Store.open(folder, is_reader=True) as reader:
        reader.data_version()
        before = reader.data_version()
        run = store.jobs.start(JobKind.EVALUATE, family=None, reason="due", next_due_at=clock.now + 60)
        assert reader.data_version() == before + 1
    (due,) = store.jobs.schedule()
    assert (due.last_started_at, due.next_due_at, due.trigger) == (clock.now, clock.now + 60, "interval:60")
    (open_run,) = store.jobs.runs()
    assert (open_run.id, open_run.outcome, open_run.finished_at) == (run, None, None)


def test_setting_a_schedule_again_keeps_the_last_start(store: Store, clock: Clock) -> None:
    store.jobs.set_schedule(JobKind.PRUNE, "interval:60", next_due_at=1.0)
    store.jobs.start(JobKind.PRUNE, family=None, reason="due")
    store.jobs.set_schedule(JobKind.PRUNE, "cron:0 3 * * *", next_due_at=2.0)
    (due,) = store.jobs.schedule()
    assert (due.trigger, due.last_started_at, due.next_due_at) == ("cron:0 3 * * *", clock.now, 2.0)


def test_a_finished_run_keeps_its_detail_and_is_counted_once(store: Store, clock: Clock) -> None:
    run = store.jobs.start(JobKind.PRACTISE, family="cartpole", reason="waited longest")
    clock.now += 3
    store.jobs.finish(run, JobOutcome.FAILED, detail={"steps": 5}, error="the worker died")
    store.jobs.finish(run, JobOutcome.SUCCEEDED)
    (ended,) = store.jobs.runs(kind=JobKind.PRACTISE)
    assert (ended.outcome, ended.detail, ended.error) == (JobOutcome.FAILED, {"steps": 5}, "the worker died")
    assert ended.finished_at == clock.now
    assert store.counters.all() == [("job_runs", {"job": "practise", "outcome": "failed"}, 1.0)]


def test_a_withdrawn_run_leaves_no_record_and_no_count(store: Store) -> None:
    kept = store.jobs.start(JobKind.PRACTISE, family="cartpole", reason="chosen")
    store.jobs.finish(kept, JobOutcome.SUCCEEDED)
    before = store.counters.all()
    store.jobs.withdraw(store.jobs.start(JobKind.PRACTISE, family="cartpole", reason="chosen"))
    store.jobs.withdraw(kept)
    assert [run.id for run in store.jobs.runs()] == [kept], "a run that has ended stays"
    assert store.counters.all() == before


def test_finishing_an_unknown_run_is_an_error(store: Store) -> None:
    with pytest.raises(MemoryStoreError, match="41"):
        store.jobs.finish(41, JobOutcome.SUCCEEDED)


def test_runs_left_open_by_a_dead_daemon_are_interrupted(store: Store) -> None:
    for kind in (JobKind.PRACTISE, JobKind.BACKUP):
        store.jobs.start(kind, family=None, reason="due")
    ended = store.jobs.start(JobKind.PRUNE, family=None, reason="due")
    store.jobs.finish(ended, JobOutcome.SUCCEEDED)
    assert store.jobs.interrupt_running() == 2
    assert store.jobs.interrupt_running() == 0
    assert [run.outcome for run in store.jobs.runs()] == ["succeeded", "interrupted", "interrupted"]
    assert ("job_runs", {"job": "backup", "outcome": "interrupted"}, 1.0) in store.counters.all()


def test_a_missed_job_is_recorded_and_counted_without_a_run(store: Store, clock: Clock) -> None:
    store.jobs.set_schedule(JobKind.BACKUP, "interval:60", next_due_at=1.0)
    store.jobs.record_outcome(JobKind.BACKUP, JobOutcome.MISSED, reason="the daemon was down", next_due_at=clock.now)
    (missed,) = store.jobs.runs()
    assert (missed.outcome, missed.reason, missed.started_at) == (
        JobOutcome.MISSED,
        "the daemon was down",
        clock.now,
    )
    assert (store.jobs.schedule()[0].last_started_at, store.jobs.schedule()[0].next_due_at) == (None, clock.now)
    assert store.counters.all() == [("job_runs", {"job": "backup", "outcome": "missed"}, 1.0)]


def test_summaries_hold_the_last_run_verdict_and_success_of_every_kind(store: Store, clock: Clock) -> None:
    first = store.jobs.start(JobKind.BACKUP, family=None, reason="due")
    store.jobs.finish(first, JobOutcome.SUCCEEDED)
    succeeded_at = clock.now
    clock.now += 100
    second = store.jobs.start(JobKind.BACKUP, family=None, reason="due")
    store.jobs.finish(second, JobOutcome.FAILED)
    third = store.jobs.start(JobKind.BACKUP, family=None, reason="due")
    store.jobs.finish(third, JobOutcome.INTERRUPTED)
    store.jobs.start(JobKind.BACKUP, family=None, reason="due")
    summaries = {summary.kind: summary for summary in store.jobs.summaries()}
    assert set(summaries) == set(JobKind)
    backup = summaries[JobKind.BACKUP]
    found = [run and run.id for run in (backup.last_run, backup.last_verdict, backup.last_success)]
    assert found == [third, second, first]
    assert backup.last_success_at == succeeded_at
    assert summaries[JobKind.PRUNE].last_run is None


def test_the_choices_of_practise_are_kept_with_their_reasons(store: Store, clock: Clock) -> None:
    for family in ("a", "b", "a"):
        clock.now += 3
        run = store.jobs.start(JobKind.PRACTISE, family=family, reason=f"chose {family}")
        store.jobs.finish(run, JobOutcome.SUCCEEDED)
    store.jobs.start(JobKind.EVALUATE, family="c", reason="due")
    assert [(run.family, run.reason) for run in store.jobs.runs(kind=JobKind.PRACTISE, limit=2)] == [
        ("a", "chose a"),
        ("b", "chose b"),
    ]
    assert store.jobs.last_practised() == {"a": clock.now, "b": clock.now - 3}
