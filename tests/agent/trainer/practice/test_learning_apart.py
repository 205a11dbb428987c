"""Families whose first practice fails are learned apart, and then taken over; a restart changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from agent.config.settings import Settings
from agent.learners.rl2.specialist import Phase
from agent.trainer.families import learner_name
from agent.trainer.jobs.evaluate import evaluate
from agent.trainer.session import TrainerSession
from envs.tensor.bandits import bandit_spaces
from memory.folder import DataFolder
from memory.records import CurveMetric, Family, FamilyState
from memory.store import Store
from tests.agent.conftest import LEARNED_GROUP
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, practise, settings_for

pytestmark = LEARNED_GROUP


@pytest.fixture(autouse=True)
def _soon_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a first practice fail after two updates, and a specialist be done after about thirty."""
    soon = {
        "first_practice": {"ATTEMPT_UPDATES": 2, "BLOCK_UPDATES": 2, "LOW_SHARE": 9.0},
        "specialist": {"PATIENCE_BLOCKS": 4, "MOST_UPDATES": 30, "MOST_LESSONS": 120},
    }
    for module, values in soon.items():
        for name, value in values.items():
            monkeypatch.setattr(f"agent.learners.rl2.{module}.{name}", value)


@pytest.fixture
def folder(learned_bandits: Callable[[Path], DataFolder], tmp_path: Path) -> DataFolder:
    """Return the data folder of a policy that knows the bandits."""
    return learned_bandits(tmp_path / "store")


def deceive(session: TrainerSession) -> None:
    """Let the policy of all families take the worst arm for the best."""
    with torch.no_grad():
        session.learner.policy.pair(bandit_spaces(3)).score.neg_()


def phase_of(session: TrainerSession, family: Family) -> Phase:
    return session.specialists.phase(learner_name(family))


def a_family_apart(store: Store, session: TrainerSession) -> Family:
    """Return a family whose first practice has failed."""
    deceive(session)
    family = feed_bandits(store, "again")
    practise(session, family, reason="test")
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


def test_a_family_whose_first_practice_fails_is_learned_apart(store: Store, open_session: SessionMaker) -> None:
    session = open_session(store)
    family = a_family_apart(store, session)
    assert session.learner.num_updates(learner_name(family)) == 2
    assert phase_of(session, family) is Phase.APART


def test_trials_with_fewer_episodes_count_as_if_they_had_all(
    tmp_path: Path, open_session: SessionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[torch.Tensor] = []
    monkeypatch.setattr(
        "agent.learners.rl2.specialist.Specialists.note_returns", lambda _self, _name, returns: noted.append(returns)
    )
    with Store.open(DataFolder(tmp_path / "new")) as store:
        session, family = open_session(store), feed_bandits(store)
        monkeypatch.setattr(type(session.learner), "num_episodes", lambda *_: 2)  # of five
        practise(session, family, reason="test")
    assert len(noted) == 1
    assert 1.5 < float(noted[0].mean()) < 3.5  # about 2.5 for random actions, of which two episodes give 1


def test_tasks_that_recur_are_not_learned_apart(
    store: Store, open_session: SessionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.trainer.practice.training_plays.recurs", lambda _tasks: True)
    session = open_session(store)
    assert phase_of(session, a_family_apart(store, session)) is Phase.SHARED


def test_while_a_specialist_learns_the_shared_policy_stays_as_it_is(store: Store, open_session: SessionMaker) -> None:
    session = open_session(store)
    family = a_family_apart(store, session)
    before = {name: tensor.clone() for name, tensor in session.learner.policy.state_dict().items()}
    practise(session, family, reason="test")
    assert all(torch.equal(tensor, before[name]) for name, tensor in session.learner.policy.state_dict().items())
    assert store.families.get("again").totals.meta_updates == 3
    assert len(store.curves.points("again", CurveMetric.TRIAL_RETURN)) == 3
    assert len(store.rehearsal.trials(family.id)) == 16  # those of the first practice


def test_the_shared_policy_takes_the_family_over_and_the_specialist_goes(
    store: Store, open_session: SessionMaker
) -> None:
    evaluation = {"trials_tensor": 1024, "trials_gymnasium": 4}
    session = open_session(store, settings=settings_for(store.folder.path, evaluation=evaluation))
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
    assert session.learner.num_updates(learner_name(family)) == 3


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


def without_rehearsal(folder: DataFolder) -> Settings:
    return settings_for(folder.path, practise={"slice_s": 1e-6, "wait_s": 600.0, "rehearsal": False})


def test_without_rehearsal_no_family_is_learned_apart(
    store: Store, folder: DataFolder, open_session: SessionMaker
) -> None:
    session = open_session(store, settings=without_rehearsal(folder))
    family = a_family_apart(store, session)
    assert phase_of(session, family) is Phase.SHARED


def test_a_family_is_not_learned_apart_after_rehearsal_was_switched_off(
    store: Store, folder: DataFolder, open_session: SessionMaker
) -> None:
    session, family = open_session(store), feed_bandits(store, "again")
    practise(session, family, reason="test")
    assert session.specialists.to_meta()["attempts"].keys() == {learner_name(family)}
    settings: Settings = settings_for(folder.path, practise={"slice_s": 1e-6, "wait_s": 600.0, "rehearsal": False})
    restarted = open_session(store, settings=settings)
    practise(restarted, family, reason="test")
    assert phase_of(restarted, family) is Phase.SHARED
    assert restarted.specialists.to_meta()["attempts"] == {}


def test_the_specialist_of_a_removed_family_is_dropped(store: Store, open_session: SessionMaker) -> None:
    session = open_session(store)
    family = a_family_apart(store, session)
    store.families.set_state("again", FamilyState.REMOVED)
    session.close_unwanted_tasks()
    assert session.specialists.get(learner_name(family)) is None
