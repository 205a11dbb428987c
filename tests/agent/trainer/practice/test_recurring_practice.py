"""The trainer practises families whose tasks recur with the memory of earlier trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agent.learners.rl2.recurring_training import RecurringTraining
from agent.trainer.jobs.evaluate import evaluate
from agent.trainer.practice.rollouts import ROLLOUT
from agent.trainer.session import TrainerSession
from envs.family import FamilySource, FamilySpec, Split
from envs.gymnasium.variations import Distribution, Variation, VariationTarget
from envs.registry import open_tasks
from envs.task_batch import recurs
from memory.folder import DataFolder
from memory.records import CurveMetric, Family
from memory.retrieval.key_upkeep import KeyUpkeep
from memory.store import Store
from tests.agent.trainer.conftest import SessionMaker, practise, settings_for

RECURRING = FamilySpec(
    name="recurring",
    source=FamilySource.TENSOR,
    entry="recurring_bandits",
    kwargs={"num_arms": 3},
    episodes_per_trial=4,
    reference_return=3.0,
    reference_source="test",
)


def feed_recurring(store: Store, *, recurring: int = 0) -> Family:
    spaces = open_tasks(RECURRING, None, num_trials=1, device="cpu").spaces
    store.families.add(replace(RECURRING, recurring=recurring))
    return store.families.admit("recurring", spaces=spaces.to_json(), random_return=1.5, reference_return=3.0)


def test_a_family_that_draws_new_noise_is_practised_as_recurring(store: Store, open_session: SessionMaker) -> None:
    session, family = open_session(store), feed_recurring(store)
    for _slice in range(3):
        practise(session, family, reason="test")
    training = session.environments.begin_training(family, session.learner)
    assert isinstance(training, RecurringTraining)
    assert session.learner.num_updates(session.learner.families[0]) == 3


LAKES = FamilySpec(
    name="lakes",
    source=FamilySource.GYMNASIUM,
    entry="FrozenLake-v1",
    variations=(
        Variation(
            name="desc",
            target=VariationTarget.KWARG,
            distribution=Distribution.FROZEN_LAKE_MAP,
            options={"size": 4, "p": 0.8},
        ),
    ),
    episodes_per_trial=2,
    max_episode_steps=8,
    reference_return=2.0,
)


def feed_lakes(store: Store, *, recurring: int) -> Family:
    spec = replace(LAKES, recurring=recurring)
    tasks = open_tasks(spec, None, num_trials=1, device="cpu")
    tasks.close()
    store.families.add(spec)
    return store.families.admit("lakes", spaces=tasks.spaces.to_json(), random_return=0.1, reference_return=2.0)


@pytest.mark.parametrize("recurring", [0, 6])
def test_environments_are_practised_as_recurring_if_that_is_declared(
    store: Store, open_session: SessionMaker, recurring: int
) -> None:
    session, family = open_session(store), feed_lakes(store, recurring=recurring)
    practise(session, family, reason="test")
    training = session.environments.begin_training(family, session.learner)
    assert isinstance(training, RecurringTraining) is bool(recurring)


def test_a_slice_of_tasks_that_recur_plays_no_rollout_in_the_background(
    store: Store, open_session: SessionMaker
) -> None:
    session, family = open_session(store), feed_lakes(store, recurring=6)
    practise(session, family, reason="test")
    assert not session.plays.has_ended(family.id, ROLLOUT)


def test_trials_of_every_task_that_recurs_are_stored(folder: DataFolder, open_session: SessionMaker) -> None:
    settings = settings_for(folder.path, memory={"trials_per_step": 1})
    with Store.open(folder) as store:
        session, family = open_session(store, settings=settings), feed_lakes(store, recurring=4)
        for _slice in range(20):
            practise(session, family, reason="test")
        assert {row.task["index"] for row in store.trials.of_family("lakes", limit=100)} == {0, 1, 2, 3}


def test_an_evaluation_plays_tasks_that_were_met_with_the_memory_and_without(
    store: Store, open_session: SessionMaker
) -> None:
    session, family = open_session(store), feed_lakes(store, recurring=3)
    practise(session, family, reason="test")
    evaluate(session, [store.families.get("lakes")])
    first, whole = (
        {point.point.label: point.point.value for point in store.curves.points("lakes", metric)}
        for metric in (CurveMetric.MET_RETURN, CurveMetric.MET_TRIAL_RETURN)
    )
    assert first.keys() == whole.keys() == {"memory", "empty"}
    assert all(0.0 <= first[start] <= 1.0 and first[start] <= whole[start] <= 2.0 for start in first)


def test_tasks_that_do_not_recur_have_no_return_of_met_tasks(store: Store, open_session: SessionMaker) -> None:
    session, family = open_session(store), feed_lakes(store, recurring=0)
    practise(session, family, reason="test")
    evaluate(session, [store.families.get("lakes")])
    assert store.curves.points("lakes", CurveMetric.MET_RETURN) == []


def test_the_store_recalls_the_trials_of_the_task_that_is_played(store: Store, open_session: SessionMaker) -> None:
    session, family = open_session(store), feed_recurring(store, recurring=8)
    for _slice in range(4):
        practise(session, family, reason="test")
    upkeep = KeyUpkeep.of(store)
    recall, met = upkeep.recall(family), upkeep.met_tasks(family)
    tasks = session.environments.tasks_of(family)
    assert recurs(tasks)
    assert sorted(met) == list(range(8))
    given = torch.tensor(met * (tasks.num_trials // 8))
    first = tasks.begin_tasks(given, torch.zeros_like(given), split=Split.TRAINING).numpy()
    for number, observation in zip(met, first, strict=False):
        found = recall.find(observation)
        assert {trial.task["index"] for trial in found.trials} == {number}
        assert found.likeness > 0.9


@pytest.mark.parametrize("recurring", [0, 8])
def test_practice_of_recurring_tasks_resumes_identically(
    tmp_path: Path, open_session: Callable[[Store], TrainerSession], recurring: int
) -> None:
    found, begins_stored = [], []
    for reopens in (False, True):
        with Store.open(DataFolder(tmp_path / str(reopens))) as store:
            session, family = open_session(store), feed_recurring(store, recurring=recurring)
            for _slice in range(6 if recurring else 3):
                practise(session, family, reason="test")
                begins_stored.append(_begins_stored(session, family))
                if reopens:
                    session = open_session(store)
            found.append(session.learner.to_tensors())
    assert found[0].keys() == found[1].keys()
    for name, tensor in found[0].items():
        assert torch.equal(tensor, found[1][name]), name
    assert any(begins_stored) is bool(recurring), "the store is recalled from where tasks come from a pool"


def _begins_stored(session: TrainerSession, family: Family) -> bool:
    """Return whether the last series began with what the store recalls."""
    training = session.environments._trainings[family.id]
    assert isinstance(training, RecurringTraining)
    assert training._series is not None
    return training._series.begins_stored
