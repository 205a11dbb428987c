"""The consolidate job: which candidates are published, and what they are compared with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agent.learners.rl2.parameters import IncompatibleParametersError
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.version_scores import score_version
from memory.folder import DataFolder
from memory.records import FamilyState, InitializationState, JobOutcome
from memory.store import Store
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, practise
from tests.agent.trainer.running import UPDATES_TO_LEARN, open_failing, train


def test_the_first_candidate_is_published_and_a_worse_one_is_rejected_with_its_scores(
    store: Store, open_session: SessionMaker
) -> None:
    feed_bandits(store)
    session = open_session(store)
    train(session, store, UPDATES_TO_LEARN)
    outcome, detail = consolidate(session)
    assert (outcome, detail["outcome"], detail["version"]) == (JobOutcome.SUCCEEDED, "published", 1)

    with torch.no_grad():
        for parameter in session.learner.policy.parameters():
            parameter.zero_()  # The policy loses everything that it learned.
    outcome, detail = consolidate(session)
    assert (outcome, detail["outcome"], detail["version"]) == (JobOutcome.SUCCEEDED, "rejected", None)
    assert store.initializations.current().version == 1  # type: ignore[union-attr]
    rejected = next(i for i in store.initializations.all() if i.state is InitializationState.REJECTED)
    (score,) = rejected.scores
    assert score.score is not None
    assert score.published_score is not None
    assert score.score < score.published_score - session.settings.consolidation.tolerance
    assert "bandits" in rejected.reason


def test_a_new_version_names_its_parent_and_can_be_rolled_back(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store)
    session = open_session(store)
    train(session, store, 1)
    consolidate(session)
    train(session, store, UPDATES_TO_LEARN)
    _, detail = consolidate(session)
    assert detail["version"] == 2
    assert store.initializations.get(2).parent == 1
    store.initializations.roll_back(reason="test")
    assert store.initializations.current().version == 1  # type: ignore[union-attr]


def test_nothing_practised_is_nothing_to_consolidate(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store)
    assert consolidate(open_session(store))[0] is JobOutcome.SKIPPED


def test_a_candidate_that_gains_nothing_is_not_worth_a_version(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store)
    session = open_session(store)
    train(session, store, 1)
    consolidate(session)
    _, detail = consolidate(session)
    assert detail["outcome"] == "unchanged"
    assert len(store.initializations.all()) == 1


def test_a_version_of_another_shape_is_named_as_such(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store)
    session = open_session(store)
    train(session, store, 1)
    consolidate(session)
    published = store.initializations.get(1)
    wider = {**published.provenance, "config": {**published.provenance["config"], "hidden_size": 24}}
    store.initializations.get = lambda _version: replace(published, provenance=wider)  # type: ignore[method-assign]
    with pytest.raises(IncompatibleParametersError, match="do not fit"):
        score_version(store, session.settings, version=1, families=["bandits"], trials=8, progress=lambda _: None)


def test_a_damaged_current_version_is_stood_for_by_its_stored_scores(
    store: Store, folder: DataFolder, open_session: SessionMaker
) -> None:
    feed_bandits(store)
    session = open_session(store)
    train(session, store, 1)
    consolidate(session)
    current = store.initializations.current()
    assert current is not None
    path = folder.parameters_path / f"{current.file.sha256}.safetensors"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    train(session, store, UPDATES_TO_LEARN)
    outcome, detail = consolidate(session)
    assert (outcome, detail["version"]) == (JobOutcome.SUCCEEDED, 2)
    (score,) = store.initializations.get(2).scores
    assert score.published_score == pytest.approx(current.scores[0].score)


def test_nothing_is_published_past_a_family_that_could_not_be_scored(store: Store, open_session: SessionMaker) -> None:
    for name in ("sound", "broken"):
        practise(open_session(store), feed_bandits(store, name), reason="test")
    outcome, detail = consolidate(open_session(store, opener=open_failing))
    assert outcome is JobOutcome.SKIPPED
    assert "broken could not be scored" in detail["reason"]
    assert store.initializations.all() == []


def test_a_family_that_fails_for_long_is_left_out_of_the_gate_and_named(
    store: Store, open_session: SessionMaker
) -> None:
    for name in ("sound", "broken"):
        practise(open_session(store), feed_bandits(store, name), reason="test")
    session = open_session(store, opener=open_failing)
    for _ in range(session.settings.workers.max_strikes):
        assert consolidate(session)[0] is JobOutcome.SKIPPED
    assert store.families.get("broken").state is FamilyState.QUARANTINED
    _, detail = consolidate(session)
    assert detail["version"] == 1
    assert detail["reason"].endswith("not scored: broken")
