"""A family whose worker is slow or hangs is played in the background: it costs the others nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from agent.learners.rl2.trials import TrialBatch
from agent.messages import FOUND_NOTHING
from agent.trainer.jobs import admit as admit_job
from agent.trainer.jobs.evaluate import evaluate
from agent.trainer.jobs.practise import practise
from agent.trainer.plays import UnderWayError
from agent.trainer.session import TrainerSession
from envs.errors import FaultReason, WorkerFaultError
from envs.family import FamilySource, Split
from envs.registry import open_tasks
from envs.task_batch import Transition
from envs.tensor.bandits import bandit_spaces
from memory.folder import DataFolder
from memory.records import CurveMetric, Family, FamilyState, JobKind, JobOutcome
from memory.store import Store
from tests.agent.trainer.conftest import BANDITS, SessionMaker, feed_bandits, settings_for
from tests.agent.trainer.running import run_jobs

LONG_S = 60.0


class Gate:
    """A gate that the slow family's worker waits for at each step; a fault, once it is set, is raised instead."""

    def __init__(self) -> None:
        self.open, self.begun = threading.Event(), threading.Event()
        self.fault: Exception | None = None
        self.begins: list[tuple[int, Split]] = []

    def wait(self) -> None:
        self.begun.set()
        assert self.open.wait(LONG_S)
        if self.fault is not None:
            raise self.fault


class SlowTasks:
    """Bandits, as if a worker stepped them, that wait at each step."""

    def __init__(self, tasks: Any, gate: Gate) -> None:
        self._tasks, self._gate = tasks, gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tasks, name)

    def begin(self, first_task: int, *, split: Split) -> Tensor:
        self._gate.begins.append((first_task, split))
        observation: Tensor = self._tasks.begin(first_task, split=split)
        return observation

    def step(self, action: Tensor, active: Tensor) -> Transition:
        self._gate.wait()
        transition: Transition = self._tasks.step(action, active)
        return transition


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def feed_slow(store: Store) -> Family:
    """Feed a family that a worker steps, and that was scored before."""
    store.families.add(replace(BANDITS, name="slow", source=FamilySource.GYMNASIUM, entry="Slow-v0", kwargs={}))
    store.families.admit("slow", spaces=bandit_spaces(3).to_json(), random_return=2.5, reference_return=3.5)
    return store.families.get("slow")


def opened(
    open_session: SessionMaker, store: Store, gate: Gate, *, wait_s: float = 0.05, slice_s: float = 1e-6
) -> TrainerSession:
    def opener(spec: Any, *arguments: Any, **named: Any) -> Any:
        if spec.name != "slow":
            return open_tasks(spec, *arguments, **named)
        return SlowTasks(open_tasks(BANDITS, *arguments, **named), gate)

    settings = settings_for(store.folder.path, practise={"slice_s": slice_s, "wait_s": wait_s})
    return open_session(store, opener=opener, settings=settings)


def families(store: Store, session: TrainerSession, gate: Gate) -> tuple[Family, Family]:
    """Return a quick family and a slow one, both scored, with the slow one's gate closed."""
    quick, slow = feed_bandits(store), feed_slow(store)
    gate.open.set()
    practise(session, quick, reason="test")
    while not store.curves.points("slow", CurveMetric.ZERO_SHOT_RETURN, limit=1):
        run_jobs(session, JobKind.EVALUATE, family="slow")
    gate.open.clear()
    gate.begun.clear()
    gate.begins.clear()
    return quick, slow


def until_done(session: TrainerSession, kind: JobKind) -> dict[str, Any]:
    """Run jobs of the slow family until one is not under way any more."""
    while True:
        [report] = run_jobs(session, kind, family="slow")
        if not report["detail"].get("under_way"):
            return report


def let_end(session: TrainerSession, gate: threading.Event) -> None:
    """Let the plays under way go on, and wait until they have ended."""
    gate.set()
    while session.plays.under_way():
        time.sleep(0.001)


