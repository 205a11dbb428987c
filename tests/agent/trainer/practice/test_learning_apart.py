"""Families that the shared policy is wrong about are learned apart, and then taken over; a restart changes nothing."""

from __future__ import annotations

import pytest
import torch

from agent.config.settings import Settings
from agent.learners.rl2.specialist import Phase
from agent.learners.rl2.warm_start import WarmStart
from agent.trainer.families import learner_name
from agent.trainer.jobs.evaluate import evaluate
from agent.trainer.session import TrainerSession
from envs.tensor.bandits import bandit_spaces
from memory.folder import DataFolder
from memory.records import CurveMetric, Family, FamilyState
from memory.store import Store
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, practise, settings_for

UPDATES = 40
"""Updates after which the policy knows the bandits."""


@pytest.fixture(autouse=True)
def _soon_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a specialist be done after about twenty updates, and the shared policy after a few more."""
    module = "agent.learners.rl2.specialist"
    for name, value in {"BLOCK_UPDATES": 2, "PATIENCE_BLOCKS": 2, "MOST_UPDATES": 20, "MOST_LESSONS": 80}.items():
        monkeypatch.setattr(f"{module}.{name}", value)


def deceive(session: TrainerSession) -> None:
    """Let the policy of all families take the worst arm for the best."""
    with torch.no_grad():
        session.learner.policy.pair(bandit_spaces(3)).score.neg_()


def phase_of(session: TrainerSession, family: Family) -> Phase:
    return session.specialists.phase(learner_name(family))


def a_family_apart(store: Store, session: TrainerSession) -> Family:
    """Return a family that has been practised for one slice by its specialist."""
    first = feed_bandits(store)
    for _ in range(UPDATES):
        practise(session, first, reason="test")
    deceive(session)
    family = feed_bandits(store, "again")
    practise(session, family, reason="test")
    return family


def score_of(session: TrainerSession, store: Store) -> float:
    evaluate(session, [store.families.get("again")])
    return store.curves.points("again", CurveMetric.EVAL_SCORE)[-1].point.value


def practise_until(session: TrainerSession, family: Family, phase: Phase) -> int:
    for number in range(80):
        if phase_of(session, family) is phase:
            return number
        practise(session, family, reason="test")
    raise AssertionError(f"the phase is still {phase_of(session, family)}")


def test_a_family_that_the_shared_policy_is_wrong_about_begins_apart(store: Store, open_session: SessionMaker) -> None:
    session = open_session(store)
    family = a_family_apart(store, session)
    assert session.learner.start_of(learner_name(family)) is WarmStart.APART
    assert phase_of(session, family) is Phase.APART


def test_while_a_specialist_learns_the_shared_policy_stays_as_it_is(store: Store, open_session: SessionMaker) -> None:
    session = open_session(store)
    family = a_family_apart(store, session)
    before = {name: tensor.clone() for name, tensor in session.learner.policy.state_dict().items()}
    practise(session, family, reason="test")
    assert all(torch.equal(tensor, before[name]) for name, tensor in session.learner.policy.state_dict().items())
    assert store.rehearsal.trials(family.id) == []
    assert store.families.get("again").totals.meta_updates == 2
    assert len(store.curves.points("again", CurveMetric.TRIAL_RETURN)) == 2


def test_the_shared_policy_takes_the_family_over_and_the_specialist_goes(
    store: Store, open_session: SessionMaker
) -> None:
    session = open_session(store)
    family = a_family_apart(store, session)
    before = score_of(session, store)
    assert practise_until(session, family, Phase.TAKING_OVER) > 0
    practise(session, family, reason="test")
    assert store.curves.points("again", CurveMetric.LOSS)[-1].point.label is not None
    assert practise_until(session, family, Phase.SHARED) > 0
    assert session.specialists.get(learner_name(family)) is None
    assert score_of(session, store) > before + 0.3
    assert {trial.slot for trial in store.rehearsal.trials(family.id)} != set()
    practise(session, family, reason="test")  # goes on in the shared policy
    assert session.learner.num_updates(learner_name(family)) == 1


@pytest.mark.parametrize("phase", [Phase.APART, Phase.TAKING_OVER])
def test_a_restarted_trainer_goes_on_as_if_it_had_not_been_interrupted(
    store: Store, open_session: SessionMaker, phase: Phase
) -> None:
    session = open_session(store)
    family = a_family_apart(store, session)
    practise_until(session, family, phase)
    practise(session, family, reason="test")
    restored = open_session(store)
    assert restored.specialists.to_meta() == session.specialists.to_meta()
    results = []
    for one in (session, restored):
        training = one.environments.begin_training(family, one.specialists.player(learner_name(family)))
        trials = training.play(10_000)
        results.append(trials.action)
    assert torch.equal(*results)
    tensors, again = session.specialists.to_tensors(), restored.specialists.to_tensors()
    assert tensors.keys() == again.keys()


def test_without_rehearsal_no_family_is_learned_apart(
    store: Store, folder: DataFolder, open_session: SessionMaker
) -> None:
    settings: Settings = settings_for(folder.path, practise={"slice_s": 1e-6, "wait_s": 600.0, "rehearsal": False})
    session = open_session(store, settings=settings)
    family = a_family_apart(store, session)
    assert session.learner.start_of(learner_name(family)) is WarmStart.SHARED


def test_the_specialist_of_a_removed_family_is_dropped(store: Store, open_session: SessionMaker) -> None:
    session = open_session(store)
    family = a_family_apart(store, session)
    store.families.set_state("again", FamilyState.REMOVED)
    session.close_unwanted_tasks()
    assert session.specialists.get(learner_name(family)) is None
