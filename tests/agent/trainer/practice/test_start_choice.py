"""Tests of the score before the first practice, and of what a policy begins with in new spaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agent.learners.rl2.warm_start import WarmStart
from agent.trainer.families import learner_name
from agent.trainer.jobs.evaluate import evaluate
from agent.trainer.practice.start_choice import choose_start, starting_policies
from agent.trainer.session import TrainerSession
from envs.tensor.bandits import bandit_spaces
from memory.folder import DataFolder
from memory.records import CurveMetric, Family, JobKind
from memory.store import Store
from tests.agent.conftest import LEARNED_GROUP
from tests.agent.trainer.conftest import BANDITS, SessionMaker, feed_bandits, practise
from tests.agent.trainer.running import run_jobs

pytestmark = LEARNED_GROUP


@pytest.fixture
def learned(learned_bandits: Callable[[Path], DataFolder], tmp_path: Path) -> Iterator[Store]:
    """Return the store of a policy that learned three arms."""
    with Store.open(learned_bandits(tmp_path / "learned")) as store:
        yield store


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


def test_what_three_arms_taught_is_better_than_nothing_on_five(learned: Store, open_session: SessionMaker) -> None:
    session = open_session(learned)
    other = _feed(learned, num_arms=5)
    evaluate(session, [other])
    (score,) = learned.curves.points(other.name, CurveMetric.ZERO_SHOT_SCORE)
    assert score.point.label == "copied"
    assert score.point.value > 0.3


def test_what_three_arms_taught_is_a_forward_transfer_to_five(learned: Store, open_session: SessionMaker) -> None:
    session = open_session(learned)
    other = _feed(learned, num_arms=5)
    evaluate(session, [other])
    (fresh,), (transfer,) = (
        learned.curves.points(other.name, metric) for metric in (CurveMetric.FRESH_RETURN, CurveMetric.FORWARD_TRANSFER)
    )
    (score,) = learned.curves.points(other.name, CurveMetric.ZERO_SHOT_SCORE)
    assert fresh.point.value == pytest.approx(2.5, abs=0.4)  # new parameters act at random
    assert transfer.point.value == pytest.approx(score.point.value - (fresh.point.value - 2.5) / (3.5 - 2.5))
    assert transfer.point.value > 0.0
    assert transfer.point.standard_error is not None

    session.learner.policy.pair(bandit_spaces(5)).score.data.neg_()  # a family may wait, and others practise meanwhile
    evaluate(session, [other])
    assert len(learned.curves.points(other.name, CurveMetric.FRESH_RETURN)) == 1
    _, later = learned.curves.points(other.name, CurveMetric.FORWARD_TRANSFER)
    assert later.point.value < transfer.point.value


def test_there_is_no_forward_transfer_before_anything_was_practised(store: Store, open_session: SessionMaker) -> None:
    evaluate(open_session(store), [feed_bandits(store)])
    assert len(store.curves.points("bandits", CurveMetric.ZERO_SHOT_RETURN)) == 1
    for metric in (CurveMetric.FRESH_RETURN, CurveMetric.FORWARD_TRANSFER):
        assert store.curves.points("bandits", metric) == []


def test_in_spaces_that_others_practise_the_transfer_is_that_of_their_parameters(
    learned: Store, open_session: SessionMaker
) -> None:
    session = open_session(learned)
    evaluate(session, [feed_bandits(learned, "again")])
    (score,) = learned.curves.points("again", CurveMetric.ZERO_SHOT_SCORE)
    (transfer,) = learned.curves.points("again", CurveMetric.FORWARD_TRANSFER)
    assert score.point.label == "shared"
    assert session.learner.start_of(learner_name(learned.families.get("again"))) is WarmStart.SHARED
    assert transfer.point.value > 0.0


def test_parts_that_do_harm_are_not_copied(learned: Store, open_session: SessionMaker) -> None:
    session = open_session(learned)
    with torch.no_grad():
        session.learner.policy.pair(bandit_spaces(3)).score.neg_()  # the worst arm is the best to it
    other = _feed(learned, num_arms=5)
    assert _choose(session, other) is WarmStart.FRESH
    practise(session, other, reason="test")
    assert session.learner.start_of(learner_name(other)) is WarmStart.FRESH
    restored = open_session(learned)
    assert restored.learner.start_of(learner_name(other)) is WarmStart.FRESH