def test_a_job_reports_that_it_found_nothing_only_if_it_neither_began_a_play_nor_found_a_result(
    store: Store, open_session: SessionMaker, gate: Gate
) -> None:
    session = opened(open_session, store, gate)
    families(store, session, gate)
    reports = run_jobs(session, *[JobKind.PRACTISE] * 3, family="slow")
    gate.open.set()
    taken = until_done(session, JobKind.PRACTISE)
    assert all(report["detail"]["under_way"] for report in reports)
    assert [FOUND_NOTHING in report["detail"] for report in [*reports, taken]] == [False, True, True, False]


def test_others_are_practised_while_a_familys_worker_does_not_answer(
    store: Store, open_session: SessionMaker, gate: Gate
) -> None:
    session = opened(open_session, store, gate)
    quick, slow = families(store, session, gate)
    [report] = run_jobs(session, JobKind.PRACTISE, family="slow")
    assert report["outcome"] is JobOutcome.SUCCEEDED
    assert "rollout goes on in the background" in report["detail"]["under_way"]
    for _ in range(3):
        assert run_jobs(session, JobKind.PRACTISE, family="bandits")[0]["detail"]["meta_updates"] == 1
    assert session.plays.under_way() == {slow.id}
    gate.open.set()
    assert until_done(session, JobKind.PRACTISE)["detail"]["meta_updates"] == 1
    assert store.families.get("slow").totals.meta_updates == 1
    assert store.families.get("bandits").totals.meta_updates == quick.totals.meta_updates + 4


def played(session: TrainerSession, slow: Family) -> TrialBatch:
    """Return the trials of the slow family's first rollout."""
    while True:
        try:
            return session.practice_of(slow)._training._rollouts.play(slow, 0).batch  # type: ignore[attr-defined, no-any-return]
        except UnderWayError:
            assert session.plays.under_way()


def test_a_rollout_depends_on_the_state_at_its_start_and_not_on_what_is_learned_meanwhile(
    store: Store, open_session: SessionMaker, gate: Gate
) -> None:
    session = opened(open_session, store, gate)
    quick, slow = families(store, session, gate)
    gate.open.set()
    expected = played(session, slow)
    gate.open.clear()
    with pytest.raises(UnderWayError):
        session.practice_of(slow)._training._rollouts.play(slow, 0)  # type: ignore[attr-defined]
    before = session.learner.policy.pair(bandit_spaces(3)).core.weight_hidden.clone()
    for _ in range(3):
        practise(session, quick, reason="test")
    assert not torch.equal(before, session.learner.policy.pair(bandit_spaces(3)).core.weight_hidden)
    gate.open.set()
    found = played(session, slow)
    assert torch.equal(found.action, expected.action)
    assert torch.equal(found.log_prob, expected.log_prob)


def test_the_next_rollout_of_a_slow_family_begins_with_the_commit(
    store: Store, open_session: SessionMaker, gate: Gate
) -> None:
    session = opened(open_session, store, gate)
    _quick, slow = families(store, session, gate)
    run_jobs(session, JobKind.PRACTISE, family="slow")
    threading.Timer(0.3, gate.open.set).start()
    until_done(session, JobKind.PRACTISE)
    assert session.plays.is_slow(slow.id, "rollout")
    while len(gate.begins) < 2:
        assert session.plays.under_way() or session.plays.has_ended(slow.id, "rollout")
    assert gate.begins[:2] == [(0, Split.TRAINING), (session.next_task[session.learner.families[-1]], Split.TRAINING)]


def test_a_slice_of_a_slow_family_ends_with_one_rollout(store: Store, open_session: SessionMaker, gate: Gate) -> None:
    session = opened(open_session, store, gate)
    families(store, session, gate)
    session = opened(open_session, store, gate, slice_s=LONG_S)
    store.families.set_state("bandits", FamilyState.PAUSED)  # so that the trainer would wait for the next rollout
    run_jobs(session, JobKind.PRACTISE, family="slow")
    threading.Timer(0.3, gate.open.set).start()
    assert until_done(session, JobKind.PRACTISE)["detail"]["meta_updates"] == 1


