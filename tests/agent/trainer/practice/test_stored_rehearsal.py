"""Rehearsal in the trainer: reservoirs are in the store, and candidates are repaired before they are rejected."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from agent.config.settings import Settings
from agent.learners.rl2.rehearsal.rehearsal_slice import TOLERANCE, RehearsalSlice
from agent.trainer.families import learner_name
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.practice.slices import DivergedError
from agent.trainer.session import TrainerSession
from envs.tensor.bandits import bandit_spaces
from memory.folder import DataFolder
from memory.records import CurveMetric, FamilyState, JobOutcome
from memory.store import Store
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, practise, sessions, settings_for
from tests.data_folders import copied

SLICES_TO_LEARN = 12
"""Slices of one update after which a policy that always pulls the first arm falls by more than the gate tolerates."""


def state_of(session: TrainerSession) -> dict[str, Any]:
    return session.learner.to_tensors() | {"losses": session.rehearsal.to_meta()}


def lose(session: TrainerSession) -> None:
    """Change what the policy does: it always pulls the first arm."""
    with torch.no_grad():
        for pair in session.learner.policy.pairs.values():
            pair.get_parameter("head.bias")[0] += 5.0


def test_a_slice_puts_its_stored_trials_into_the_reservoir_of_its_family(
    store: Store, open_session: SessionMaker
) -> None:
    session = open_session(store)
    family = feed_bandits(store)
    practise(session, family, reason="test")
    practise(session, family, reason="test")
    found = store.rehearsal.trials(family.id)
    assert [trial.slot for trial in found] == list(range(16))
    assert all(episode.decisions is not None for trial in found for episode in trial.trial.episodes)


def test_a_restarted_trainer_rehearses_as_if_it_had_not_been_interrupted(
    store: Store, open_session: SessionMaker
) -> None:
    session = open_session(store)
    families = [feed_bandits(store, name) for name in ("first", "second", "third")]
    for number in range(6):
        practise(session, families[number % 3], reason="test")
    again = open_session(store)
    assert again.rehearsal.losses == session.rehearsal.losses
    assert list(again.rehearsal.losses) == list(session.rehearsal.losses)
    rehearsed = again.rehearsal.begin(learner_name(families[0]))
    same = session.rehearsal.begin(learner_name(families[0]))
    for one, part in ((again, rehearsed), (session, same)):
        one.learner.set_learning_rate(1e-3)
        for _ in range(3):
            part.after_minibatch(1000)
    before, after = session.learner.to_tensors(), again.learner.to_tensors()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_what_is_lost_of_the_other_families_is_a_curve(store: Store, open_session: SessionMaker) -> None:
    session = open_session(store)
    first, second = (feed_bandits(store, name) for name in ("first", "second"))
    practise(session, first, reason="test")
    lose(session)
    practise(session, second, reason="test")
    [lost] = store.curves.points("first", CurveMetric.REHEARSAL_KL, limit=1)
    assert lost.point.value > TOLERANCE
    assert store.curves.points("second", CurveMetric.REHEARSAL_KL) == []
    assert store.curves.points("first", CurveMetric.REHEARSAL_SHARE, limit=1)
    [share] = store.curves.points("second", CurveMetric.REHEARSAL_SHARE, limit=1)
    assert 0.0 < share.point.value < 1.0


def test_a_rehearsal_of_other_spaces_that_diverges_is_thrown_away(
    store: Store, open_session: SessionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(store)
    for name in ("first", "second"):
        practise(session, feed_bandits(store, name), reason="test")
    others = feed_bandits(store, "third", num_arms=4)
    practise(session, others, reason="test")
    committed = session.learner.to_tensors()
    lose(session)

    def diverge(_rehearsed: RehearsalSlice) -> float:
        with torch.no_grad():
            session.learner.policy.pair(bandit_spaces(3)).get_parameter("head.bias").fill_(math.nan)
        return math.inf  # the last step of the slice

    monkeypatch.setattr(RehearsalSlice, "step", diverge)
    with pytest.raises(DivergedError, match="restored the last commit"):
        practise(session, others, reason="test")
    restored = session.learner.to_tensors()
    assert [name for name in committed if not torch.equal(committed[name], restored[name])] == []


def test_a_removed_family_is_rehearsed_no_more(store: Store, open_session: SessionMaker) -> None:
    session = open_session(store)
    first, second = (feed_bandits(store, name) for name in ("first", "second"))
    practise(session, first, reason="test")
    store.families.set_state("first", FamilyState.REMOVED, reason="test")
    session.close_unwanted_tasks()
    practise(session, second, reason="test")
    assert list(session.rehearsal.losses) == [learner_name(second)]
    assert list(open_session(store).rehearsal.losses) == [learner_name(second)]


def test_rehearsal_can_be_switched_off(store: Store, folder: DataFolder, open_session: SessionMaker) -> None:
    settings = settings_for(folder.path, practise={"slice_s": 1e-6, "rehearsal": False})
    session = open_session(store, settings=settings)
    first, second = (feed_bandits(store, name) for name in ("first", "second"))
    practise(session, first, reason="test")
    lose(session)
    practise(session, second, reason="test")
    [share] = store.curves.points("second", CurveMetric.REHEARSAL_SHARE, limit=1)
    assert share.point.value < 0.01


REPAIRS_GROUP = pytest.mark.xdist_group("repairs")
"""The mark of tests of two families that were learned, so that they are practised once for all of them."""


@pytest.fixture(scope="module")
def two_learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data folder of a session that has learned and published two families. Tests work on copies."""
    folder = DataFolder(tmp_path_factory.mktemp("learned") / "store")
    with Store.open(folder) as store, sessions() as open_session:
        session = open_session(store)
        gone, played = (feed_bandits(store, name) for name in ("gone", "played"))
        for _ in range(SLICES_TO_LEARN):
            for family in (played, gone):  # in this order, so that the published version has lost nothing of the latter
                practise(session, family, reason="test")
        assert consolidate(session)[1]["outcome"] == "published"
    return folder.path


