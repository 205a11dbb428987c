"""Tests of jobs of the trainer: faults cost strikes, slices are committed whole, evaluation changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agent.trainer.faults import quarantine_s
from agent.trainer.gate import KnownReturn
from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.jobs.evaluate import evaluate
from agent.trainer.known_returns import best_returns, stored_return
from envs.errors import FamilySpecError, FaultReason, WorkerFaultError
from envs.registry import open_tasks
from memory.records import CurveMetric, FamilyState, JobKind, JobOutcome
from memory.store import Store
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, practise, settings_for
from tests.agent.trainer.running import UPDATES_TO_LEARN, FailingTasks, run_jobs, train


def test_a_worker_fault_costs_a_strike_and_leaves_the_learner_as_it_was(
    store: Store, open_session: SessionMaker
) -> None:
    feed_bandits(store)
    failing = True

    def open_failing(*arguments: Any, **named: Any) -> Any:
        tasks = open_tasks(*arguments, **named)
        return FailingTasks(tasks) if failing else tasks

    session = open_session(store, opener=open_failing)
    before = session.learner.to_tensors()
    (report,) = run_jobs(session, JobKind.PRACTISE)
    assert (report["outcome"], report["detail"]["fault"]) == (JobOutcome.FAILED, "killed")
    assert store.families.get("bandits").strikes == 1
    assert session.learner.to_tensors().keys() == before.keys()
    assert all(torch.equal(tensor, session.learner.to_tensors()[name]) for name, tensor in before.items())

    failing = False
    (report,) = run_jobs(session, JobKind.PRACTISE)
    assert report["outcome"] is JobOutcome.SUCCEEDED
    assert store.families.get("bandits").strikes == 0


def test_strikes_in_a_row_quarantine_a_family_for_longer_each_time(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store)
    session = open_session(store, opener=lambda *a, **n: FailingTasks(open_tasks(*a, **n)), clock=lambda: 1000.0)
    run_jobs(session, *[JobKind.PRACTISE] * 4)
    assert store.families.get("bandits").state is FamilyState.ACTIVE
    run_jobs(session, JobKind.PRACTISE)
    family = store.families.get("bandits")
    assert (family.state, family.quarantined_until) == (FamilyState.QUARANTINED, 1060.0)
    assert "killed by signal 9" in family.state_reason
    assert [quarantine_s(n, first_s=60, longest_s=300) for n in range(4)] == [60, 120, 240, 300]


def test_one_familys_fault_does_not_keep_another_from_being_evaluated(store: Store, open_session: SessionMaker) -> None:
    families = [feed_bandits(store, "broken"), feed_bandits(store, "sound")]

    def open_some(spec: Any, *arguments: Any, **named: Any) -> Any:
        tasks = open_tasks(spec, *arguments, **named)
        return FailingTasks(tasks) if spec.name == "broken" else tasks

    assert evaluate(open_session(store, opener=open_some), families)["scores"].keys() == {"sound"}


def test_a_job_that_raises_is_reported_and_the_next_one_runs(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store)
    session = open_session(store)
    reports = run_jobs(session, JobKind.PRACTISE, JobKind.EVALUATE, family="nobody")
    assert [report["outcome"] for report in reports] == [JobOutcome.FAILED] * 2
    assert "nobody" in reports[0]["error"]
    assert run_jobs(session, JobKind.PRACTISE)[0]["outcome"] is JobOutcome.SUCCEEDED


@pytest.mark.parametrize("state", [FamilyState.ACTIVE, FamilyState.PAUSED])
def test_admitting_a_family_again_leaves_it_as_it_stands(
    store: Store, open_session: SessionMaker, state: FamilyState
) -> None:
    feed_bandits(store)
    store.families.set_state("bandits", state)
    assert run_jobs(open_session(store), JobKind.ADMIT)[0]["outcome"] is JobOutcome.SKIPPED
    assert store.families.get("bandits").state is state


def test_a_paused_family_is_not_practised(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store)
    store.families.set_state("bandits", FamilyState.PAUSED)
    assert run_jobs(open_session(store), JobKind.PRACTISE)[0]["outcome"] is JobOutcome.SKIPPED


def test_checkpoint_skips_until_something_is_learned(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store)
    reports = run_jobs(open_session(store), JobKind.CHECKPOINT, JobKind.PRACTISE, JobKind.CHECKPOINT)
    assert [report["outcome"] for report in reports] == [
        JobOutcome.SKIPPED,
        JobOutcome.SUCCEEDED,
        JobOutcome.SUCCEEDED,
    ]
    assert len(store.checkpoints.kept()) == 1


def test_evaluation_is_repeatable_and_changes_nothing_of_the_learner(store: Store, open_session: SessionMaker) -> None:
    family = feed_bandits(store)
    session = open_session(store)
    practise(session, family, reason="test")
    before = session.learner.to_tensors()
    first, second = evaluate(session, [family]), evaluate(session, [family])
    assert first == second
    assert all(torch.equal(tensor, session.learner.to_tensors()[name]) for name, tensor in before.items())
    points = store.curves.points("bandits", CurveMetric.EPISODE_RETURN)
    assert [point.point.label for point in points[:5]] == ["0", "1", "2", "3", "4"]


def test_a_slice_that_is_told_to_stop_commits_what_is_whole(store: Store, open_session: SessionMaker) -> None:
    family = feed_bandits(store)
    session = open_session(store, settings=settings_for(store.folder.path, practise={"slice_s": 3600}))
    beats = 0

    def stop_in_the_third_batch(units: int = 1) -> None:
        nonlocal beats
        beats += units
        if beats > 12:  # A batch has five steps.
            raise JobInterruptedError

    session.heartbeat.beat_or_give_up = stop_in_the_third_batch  # type: ignore[method-assign]
    practise(session, family, reason="test")
    assert store.families.get("bandits").totals.meta_updates == 2
    assert next(iter(session.next_task.values())) == 128
    kept = sorted(trial.task["index"] for trial in store.trials.of_family("bandits", limit=100))
    assert kept == list(range(64, 64 + len(kept)))  # From the second batch, although the third had begun.


def test_a_slice_told_to_stop_before_its_first_update_keeps_nothing(store: Store, open_session: SessionMaker) -> None:
    family = feed_bandits(store)
    session = open_session(store)

    def stop(_units: int = 1) -> None:
        raise JobInterruptedError

    session.heartbeat.beat_or_give_up = stop  # type: ignore[method-assign]
    with pytest.raises(JobInterruptedError):
        practise(session, family, reason="test")
    assert store.families.get("bandits").totals.meta_updates == 0


def test_a_pause_outlives_strikes(store: Store, open_session: SessionMaker) -> None:
    family = feed_bandits(store)
    store.families.set_state("bandits", FamilyState.PAUSED)
    session = open_session(store)
    fault = WorkerFaultError(subject="bandits", reason=FaultReason.HUNG, found="no answer")
    for _ in range(session.settings.workers.max_strikes + 1):
        session.faults.record(family, fault)
    assert store.families.get("bandits").state is FamilyState.PAUSED


def test_a_family_whose_spaces_changed_costs_itself_a_strike_and_the_others_nothing(
    store: Store, open_session: SessionMaker
) -> None:
    families = [feed_bandits(store, "changed"), feed_bandits(store, "sound")]

    def open_changed(spec: Any, *arguments: Any, **named: Any) -> Any:
        if spec.name == "changed":
            raise FamilySpecError(operation="opening family", subject="changed", found="its spaces are others.")
        return open_tasks(spec, *arguments, **named)

    session = open_session(store, opener=open_changed)
    assert evaluate(session, families)["scores"].keys() == {"sound"}
    (report,) = run_jobs(session, JobKind.PRACTISE, family="changed")
    assert (report["outcome"], report["detail"]["fault"]) == (JobOutcome.FAILED, "start_failed")
    assert store.families.get("changed").strikes == 2


def test_a_family_removed_while_it_is_worked_on_keeps_no_other_from_it(
    store: Store, open_session: SessionMaker
) -> None:
    families = [feed_bandits(store, "gone"), feed_bandits(store, "sound")]
    store.families.set_state("gone", FamilyState.REMOVED)
    assert evaluate(open_session(store), families)["scores"].keys() == {"sound"}


def test_a_name_used_again_inherits_no_return(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store)
    session = open_session(store)
    train(session, store, UPDATES_TO_LEARN)
    consolidate(session)

    def best() -> dict[str, KnownReturn]:
        return best_returns(store.initializations.all(), store.families.all(), session.settings.consolidation)

    version = store.initializations.all()[0]
    assert best().keys() == {"bandits"}
    assert stored_return(version, store.families.get("bandits")) is not None
    store.families.set_state("bandits", FamilyState.REMOVED)
    feed_bandits(store)
    assert best() == {}
    assert stored_return(version, store.families.get("bandits")) is None


def test_a_slice_that_diverges_is_a_strike_for_nonsense(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store)
    session = open_session(store)
    run_jobs(session, JobKind.PRACTISE)
    with torch.no_grad():
        next(session.learner.critics.parameters()).fill_(float("nan"))
    (report,) = run_jobs(session, JobKind.PRACTISE)
    assert (report["outcome"], report["detail"]["fault"]) == (JobOutcome.FAILED, "nonsense")
    assert store.families.get("bandits").strikes == 1
    assert session.learner.is_finite()


def test_a_running_scale_that_is_not_finite_counts_as_divergence(store: Store, open_session: SessionMaker) -> None:
    session = open_session(store)
    practise(session, feed_bandits(store), reason="test")
    buffers = dict(session.learner.policy.named_buffers())
    next(buffer for name, buffer in buffers.items() if name.endswith("reward_scale.variance")).fill_(float("inf"))
    assert not session.learner.is_finite()
