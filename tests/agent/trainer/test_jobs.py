"""Tests of the trainer's jobs: faults cost strikes, evaluation changes nothing, no regression is published."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from agent.learners.evaluation.trials import HeldOutReturns
from agent.learners.rl2.policy import IncompatibleParametersError
from agent.trainer.faults import quarantine_s
from agent.trainer.gate import Comparison, KnownReturn, Yardstick, compare
from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.jobs.evaluate import evaluate
from agent.trainer.known_returns import best_returns, stored_return
from agent.trainer.session import TrainerSession
from agent.trainer.version_scores import score_version
from envs.errors import FamilySpecError, FaultReason, WorkerFaultError
from envs.registry import open_tasks
from memory.folder import DataFolder
from memory.records import CurveMetric, Family, FamilyState, InitializationState, JobKind, JobOutcome
from memory.store import Store
from tests.agent.trainer.conftest import BANDITS, SessionMaker, bandit_spaces, feed_bandits, practise, settings_for
from tests.agent.trainer.running import FailingTasks, open_failing, run_jobs

UPDATES_TO_LEARN = 12
"""Enough for the mean return on three arms to rise by more than the gate tolerates."""


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


def feed_without_reference(store: Store, name: str = "unscaled") -> Family:
    """Feed bandits whose reference return nobody knows."""
    store.families.add(replace(BANDITS, name=name, reference_return=None, reference_source=""))
    return store.families.admit(name, spaces=bandit_spaces(3).to_json(), random_return=2.5, reference_return=None)


def test_without_a_reference_evaluations_are_stored_as_returns_and_no_reference_appears(
    store: Store, open_session: SessionMaker
) -> None:
    family = feed_without_reference(store)
    session = open_session(store)
    reports = []
    for _ in range(5):
        practise(session, store.families.get(family.name), reason="test")
        reports.append(evaluate(session, [store.families.get(family.name)]))
    returns = [point.point.value for point in store.curves.points(family.name, CurveMetric.EVAL_RETURN)]
    assert returns == [report["returns"][family.name] for report in reports]
    assert len(set(returns)) > 1
    assert [report["scores"] for report in reports] == [{family.name: None}] * 5
    assert store.curves.points(family.name, CurveMetric.EVAL_SCORE) == []
    assert store.families.get(family.name) == replace(family, totals=store.families.get(family.name).totals)


def test_with_a_reference_score_and_return_are_on_its_scale(store: Store, open_session: SessionMaker) -> None:
    report = evaluate(open_session(store), [feed_bandits(store)])
    (score,) = store.curves.points("bandits", CurveMetric.EVAL_SCORE)
    (returned,) = store.curves.points("bandits", CurveMetric.EVAL_RETURN)
    assert report == {"returns": {"bandits": returned.point.value}, "scores": {"bandits": score.point.value}}
    assert score.point.value == pytest.approx((returned.point.value - 2.5) / (3.5 - 2.5))


def test_without_a_reference_candidates_are_compared_by_returns_on_one_scale(
    store: Store, open_session: SessionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = feed_without_reference(store)
    session = open_session(store)
    for _ in range(2):
        practise(session, store.families.get(family.name), reason="test")
    consolidate(session)
    for _ in range(UPDATES_TO_LEARN):
        practise(session, store.families.get(family.name), reason="test")
    compared: list[Comparison] = []

    def keep(returns: HeldOutReturns, yardstick: Yardstick) -> Comparison:
        compared.append(compare(returns, yardstick))
        return compared[-1]

    monkeypatch.setattr("agent.trainer.practice.rl2_candidates.compare", keep)
    _, detail = consolidate(session)
    own, published = compared
    assert own.mean != published.mean
    assert own.yardstick is published.yardstick
    assert own.yardstick.scale is None
    assert store.families.get(family.name).reference_return is None
    assert detail["version"] == 2
    (score,) = store.initializations.get(2).scores
    (before,) = store.initializations.get(1).scores
    assert (score.score, score.published_score) == (None, None)
    assert score.published_return == pytest.approx(before.mean_return)
    assert score.mean_return == pytest.approx(detail["returns"][family.name])
    assert detail["scores"] == {family.name: None}


def test_a_version_is_evaluated_by_returns_where_there_is_no_reference(
    store: Store, open_session: SessionMaker
) -> None:
    family = feed_without_reference(store)
    session = open_session(store)
    practise(session, family, reason="test")
    consolidate(session)
    (scored,) = score_version(
        store, session.settings, version=1, families=[family.name], trials=64, progress=lambda _: None
    )
    assert (scored.score, scored.standard_error) == (None, None)
    assert 0.0 < scored.mean_return < 5.0
    assert scored.return_standard_error > 0.0


def test_without_a_reference_a_version_that_forgets_is_rejected(store: Store, open_session: SessionMaker) -> None:
    family = feed_without_reference(store)
    session = open_session(store)
    for _ in range(UPDATES_TO_LEARN):
        practise(session, store.families.get(family.name), reason="test")
    consolidate(session)
    with torch.no_grad():
        for parameter in session.learner.policy.parameters():
            parameter.zero_()
    _, detail = consolidate(session)
    assert (detail["outcome"], detail["version"]) == ("rejected", None)
    assert f"falls by more than 0.05 on {family.name} (return)" in detail["reason"]


def _train(session: TrainerSession, store: Store, updates: int) -> None:
    for _ in range(updates):
        practise(session, store.families.get("bandits"), reason="test")


def test_the_first_candidate_is_published_and_a_worse_one_is_rejected_with_its_scores(
    store: Store, open_session: SessionMaker
) -> None:
    feed_bandits(store)
    session = open_session(store)
    _train(session, store, UPDATES_TO_LEARN)
    outcome, detail = consolidate(session)
    assert (outcome, detail["outcome"], detail["version"]) == (JobOutcome.SUCCEEDED, "published", 1)

    with torch.no_grad():
        for parameter in session.learner.policy.parameters():
            parameter.zero_()  # The policy loses everything that it learned.
    outcome, detail = consolidate(session)
    assert (outcome, detail["outcome"], detail["version"]) == (JobOutcome.SUCCEEDED, "rejected", None)
    assert store.initializations.current().version == 1  # type: ignore[union-attr]
    rejected = next(i for i in store.initializations.all() if i.state is InitializationState.REJECTED)
    (score,) = rejected.scores
    assert score.score is not None
    assert score.published_score is not None
    assert score.score < score.published_score - session.settings.consolidation.tolerance
    assert "bandits" in rejected.reason


def test_a_new_version_names_its_parent_and_can_be_rolled_back(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store)
    session = open_session(store)
    _train(session, store, 1)
    consolidate(session)
    _train(session, store, UPDATES_TO_LEARN)
    _, detail = consolidate(session)
    assert detail["version"] == 2
    assert store.initializations.get(2).parent == 1
    store.initializations.roll_back(reason="test")
    assert store.initializations.current().version == 1  # type: ignore[union-attr]


def test_nothing_practised_is_nothing_to_consolidate(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store)
    assert consolidate(open_session(store))[0] is JobOutcome.SKIPPED


def test_a_candidate_that_gains_nothing_is_not_worth_a_version(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store)
    session = open_session(store)
    _train(session, store, 1)
    consolidate(session)
    _, detail = consolidate(session)
    assert detail["outcome"] == "unchanged"
    assert len(store.initializations.all()) == 1


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


def test_a_version_of_another_shape_is_named_as_such(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store)
    session = open_session(store)
    _train(session, store, 1)
    consolidate(session)
    published = store.initializations.get(1)
    wider = {**published.provenance, "config": {**published.provenance["config"], "hidden_size": 24}}
    store.initializations.get = lambda _version: replace(published, provenance=wider)  # type: ignore[method-assign]
    with pytest.raises(IncompatibleParametersError, match="do not fit"):
        score_version(store, session.settings, version=1, families=["bandits"], trials=8, progress=lambda _: None)


def test_a_damaged_current_version_is_stood_for_by_its_stored_scores(
    store: Store, folder: DataFolder, open_session: SessionMaker
) -> None:
    feed_bandits(store)
    session = open_session(store)
    _train(session, store, 1)
    consolidate(session)
    current = store.initializations.current()
    assert current is not None
    path = folder.parameters_path / f"{current.file.sha256}.safetensors"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    _train(session, store, UPDATES_TO_LEARN)
    outcome, detail = consolidate(session)
    assert (outcome, detail["version"]) == (JobOutcome.SUCCEEDED, 2)
    (score,) = store.initializations.get(2).scores
    assert score.published_score == pytest.approx(current.scores[0].score)


def test_nothing_is_published_past_a_family_that_could_not_be_scored(store: Store, open_session: SessionMaker) -> None:
    for name in ("sound", "broken"):
        practise(open_session(store), feed_bandits(store, name), reason="test")
    outcome, detail = consolidate(open_session(store, opener=open_failing))
    assert outcome is JobOutcome.SKIPPED
    assert "broken could not be scored" in detail["reason"]
    assert store.initializations.all() == []


def test_a_family_that_fails_for_long_is_left_out_of_the_gate_and_named(
    store: Store, open_session: SessionMaker
) -> None:
    for name in ("sound", "broken"):
        practise(open_session(store), feed_bandits(store, name), reason="test")
    session = open_session(store, opener=open_failing)
    for _ in range(session.settings.workers.max_strikes):
        assert consolidate(session)[0] is JobOutcome.SKIPPED
    assert store.families.get("broken").state is FamilyState.QUARANTINED
    _, detail = consolidate(session)
    assert detail["version"] == 1
    assert detail["reason"].endswith("not scored: broken")


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
    _train(session, store, UPDATES_TO_LEARN)
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
