"""The trainer practises families whose tasks recur with the memory of earlier trials."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from agent.learners.rl2.recurring_training import RecurringTraining
from agent.trainer.session import TrainerSession
from envs.family import FamilySource, FamilySpec
from envs.registry import open_tasks
from memory.folder import DataFolder
from memory.records import Family
from memory.store import Store
from tests.agent.trainer.conftest import SessionMaker, practise

RECURRING = FamilySpec(
    name="recurring",
    source=FamilySource.TENSOR,
    entry="recurring_bandits",
    kwargs={"num_arms": 3},
    episodes_per_trial=4,
    reference_return=3.0,
    reference_source="test",
)


def feed_recurring(store: Store) -> Family:
    spaces = open_tasks(RECURRING, None, num_trials=1, device="cpu").spaces
    store.families.add(RECURRING)
    return store.families.admit("recurring", spaces=spaces.to_json(), random_return=1.5, reference_return=3.0)


def test_a_family_that_draws_new_noise_is_practised_as_recurring(store: Store, open_session: SessionMaker) -> None:
    session, family = open_session(store), feed_recurring(store)
    for _slice in range(3):
        practise(session, family, reason="test")
    training = session.environments.begin_training(family, session.learner)
    assert isinstance(training, RecurringTraining)
    assert session.learner.num_updates(session.learner.families[0]) == 3


def test_practice_of_recurring_tasks_resumes_identically(
    tmp_path: Path, open_session: Callable[[Store], TrainerSession]
) -> None:
    found = []
    for reopens in (False, True):
        with Store.open(DataFolder(tmp_path / str(reopens))) as store:
            session, family = open_session(store), feed_recurring(store)
            for _slice in range(3):
                practise(session, family, reason="test")
                if reopens:
                    session = open_session(store)
            found.append(session.learner.to_tensors())
    assert found[0].keys() == found[1].keys()
    for name, tensor in found[0].items():
        assert torch.equal(tensor, found[1][name]), name
