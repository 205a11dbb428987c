"""Tests of the trainer with one family whose spec cannot be read, among others that can."""

from __future__ import annotations

import json

import pytest

from agent.learners.family_parts import part_of
from agent.trainer.families import learner_name
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.session import TrainerSession
from envs.family import FamilySpec
from memory.folder import DataFolder
from memory.records import Family, FamilyState, JobKind, JobOutcome
from memory.store import Store
from tests.agent.trainer.conftest import BANDITS, SessionMaker, feed_bandits, practise
from tests.agent.trainer.few_shot_sessions import (
    assert_same,
    feed_glyphs,
    published,
    small_settings,
)
from tests.agent.trainer.running import run_jobs
from tests.memory.making import rewrite_spec


@pytest.fixture
def few_shot_session(store: Store, folder: DataFolder, open_session: SessionMaker) -> TrainerSession:
    return open_session(store, settings=small_settings(folder.path))


def _make_unreadable(store: Store, family: Family) -> None:
    assert isinstance(family.spec, FamilySpec)
    rewrite_spec(store, family.name, json.dumps(family.spec.to_json() | {"curriculum": "of a newer version"}))


def test_the_trainer_starts_and_every_job_works_on_the_other_families(store: Store, open_session: SessionMaker) -> None:
    torn = feed_bandits(store, "torn")
    practise(open_session(store), torn, reason="test")
    _make_unreadable(store, torn)
    feed_bandits(store)
    session = open_session(store)
    practised, evaluated, consolidated = run_jobs(session, JobKind.PRACTISE, JobKind.EVALUATE, JobKind.CONSOLIDATE)
    assert (practised["outcome"], evaluated["outcome"]) == (JobOutcome.SUCCEEDED, JobOutcome.SUCCEEDED)
    assert consolidated["detail"]["outcome"] == "published"
    assert consolidated["detail"]["scores"].keys() == {"bandits"}
    (skipped,) = run_jobs(session, JobKind.PRACTISE, family="torn")
    assert (skipped["outcome"], skipped["detail"]["reason"]) == (JobOutcome.SKIPPED, "torn is refused")
    assert store.families.get("torn").strikes == 0


def test_it_is_practised_from_where_it_was_when_its_spec_can_be_read_again(
    store: Store, open_session: SessionMaker
) -> None:
    family = feed_bandits(store)
    practise(open_session(store), family, reason="test")
    _make_unreadable(store, family)
    open_session(store)
    rewrite_spec(store, family.name, json.dumps(BANDITS.to_json()))
    (report,) = run_jobs(open_session(store), JobKind.PRACTISE)
    assert report["outcome"] is JobOutcome.SUCCEEDED
    assert store.families.get("bandits").state is FamilyState.ACTIVE
    assert store.families.get("bandits").totals.meta_updates == 2


def test_a_new_version_keeps_the_published_part_of_a_few_shot_family(
    store: Store,
    few_shot_session: TrainerSession,
) -> None:
    family = feed_glyphs(few_shot_session)
    practise(few_shot_session, family, reason="test")
    consolidate(few_shot_session)
    before = part_of(published(store, 1), learner_name(family))
    _make_unreadable(store, family)
    practise(few_shot_session, feed_bandits(store), reason="test")
    _, detail = consolidate(few_shot_session)
    assert detail["version"] == 2
    assert before
    assert_same(before, part_of(published(store, 2), learner_name(family)))


def test_its_few_shot_learner_survives_a_restart_of_the_trainer(
    store: Store,
    folder: DataFolder,
    few_shot_session: TrainerSession,
    open_session: SessionMaker,
) -> None:
    family = feed_glyphs(few_shot_session)
    practise(few_shot_session, family, reason="test")
    _make_unreadable(store, family)
    feed_bandits(store)
    restarted = open_session(store, settings=small_settings(folder.path))
    run_jobs(restarted, JobKind.PRACTISE)
    assert_same(few_shot_session.few_shot.to_tensors(), restarted.few_shot.to_tensors())
