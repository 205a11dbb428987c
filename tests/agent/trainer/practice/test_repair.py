"""A repair plays the families on which a candidate falls: stored trials alone may not show what was lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agent.learners.rl2.learner import SETTLED_UPDATES
from agent.trainer.families import learner_name
from agent.trainer.faults import UnscoredError
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.practice.repair import Repair
from agent.trainer.practice.rl2 import RL2Practice
from agent.trainer.practice.rollouts import PlayedTrials
from agent.trainer.session import TrainerSession
from envs.kinds import FamilyKind
from memory.folder import DataFolder
from memory.records import Family, FamilyState, JobOutcome
from memory.store import Store
from tests.agent.conftest import LEARNED_GROUP
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, practise, settings_for

pytestmark = LEARNED_GROUP


@pytest.fixture
def folder(learned_bandits: Callable[[Path], DataFolder], tmp_path: Path) -> DataFolder:
    """Return the data folder of a policy that learned three arms."""
    return learned_bandits(tmp_path / "store")


def lose(session: TrainerSession) -> None:
    """Change what the policy does: it always pulls the first arm."""
    with torch.no_grad():
        for pair in session.learner.policy.pairs.values():
            pair.get_parameter("head.bias")[0] += 5.0


@pytest.fixture(autouse=True)
def _stored_trials_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the KL on stored trials be small although much was lost, and let lessons end before their time is up."""
    monkeypatch.setattr("agent.trainer.practice.repair.LEARNED_AGAIN", 0.02)
    monkeypatch.setattr("agent.learners.rl2.rehearsal.rehearsal_slice.TOLERANCE", 1e9)


def learned(store: Store, folder: DataFolder, open_session: SessionMaker) -> tuple[TrainerSession, Family]:
    """Return a session that has published what it learned and then lost it, with much time for a repair."""
    session = open_session(store)
    assert consolidate(session)[1]["outcome"] == "published"
    settings = settings_for(folder.path, practise={"slice_s": 60.0, "wait_s": 600.0, "rehearsal": True})
    session = open_session(store, settings=settings)
    lose(session)
    return session, store.families.get("bandits")


def test_a_family_that_fell_in_its_own_practice_is_learned_again_from_the_published_policy(
    store: Store, folder: DataFolder, open_session: SessionMaker
) -> None:
    session, family = learned(store, folder, open_session)
    version = store.initializations.current()
    assert version is not None
    published = store.checkpoints.load_parameters(version.file)
    session.rehearsal.add(learner_name(family), [])  # As after practice: the teacher is the policy that has fallen.
    outcome, report = consolidate(session)
    assert outcome is JobOutcome.SUCCEEDED
    assert report["outcome"] in {"published", "unchanged"}, report["reason"]
    teacher = store.rehearsal.teacher(family.id)
    assert teacher is not None
    assert [part for part in teacher if (teacher[part] != published[part]).any()] == []


def test_a_repair_is_committed_with_the_tasks_that_it_played(
    store: Store, folder: DataFolder, open_session: SessionMaker
) -> None:
    session, family = learned(store, folder, open_session)
    next_task, steps = session.next_task[learner_name(family)], store.checkpoints.num_learner_steps()
    assert session.practice_of(family).repair([family], base=None)
    assert store.checkpoints.num_learner_steps() > steps
    restored = open_session(store)
    assert restored.next_task[learner_name(family)] > next_task
    before, after = session.learner.to_tensors(), restored.learner.to_tensors()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_a_family_that_cannot_be_played_is_not(store: Store, folder: DataFolder, open_session: SessionMaker) -> None:
    session, family = learned(store, folder, open_session)
    store.families.set_state(family.name, FamilyState.QUARANTINED, reason="test", quarantined_until=4e9)
    assert not session.practice_of(family).repair([store.families.get(family.name)], base=None)


def opened(store: Store, open_session: SessionMaker) -> tuple[TrainerSession, Family]:
    return open_session(store), store.families.get("bandits")


def repair_with(session: TrainerSession, play: Callable[[Family], PlayedTrials | None]) -> Repair:
    practice = session.practices[FamilyKind.ENVIRONMENTS]
    assert isinstance(practice, RL2Practice)
    slices = replace(practice.slices, length_s=60.0)
    return Repair(learner=session.learner, rehearsal=session.rehearsal, slices=slices, play=play)


def play_then(
    session: TrainerSession, store: Store, then: Callable[[Family], None]
) -> Callable[[Family], PlayedTrials | None]:
    """Return a function that plays a family once and then does something else."""
    practice, has_played = session.practices[FamilyKind.ENVIRONMENTS], []
    assert isinstance(practice, RL2Practice)

    def play(family: Family) -> PlayedTrials | None:
        if has_played:
            then(family)
            return None
        has_played.append(family)
        return practice._training.play_for_repair(store.families.get(family.name))

    return play


def fail(_family: Family) -> None:
    raise UnscoredError("the environment failed")


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_repair_that_cannot_end_leaves_the_state_of_the_last_commit(
    store: Store, open_session: SessionMaker, is_removed: bool
) -> None:
    session, family = opened(store, open_session)
    before, next_task = session.learner.to_tensors(), dict(session.next_task)
    lose(session)

    def remove(family: Family) -> None:
        store.families.set_state(family.name, FamilyState.REMOVED)

    repair = repair_with(session, play_then(session, store, remove if is_removed else fail))
    with pytest.raises(UnscoredError, match="removed" if is_removed else "failed"):
        repair.run([family], published=None)
    after = session.learner.to_tensors()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert session.next_task == next_task


def test_a_family_that_a_specialist_plays_is_not_played_for_a_repair(store: Store, open_session: SessionMaker) -> None:
    session, family = opened(store, open_session)
    again = feed_bandits(store, "again")
    session.learner._families[learner_name(family)].num_updates = SETTLED_UPDATES
    practise(session, again, reason="test")
    session.specialists.begin(learner_name(again))
    practice = session.practices[FamilyKind.ENVIRONMENTS]
    assert isinstance(practice, RL2Practice)
    assert practice._training.play_for_repair(store.families.get("again")) is None
    assert practice._training.play_for_repair(family) is not None
