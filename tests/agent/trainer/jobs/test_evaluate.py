"""The evaluate job: which families it scores and when, and what it leaves as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from agent.config.settings import Settings
from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.jobs.evaluate import evaluate, families_due
from agent.trainer.session import TrainerSession
from memory.folder import DataFolder
from memory.records import CurveMetric, FamilyState, JobKind, JobOutcome
from memory.store import Store
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, practise, settings_for
from tests.agent.trainer.running import open_failing, run_jobs


class Clock:
    """A wall clock for the store and the session, which a test sets."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def settings(folder: DataFolder, paused_every: str = "1h") -> Settings:
    few = {"trials_tensor": 64, "trials_gymnasium": 4, "paused_every": paused_every}
    return settings_for(folder.path, evaluation=few)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(folder: DataFolder, clock: Clock) -> Iterator[Store]:
    with Store.open(folder, clock=clock) as store:
        yield store


@pytest.fixture
def open_paused(store: Store, clock: Clock, open_session: SessionMaker) -> Callable[..., TrainerSession]:
    """Return a function that opens a session with one family that was practised, evaluated and paused."""

    def make(paused_every: str = "1h") -> TrainerSession:
        session = open_session(store, settings=settings(store.folder, paused_every), clock=clock)
        practise(session, feed_bandits(store), reason="test")
        evaluate(session, store.families.all())
        store.families.set_state("bandits", FamilyState.PAUSED, reason="by hand")
        return session

    return make


def due(session: TrainerSession) -> list[str]:
    return [family.name for family in families_due(session)]


def test_a_paused_family_is_due_an_hour_after_its_last_evaluation(
    open_paused: Callable[..., TrainerSession], clock: Clock
) -> None:
    session = open_paused()
    assert due(session) == []
    clock.now += 3599
    assert due(session) == []
    clock.now += 1
    assert due(session) == ["bandits"]
    evaluate(session, families_due(session))
    assert due(session) == []


def test_a_paused_family_is_due_at_once_after_its_last_practice(
    open_paused: Callable[..., TrainerSession], clock: Clock
) -> None:
    session = open_paused()
    practise(session, session.store.families.get("bandits"), reason="test")
    assert due(session) == ["bandits"]
    evaluate(session, families_due(session))
    assert due(session) == []


def test_a_clock_that_was_set_back_does_not_put_off_the_evaluation_of_a_paused_family(
    open_paused: Callable[..., TrainerSession], clock: Clock
) -> None:
    session = open_paused()
    clock.now -= 86_400
    assert due(session) == ["bandits"]
    evaluate(session, families_due(session))
    assert due(session) == []


def test_paused_families_are_never_scored_if_this_is_off(
    open_paused: Callable[..., TrainerSession], clock: Clock
) -> None:
    session = open_paused("off")
    practise(session, session.store.families.get("bandits"), reason="test")
    clock.now += 10 * 86_400
    assert due(session) == []


def test_scoring_a_paused_family_leaves_its_row_and_the_learner_as_they_were(
    open_paused: Callable[..., TrainerSession], clock: Clock
) -> None:
    session = open_paused()
    clock.now += 3600
    before, row = session.learner.to_tensors(), session.store.families.get("bandits")
    (report,) = run_jobs(session, JobKind.EVALUATE, family=None)
    assert report["outcome"] is JobOutcome.SUCCEEDED
    assert report["detail"]["returns"].keys() == {"bandits"}
    assert session.store.families.get("bandits") == row
    assert row.state is FamilyState.PAUSED
    assert all(torch.equal(tensor, session.learner.to_tensors()[name]) for name, tensor in before.items())
    assert len(session.store.curves.points("bandits", CurveMetric.EVAL_RETURN)) == 2


def test_a_paused_family_keeps_no_tasks_open_after_its_evaluation(
    open_paused: Callable[..., TrainerSession], clock: Clock
) -> None:
    session = open_paused()
    evaluate(session, session.store.families.all())
    assert session.environments.open_families == set()
    family = session.store.families.set_state("bandits", FamilyState.ACTIVE)
    evaluate(session, [family])
    assert session.environments.open_families == {family.id}