@pytest.fixture
def learned(two_learned: Path, tmp_path: Path) -> Iterator[Store]:
    """Return a store with two families that were learned and published."""
    with Store.open(copied(two_learned, tmp_path / "learned")) as store:
        yield store


@pytest.fixture
def _repair_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a repair end at a loss that it reaches, not when its time is up.

    Stored trials were played by several policies, so that some of the loss stays.
    """
    monkeypatch.setattr("agent.learners.rl2.rehearsal.rehearsal_slice.TOLERANCE", 0.04)
    monkeypatch.setattr("agent.trainer.practice.repair.LEARNED_AGAIN", 0.02)


def with_time_to_repair(folder: DataFolder) -> Settings:
    """Return settings by which a repair may take long enough also on a slow machine."""
    return settings_for(folder.path, practise={"slice_s": 60.0, "rehearsal": True})


@REPAIRS_GROUP
@pytest.mark.usefixtures("_repair_that_ends")
def test_a_candidate_that_falls_is_repaired_before_it_is_rejected(learned: Store, open_session: SessionMaker) -> None:
    session = open_session(learned, settings=with_time_to_repair(learned.folder))
    before = learned.checkpoints.num_learner_steps()
    lose(session)
    outcome, report = consolidate(session)
    assert outcome is JobOutcome.SUCCEEDED
    assert report["outcome"] in {"published", "unchanged"}, report["reason"]
    assert learned.checkpoints.num_learner_steps() > before
    restored = open_session(learned)
    before_tensors, after_tensors = session.learner.to_tensors(), restored.learner.to_tensors()
    assert [name for name in before_tensors if not torch.equal(before_tensors[name], after_tensors[name])] == []


def test_a_checkpoint_without_rehearsal_begins_with_the_reservoirs_of_the_store(
    store: Store, open_session: SessionMaker
) -> None:
    session = open_session(store)
    family = feed_bandits(store)
    practise(session, family, reason="test")
    session._restore_rehearsal({})
    assert session.rehearsal.losses == {learner_name(family): 0.0}
    assert session.rehearsal.next_slots(learner_name(family), 1) == [8]


def test_a_family_that_cannot_be_played_is_judged_by_its_stored_trials(
    store: Store, folder: DataFolder, open_session: SessionMaker
) -> None:
    session = open_session(store)
    gone, played = (feed_bandits(store, name) for name in ("gone", "played"))
    for family in (gone, played):
        practise(session, family, reason="test")
    assert consolidate(session)[1]["outcome"] == "published"
    store.families.set_state("gone", FamilyState.QUARANTINED, reason="test", quarantined_until=4e9)
    tensors = session.learner.initialization()
    practice = session.practice_of(gone)
    [own] = practice.propose([played], base=None, unplayable=[gone]).parts[0].losses
    assert own.family == "gone"
    assert not own.is_beyond
    lose(session)
    [lost] = practice.propose([played], base=None, unplayable=[gone]).parts[0].losses
    assert lost.divergence > own.divergence
    assert lost.is_beyond
    session.learner.load_initialization(tensors)


@REPAIRS_GROUP
@pytest.mark.usefixtures("_repair_that_ends")
def test_a_candidate_that_forgets_a_family_that_cannot_be_played_is_repaired(
    learned: Store, open_session: SessionMaker
) -> None:
    session = open_session(learned, settings=with_time_to_repair(learned.folder))
    learned.families.set_state("gone", FamilyState.QUARANTINED, reason="test", quarantined_until=4e9)
    lose(session)
    name = learner_name(learned.families.get("gone"))
    lost = session.rehearsal.measure(name)
    _outcome, report = consolidate(session)
    assert session.rehearsal.measure(name) < lost / 5
    assert report["outcome"] != "rejected", report["reason"]


def test_a_reservoir_that_is_not_loaded_any_more_is_read_again(
    store: Store, open_session: SessionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.trainer.practice.stored_rehearsal.MAX_LOADED", 1)
    session = open_session(store)
    families = [feed_bandits(store, name) for name in ("first", "second", "third")]
    for _ in range(2):
        for family in families:
            practise(session, family, reason="test")
    for family in families:
        assert sorted(session.rehearsal.reservoir(learner_name(family)).trials) == list(range(16))
        assert session.rehearsal.next_slots(learner_name(family), 1) == [16]
