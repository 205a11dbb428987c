"""Tests of what the kinds of families propose for a version, where they differ from each other."""

from __future__ import annotations

from dataclasses import replace

import torch

from agent.learners.family_parts import part_of
from agent.policies.version_header import VersionHeader
from agent.trainer.families import learner_name
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.practice.protocol import PublishedVersion
from agent.trainer.session import TrainerSession
from envs.tensor.bandits import bandit_spaces
from memory.folder import DataFolder
from memory.records import Family
from memory.store import Store
from tests.agent.trainer.conftest import BANDITS, SessionMaker, feed_bandits, practise
from tests.agent.trainer.few_shot_sessions import feed_glyphs, small_settings


def _published(session: TrainerSession) -> PublishedVersion:
    current = session.store.initializations.current()
    assert current is not None
    arrays = session.store.checkpoints.load_parameters(current.file)
    return PublishedVersion(
        initialization=current, tensors={name: torch.from_numpy(array) for name, array in arrays.items()}
    )


def _with_a_version(store: Store, open_session: SessionMaker) -> tuple[TrainerSession, Family, PublishedVersion]:
    """Return a session that has published what it learned of a family, the family and the version."""
    session, family = open_session(store), feed_bandits(store)
    practise(session, family, reason="test")
    consolidate(session)
    return session, family, _published(session)


def _feed_five_arms(store: Store) -> Family:
    store.families.add(replace(BANDITS, name="five-arms", kwargs={"num_arms": 5}))
    return store.families.admit(
        "five-arms", spaces=bandit_spaces(5).to_json(), random_return=2.5, reference_return=BANDITS.reference_return
    )


def test_environments_propose_the_learners_parameters_and_the_published_policy_as_a_last_resort(
    store: Store, open_session: SessionMaker
) -> None:
    session, family, base = _with_a_version(store, open_session)
    practise(session, family, reason="test")
    proposals = session.practice_of(family).propose([family], base=base)
    assert [part.origin for part in proposals.parts] == ["current weights"]
    assert proposals.unchanged is not None
    assert base.tensors is not None
    assert all(torch.equal(proposals.unchanged.tensors[name], tensor) for name, tensor in base.tensors.items())
    assert proposals.unchanged.comparisons[0].gain == 0.0


def test_a_published_policy_is_played_once_for_all_candidates_of_a_consolidation(
    store: Store, open_session: SessionMaker
) -> None:
    session, family, base = _with_a_version(store, open_session)
    practice = session.practice_of(family)
    first = practice.propose([family], base=base)
    assert base.tensors is not None
    base.tensors[next(name for name in base.tensors if name.endswith("head.bias"))][0] += 20.0
    again = practice.propose([family], base=base)
    assert first.unchanged is not None
    assert again.unchanged is not None
    assert [c.mean for c in again.unchanged.comparisons] == [c.mean for c in first.unchanged.comparisons]
    fresh = practice.propose([family], base=PublishedVersion(initialization=base.initialization, tensors=base.tensors))
    assert fresh.unchanged is not None
    assert fresh.unchanged.comparisons[0].mean < first.unchanged.comparisons[0].mean


def test_a_policy_that_stays_is_not_said_to_know_a_family_that_came_later(
    store: Store, open_session: SessionMaker
) -> None:
    session = open_session(store)
    families = [feed_bandits(store), _feed_five_arms(store)]
    practise(session, families[0], reason="test")
    consolidate(session)
    practise(session, families[1], reason="test")
    practice = session.practice_of(families[0])
    proposals = practice.propose(families, base=_published(session))
    assert proposals.unchanged is not None
    header = VersionHeader(learner="rl2", config={})
    assert set(practice.export(proposals.parts[0], header).families) == {"bandits", "five-arms"}
    assert set(practice.export(proposals.unchanged, header).families) == {"bandits"}


def test_a_few_shot_family_that_cannot_be_scored_keeps_its_published_initialization(
    store: Store, folder: DataFolder, open_session: SessionMaker
) -> None:
    session = open_session(store, settings=small_settings(folder.path))
    family = feed_glyphs(session)
    practise(session, family, reason="test")
    consolidate(session)
    practise(session, family, reason="test")
    base = _published(session)
    practice = session.practice_of(family)
    (part,) = practice.propose([], base=base).parts
    assert part.comparisons == ()
    assert base.tensors is not None
    kept, published = (part_of(tensors, learner_name(family)) for tensors in (part.tensors, base.tensors))
    assert kept.keys() == published.keys()
    assert all(torch.equal(tensor, published[name]) for name, tensor in kept.items())
    assert set(practice.export(part, VersionHeader(learner="rl2", config={})).few_shot_families) == {"glyphs"}
