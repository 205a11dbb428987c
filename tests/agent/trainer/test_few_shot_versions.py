"""Tests of versions with few-shot families: what they hold, and what keeps them from being published."""

from __future__ import annotations

import pytest
import torch

from agent.learners.family_parts import PREFIX, part_of
from agent.policies.published_classifiers import few_shot_learners
from agent.policies.version_file import read_version_file
from agent.trainer.families import learner_name
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.jobs.evaluate import evaluate
from agent.trainer.session import TrainerSession
from agent.trainer.version_scores import score_version
from memory.folder import DataFolder
from memory.records import Family, InitializationState, JobOutcome
from memory.store import Store
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, practise
from tests.agent.trainer.few_shot_sessions import assert_same, feed_glyphs, published, small_settings


@pytest.fixture
def session(store: Store, folder: DataFolder, open_session: SessionMaker) -> TrainerSession:
    return open_session(store, settings=small_settings(folder.path))


def test_a_version_scores_what_was_practised(store: Store, session: TrainerSession) -> None:
    family = feed_glyphs(session)
    for _ in range(2):
        practise(session, family, reason="test")
    trained = evaluate(session, [family])["scores"]["glyphs"]
    outcome, detail = consolidate(session)
    assert (outcome, detail["outcome"], detail["version"]) == (JobOutcome.SUCCEEDED, "published", 1)
    (scored,) = score_version(
        store, session.settings, version=1, families=["glyphs"], trials=16, progress=lambda _: None
    )
    assert scored.score == pytest.approx(trained)
    assert [episode.index for episode in scored.episodes] == [0, 1]


def test_a_version_tells_whoever_loads_it_what_it_holds(store: Store, session: TrainerSession) -> None:
    family = feed_glyphs(session)
    practise(session, family, reason="test")
    practise(session, feed_bandits(store), reason="test")
    consolidate(session)
    file = store.initializations.get(1).file
    opened = read_version_file(store.folder.parameters_path / f"{file.sha256}.safetensors")
    names = set(opened.tensors)
    known = opened.header.few_shot_families["glyphs"]
    assert set(opened.header.families) == {"bandits"}
    assert [member.meta["learner"] for member in known.members] == ["prototypical"]
    assert known.images is not None
    assert 0.2 < known.images.ink_extent < 0.9
    assert any(name.startswith(f"{PREFIX}{learner_name(family)}/parameters.") for name in names)
    assert set(few_shot_learners(opened, "glyphs")[0].initialization()) == set(
        part_of(opened.tensors, learner_name(family))
    )
    assert not any("optimizer" in name for name in names)


def test_a_few_shot_family_cannot_fall_and_keeps_no_other_from_being_published(
    store: Store, session: TrainerSession
) -> None:
    family = feed_glyphs(session)
    for _ in range(2):
        practise(session, family, reason="test")
    consolidate(session)
    before = part_of(published(store, 1), learner_name(family))
    _forget(session, family)
    practise(session, feed_bandits(store), reason="test")
    _, detail = consolidate(session)
    assert detail["version"] == 2
    assert_same(before, part_of(published(store, 2), learner_name(family)))
    scores = {score.family: score for score in store.initializations.get(2).scores}
    assert scores["glyphs"].score == scores["glyphs"].published_score


def test_a_policy_that_falls_keeps_no_few_shot_family_from_being_published(
    store: Store, session: TrainerSession
) -> None:
    bandits = feed_bandits(store)
    for _ in range(30):
        practise(session, bandits, reason="test")
    consolidate(session)
    with torch.no_grad():
        for parameter in session.learner.policy.parameters():
            parameter.zero_()
    family = feed_glyphs(session)
    practise(session, family, reason="test")
    _, detail = consolidate(session)
    assert (detail["outcome"], detail["version"]) == ("published", 2)
    assert store.initializations.get(2).provenance["origin"] == "published policy"
    scores = {score.family: score for score in store.initializations.get(2).scores}
    assert scores["bandits"].score == pytest.approx(scores["bandits"].published_score)
    assert scores["bandits"].mean_return == pytest.approx(scores["bandits"].published_return)
    assert scores["glyphs"].published_score is None
    assert not [i for i in store.initializations.all() if i.state is InitializationState.REJECTED]


def _forget(session: TrainerSession, family: Family) -> None:
    """Make the learner's embedding constant, so that it cannot distinguish images."""
    name = learner_name(family)
    tensors, meta = session.few_shot.to_tensors(), session.few_shot.to_meta()
    worthless = {key: torch.zeros_like(value) if "parameters." in key else value for key, value in tensors.items()}
    session.few_shot.restore(worthless, {name: meta[name]})
