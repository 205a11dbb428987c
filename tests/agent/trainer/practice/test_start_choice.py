"""Tests of the score before the first practice, and of what a policy begins with in new spaces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.warm_start import WarmStart
from agent.trainer.families import learner_name
from agent.trainer.jobs.evaluate import evaluate
from agent.trainer.practice.start_choice import choose_start, starting_policies
from agent.trainer.session import TrainerSession
from envs.tensor.bandits import bandit_spaces
from memory.records import CurveMetric, Family, JobKind
from memory.store import Store
from tests.agent.trainer.conftest import BANDITS, SessionMaker, feed_bandits, practise
from tests.agent.trainer.running import run_jobs

UPDATES = 40


def _feed(store: Store, *, num_arms: int) -> Family:
    name = f"arms-{num_arms}"
    store.families.add(replace(BANDITS, name=name, kwargs={"num_arms": num_arms}))
    return store.families.admit(
        name, spaces=bandit_spaces(num_arms).to_json(), random_return=2.5, reference_return=BANDITS.reference_return
    )


def _choose(session: TrainerSession, family: Family) -> WarmStart:
    tasks = session.environments.tasks_of(family)
    return choose_start(starting_policies(session.learner, tasks.spaces), tasks, progress=lambda _steps: None)


def test_an_added_family_is_scored_before_its_first_practice(store: Store, open_session: SessionMaker) -> None:
    store.families.add(BANDITS)
    (report,) = run_jobs(open_session(store), JobKind.ADMIT)
    family = store.families.get("bandits")
    (score,) = store.curves.points("bandits", CurveMetric.ZERO_SHOT_SCORE)
    assert (score.env_steps, score.point.label) == (0, "fresh")
    assert report["detail"]["state"] == "active"
    assert [point.env_steps for point in store.curves.points("bandits", CurveMetric.EVAL_SCORE)] == [0]
    assert family.totals.meta_updates == 0


def test_a_family_that_the_command_line_admitted_is_scored_before_its_first_practice(
    store: Store, open_session: SessionMaker
) -> None:
    feed_bandits(store)
    session = open_session(store)
    run_jobs(session, JobKind.PRACTISE, JobKind.PRACTISE)
    (score,) = store.curves.points("bandits", CurveMetric.ZERO_SHOT_SCORE)
    assert score.env_steps == 0
    assert store.families.get("bandits").totals.meta_updates == 2


def test_a_score_after_practice_is_not_zero_shot(store: Store, open_session: SessionMaker) -> None:
    session, family = open_session(store), feed_bandits(store)
    practise(session, family, reason="test")
    evaluate(session, [store.families.get("bandits")])
    assert store.curves.points("bandits", CurveMetric.ZERO_SHOT_RETURN) == []


def test_what_three_arms_taught_is_better_than_nothing_on_five(store: Store, open_session: SessionMaker) -> None:
    session, family = open_session(store), feed_bandits(store)
    for _ in range(UPDATES):
        practise(session, store.families.get(family.name), reason="test")
    other = _feed(store, num_arms=5)
    evaluate(session, [other])
    (score,) = store.curves.points(other.name, CurveMetric.ZERO_SHOT_SCORE)
    assert score.point.label == "copied"
    assert score.point.value > 0.3


def test_what_three_arms_taught_is_a_forward_transfer_to_five(store: Store, open_session: SessionMaker) -> None:
    session, family = open_session(store), feed_bandits(store)
    for _ in range(UPDATES):
        practise(session, store.families.get(family.name), reason="test")
    other = _feed(store, num_arms=5)
    evaluate(session, [other])
    (fresh,), (transfer,) = (
        store.curves.points(other.name, metric) for metric in (CurveMetric.FRESH_RETURN, CurveMetric.FORWARD_TRANSFER)
    )
    (score,) = store.curves.points(other.name, CurveMetric.ZERO_SHOT_SCORE)
    assert fresh.point.value == pytest.approx(2.5, abs=0.4)  # new parameters act at random
    assert transfer.point.value == pytest.approx(score.point.value - (fresh.point.value - 2.5) / (3.5 - 2.5))
    assert transfer.point.value > 0.0
    assert transfer.point.standard_error is not None

    session.learner.policy.pair(bandit_spaces(5)).score.data.neg_()  # a family may wait, and others practise meanwhile
    evaluate(session, [other])
    assert len(store.curves.points(other.name, CurveMetric.FRESH_RETURN)) == 1
    _, later = store.curves.points(other.name, CurveMetric.FORWARD_TRANSFER)
    assert later.point.value < transfer.point.value


def test_there_is_no_forward_transfer_before_anything_was_practised(store: Store, open_session: SessionMaker) -> None:
    evaluate(open_session(store), [feed_bandits(store)])
    assert len(store.curves.points("bandits", CurveMetric.ZERO_SHOT_RETURN)) == 1
    for metric in (CurveMetric.FRESH_RETURN, CurveMetric.FORWARD_TRANSFER):
        assert store.curves.points("bandits", metric) == []


def test_in_spaces_that_others_practise_the_transfer_is_that_of_their_parameters(
    store: Store, open_session: SessionMaker
) -> None:
    session, family = open_session(store), feed_bandits(store)
    for _ in range(UPDATES):
        practise(session, store.families.get(family.name), reason="test")
    evaluate(session, [feed_bandits(store, "again")])
    (score,) = store.curves.points("again", CurveMetric.ZERO_SHOT_SCORE)
    (transfer,) = store.curves.points("again", CurveMetric.FORWARD_TRANSFER)
    assert score.point.label == "shared"
    assert session.learner.start_of(learner_name(store.families.get("again"))) is WarmStart.SHARED
    assert transfer.point.value > 0.0


class Returning:
    """A start whose trials return given numbers."""

    def __init__(self, config: RL2Config, returns: list[float]) -> None:
        self.config, self.returns = config, torch.tensor(returns)


def choose_by_returns(
    session: TrainerSession, monkeypatch: pytest.MonkeyPatch, *, reference: float | None, **returns: list[float]
) -> WarmStart:
    """Return the choice between starts whose test returns these numbers."""
    monkeypatch.setattr(
        "agent.trainer.practice.start_choice._test_returns", lambda policy, _tasks, **_asked: policy.returns
    )
    starts: Any = {WarmStart(name): Returning(session.config, found) for name, found in returns.items()}
    tasks = session.environments.tasks_of(session.store.families.get("bandits"))
    return choose_start(starts, tasks, reference_return=reference, progress=lambda _steps: None)


@pytest.mark.parametrize(
    ("outcome", "chosen"),
    [
        (([6.0, 6.1], 10.0), WarmStart.SHARED),  # more than half of the way from 0 to the reference
        (([4.0, 4.1], 10.0), WarmStart.APART),  # better than new parameters, and still mostly wrong
        (([4.0, 4.1], None), WarmStart.SHARED),  # better than new parameters, and nothing more is known
        (([-1.0, 1.0], None), WarmStart.APART),  # noise
        (([-6.0, -6.1], 10.0), WarmStart.APART),
    ],
)
def test_a_family_begins_shared_only_where_the_shared_policy_helps(
    store: Store,
    open_session: SessionMaker,
    monkeypatch: pytest.MonkeyPatch,
    outcome: tuple[list[float], float | None],
    chosen: WarmStart,
) -> None:
    feed_bandits(store)
    session, (shared, reference) = open_session(store), outcome
    found = choose_by_returns(session, monkeypatch, reference=reference, shared=shared, apart=[0.0, 0.1])
    assert found is chosen


def test_tasks_that_recur_are_not_learned_apart(
    store: Store, open_session: SessionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed_bandits(store)
    monkeypatch.setattr("agent.trainer.practice.start_choice.recurs", lambda _tasks: True)
    found = choose_by_returns(open_session(store), monkeypatch, reference=9.0, shared=[-6.0, -6.1], apart=[0.0, 0.1])
    assert found is WarmStart.SHARED


def test_parts_that_do_harm_are_not_copied(store: Store, open_session: SessionMaker) -> None:
    session, family = open_session(store), feed_bandits(store)
    for _ in range(UPDATES):
        practise(session, store.families.get(family.name), reason="test")
    with torch.no_grad():
        session.learner.policy.pair(bandit_spaces(3)).score.neg_()  # the worst arm is the best to it
    other = _feed(store, num_arms=5)
    assert _choose(session, other) is WarmStart.FRESH
    practise(session, other, reason="test")
    assert session.learner.start_of(learner_name(other)) is WarmStart.FRESH
    restored = open_session(store)
    assert restored.learner.start_of(learner_name(other)) is WarmStart.FRESH