def test_an_interrupted_evaluation_closes_the_tasks_of_a_paused_family(
    open_paused: Callable[..., TrainerSession],
) -> None:
    session = open_paused()

    def stop(_units: int = 1) -> None:
        raise JobInterruptedError

    session.heartbeat.beat_or_give_up = stop  # type: ignore[method-assign]
    with pytest.raises(JobInterruptedError):
        evaluate(session, session.store.families.all())
    assert session.environments.open_families == set()


@pytest.mark.parametrize("state", [FamilyState.QUARANTINED, FamilyState.REFUSED, FamilyState.REMOVED])
def test_a_family_that_is_neither_active_nor_paused_is_never_due(
    open_paused: Callable[..., TrainerSession], clock: Clock, state: FamilyState
) -> None:
    session = open_paused()
    until = clock.now + 60 if state is FamilyState.QUARANTINED else None
    session.store.families.set_state("bandits", state, quarantined_until=until)
    clock.now += 7200
    assert due(session) == []


def test_a_paused_family_that_was_never_practised_is_not_scored(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store)
    store.families.set_state("bandits", FamilyState.PAUSED)
    (report,) = run_jobs(open_session(store), JobKind.EVALUATE, family=None)
    assert report["outcome"] is JobOutcome.SKIPPED


def test_a_paused_family_whose_environment_is_broken_is_left_out_after_as_many_strikes_as_quarantine_takes(
    store: Store, clock: Clock, open_session: SessionMaker
) -> None:
    practise(open_session(store), feed_bandits(store, "broken"), reason="test")
    store.families.set_state("broken", FamilyState.PAUSED)
    session = open_session(store, opener=open_failing, settings=settings(store.folder), clock=clock)
    for _ in range(session.settings.workers.max_strikes):
        assert due(session) == ["broken"]
        (report,) = run_jobs(session, JobKind.EVALUATE, family=None)
        assert report["outcome"] is JobOutcome.FAILED
    assert due(session) == []
    assert store.families.get("broken").state is FamilyState.PAUSED


def measured(store: Store, metric: CurveMetric) -> list[float]:
    return [point.point.value for point in store.curves.points("bandits", metric)]


def test_an_evaluation_stores_performance_and_forgetting(
    open_paused: Callable[..., TrainerSession], clock: Clock
) -> None:
    session = open_paused()
    store, (score,) = session.store, measured(session.store, CurveMetric.EVAL_SCORE)
    assert measured(store, CurveMetric.PERFORMANCE) == [pytest.approx(score)]
    assert measured(store, CurveMetric.FORGETTING) == [pytest.approx(0.0)]
    practise(session, feed_bandits(store, "others"), reason="test")
    with torch.no_grad():
        for parameter in session.learner.policy.parameters():
            parameter.zero_()  # The policy loses everything that it learned.
    evaluate(session, [store.families.get("bandits")])
    _, lost = measured(store, CurveMetric.EVAL_SCORE)
    assert lost != score
    assert measured(store, CurveMetric.PERFORMANCE)[-1] == pytest.approx(lost)
    assert measured(store, CurveMetric.FORGETTING)[-1] == pytest.approx(max(score, lost) - lost)


def test_a_family_that_was_never_practised_has_forgotten_nothing_that_could_be_measured(
    store: Store, open_session: SessionMaker
) -> None:
    evaluate(open_session(store), [feed_bandits(store)])
    assert store.curves.points("bandits", CurveMetric.FORGETTING) == []


def test_an_evaluation_without_time_for_all_begins_the_next_time_with_the_others(
    store: Store, clock: Clock, open_session: SessionMaker
) -> None:
    session = open_session(store, settings=settings(store.folder), clock=clock)
    for name in ("one", "two", "three"):
        feed_bandits(store, name)
    scored = []
    for _ in range(4):
        clock.now += 100.0
        report = evaluate(session, families_due(session), within_s=0.0)
        scored.append(*report["returns"])
        assert len(report["later"]) == 2
    assert sorted(scored[:3]) == ["one", "three", "two"]
    assert scored[3] == scored[0]