def test_a_kill_loses_what_is_played_in_the_background_and_nothing_else(
    store: Store, open_session: SessionMaker, gate: Gate
) -> None:
    session = opened(open_session, store, gate)
    quick, _slow = families(store, session, gate)
    run_jobs(session, JobKind.PRACTISE, family="slow")
    practise(session, quick, reason="test")
    resumed = opened(open_session, store, gate)  # nothing is closed, saved or said: as after kill −9
    tensors = session.learner.to_tensors()
    assert tensors.keys() == resumed.learner.to_tensors().keys()
    for name, tensor in resumed.learner.to_tensors().items():
        assert torch.equal(tensor, tensors[name]), name
    gate.open.set()
    reports = [until_done(each, JobKind.PRACTISE)["detail"] for each in (session, resumed)]
    assert [report["meta_updates"] for report in reports] == [1, 1]


def test_a_worker_that_hangs_costs_its_own_family_a_strike_and_discards_nothing(
    store: Store, open_session: SessionMaker, gate: Gate
) -> None:
    session = opened(open_session, store, gate)
    families(store, session, gate)
    gate.open.set()
    until_done(session, JobKind.PRACTISE)
    gate.open.clear()
    learner = session.learner
    while not session.plays.under_way():
        run_jobs(session, JobKind.PRACTISE, family="slow")
    gate.fault = WorkerFaultError(subject="slow", reason=FaultReason.HUNG, found="it did not answer")
    gate.open.set()
    report = until_done(session, JobKind.PRACTISE)
    while report["outcome"] is JobOutcome.SUCCEEDED:
        report = until_done(session, JobKind.PRACTISE)
    assert report["detail"]["fault"] == "hung"
    assert session.learner is learner, "nothing was learned, so nothing is restored"
    assert store.families.get("slow").strikes == 1
    assert store.families.get("bandits").strikes == 0


def test_a_family_that_failed_is_not_waited_for(store: Store, open_session: SessionMaker, gate: Gate) -> None:
    session = opened(open_session, store, gate, wait_s=LONG_S)
    families(store, session, gate)
    store.families.record_strike("slow", reason="hung", detail="it did not answer")
    [report] = run_jobs(session, JobKind.PRACTISE, family="slow")
    assert report["detail"]["under_way"]


def test_a_family_that_failed_is_not_waited_for_in_an_evaluation_either(
    store: Store, open_session: SessionMaker, gate: Gate
) -> None:
    session = opened(open_session, store, gate, wait_s=LONG_S)
    families(store, session, gate)
    store.families.record_strike("slow", reason="hung", detail="it did not answer")
    assert evaluate(session, [store.families.get("slow")])["under_way"] == ["slow"]


def test_a_family_that_failed_is_nothing_to_do_for_the_trainer_while_it_could_wait_for_another(
    store: Store, open_session: SessionMaker, gate: Gate
) -> None:
    session = opened(open_session, store, gate)
    _quick, slow = families(store, session, gate)
    assert session._has_others(slow.id)
    store.families.record_strike("bandits", reason="hung", detail="it did not answer")
    assert not session._has_others(slow.id)


def test_the_end_of_each_job_tells_the_families_that_have_results(
    store: Store, open_session: SessionMaker, gate: Gate
) -> None:
    session = opened(open_session, store, gate)
    families(store, session, gate)
    [begun] = run_jobs(session, JobKind.PRACTISE, family="slow")
    let_end(session, gate.open)
    [other] = run_jobs(session, JobKind.PRACTISE, family="bandits")
    assert (begun["with_results"], other["with_results"]) == ([], ["slow"])


def test_an_evaluation_goes_on_in_the_background_and_the_next_practice_stores_it(
    store: Store, open_session: SessionMaker, gate: Gate
) -> None:
    session = opened(open_session, store, gate)
    families(store, session, gate)
    before = len(store.curves.points("slow", CurveMetric.EVAL_RETURN, limit=10))
    report = evaluate(session, store.families.all())
    assert report["under_way"] == ["slow"]
    assert report["returns"].keys() == {"bandits"}
    let_end(session, gate.open)
    until_done(session, JobKind.PRACTISE)
    assert len(store.curves.points("slow", CurveMetric.EVAL_RETURN, limit=10)) == before + 1


def test_what_is_played_for_a_family_that_was_removed_is_stopped(
    store: Store, open_session: SessionMaker, gate: Gate
) -> None:
    session = opened(open_session, store, gate)
    families(store, session, gate)
    run_jobs(session, JobKind.PRACTISE, family="slow")
    assert gate.begun.wait(LONG_S)
    store.families.set_state("slow", FamilyState.REMOVED)
    run_jobs(session, JobKind.PRACTISE, family="bandits")
    let_end(session, gate.open)
    assert session.environments.open_families == {store.families.get("bandits").id}


def test_a_rollout_of_a_family_that_was_paused_is_stopped(store: Store, open_session: SessionMaker, gate: Gate) -> None:
    session = opened(open_session, store, gate)
    _quick, slow = families(store, session, gate)
    run_jobs(session, JobKind.PRACTISE, family="slow")
    assert gate.begun.wait(LONG_S)
    store.families.set_state("slow", FamilyState.PAUSED)
    run_jobs(session, JobKind.PRACTISE, family="bandits")
    let_end(session, gate.open)
    assert slow.id not in session.environments.open_families


def test_an_evaluation_of_a_family_that_was_paused_goes_on(
    store: Store, open_session: SessionMaker, gate: Gate
) -> None:
    session = opened(open_session, store, gate)
    _quick, slow = families(store, session, gate)
    run_jobs(session, JobKind.EVALUATE, family="slow")
    assert gate.begun.wait(LONG_S)
    store.families.set_state("slow", FamilyState.PAUSED)
    run_jobs(session, JobKind.PRACTISE, family="bandits")
    assert session.plays.kind_under_way(slow.id) == "evaluation"
    let_end(session, gate.open)
    assert slow.id in session.environments.open_families


def test_a_resumed_session_plays_the_same_trials(
    folder: DataFolder, store: Store, open_session: SessionMaker, gate: Gate
) -> None:
    session = opened(open_session, store, gate, wait_s=LONG_S)
    _quick, slow = families(store, session, gate)
    gate.open.set()
    practise(session, slow, reason="test")
    resumed = opened(open_session, store, gate, wait_s=LONG_S)
    first_task = session.next_task[session.learner.families[-1]]
    actions = [
        each.practice_of(slow)._training._rollouts.play(slow, first_task).batch.action  # type: ignore[attr-defined]
        for each in (session, resumed)
    ]
    assert torch.equal(actions[0], actions[1])


def test_admission_of_a_family_that_hangs_stops_nobody(
    store: Store, open_session: SessionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, released = threading.Event(), threading.Event()

    def hanging(*_: Any, **_named: Any) -> Any:
        begun.set()
        assert released.wait(LONG_S)
        raise WorkerFaultError(subject="newcomer", reason=FaultReason.HUNG, found="it did not answer")

    monkeypatch.setattr(admit_job, "probe", hanging)
    session = open_session(store)
    feed_bandits(store)
    store.families.add(replace(BANDITS, name="newcomer", source=FamilySource.GYMNASIUM, entry="New-v0", kwargs={}))
    [report] = run_jobs(session, JobKind.ADMIT, family="newcomer")
    assert (report["outcome"], "under_way" in report["detail"]) == (JobOutcome.SUCCEEDED, True)
    assert begun.wait(LONG_S)
    assert store.families.get("newcomer").state is FamilyState.PENDING
    assert run_jobs(session, JobKind.PRACTISE)[0]["detail"]["meta_updates"] == 1
    let_end(session, released)
    [report] = run_jobs(session, JobKind.ADMIT, family="newcomer")
    assert report["detail"]["state"] == "refused"
    assert "it did not answer" in store.families.get("newcomer").state_reason


def test_a_refused_family_whose_admission_goes_on_is_pending(
    store: Store, open_session: SessionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person requested its admission; the daemon asks for the result without a request."""
    released = threading.Event()
    monkeypatch.setattr(admit_job, "probe", lambda *_, **_named: released.wait(LONG_S))
    session = open_session(store)
    feed_bandits(store)
    store.families.add(replace(BANDITS, name="newcomer", source=FamilySource.GYMNASIUM, entry="New-v0", kwargs={}))
    store.families.set_state("newcomer", FamilyState.REFUSED, reason="it failed")
    run_jobs(session, JobKind.ADMIT, family="newcomer")
    assert store.families.get("newcomer").state is FamilyState.PENDING
    released.set()
