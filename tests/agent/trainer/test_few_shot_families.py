"""Tests of few-shot families in the trainer: they are practised, evaluated and restored like any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agent.learners.embedding.embeddings import EmbeddingConfig
from agent.learners.embedding.prototypical import PrototypicalConfig
from agent.learners.evaluation.few_shot import held_out_tasks
from agent.learners.evaluation.trials import EVALUATION_TASKS
from agent.learners.family_parts import part_of
from agent.learners.recipes import IMAGES
from agent.trainer.checkpoint_damage import CheckpointLostError
from agent.trainer.families import learner_name
from agent.trainer.jobs.admit import admit
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.jobs.evaluate import evaluate
from agent.trainer.practice.slices import DivergedError
from agent.trainer.session import TrainerSession
from envs.declaration import few_shot_from_declaration
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs
from memory.folder import DataFolder
from memory.records import CurveMetric, Family, FamilyState, JobKind, JobOutcome
from memory.store import Store
from memory.upkeep.repairing import repair
from tests.agent.learners.image_folders import write_images
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, practise
from tests.agent.trainer.few_shot_sessions import (
    FEW_TASKS,
    GLYPHS,
    assert_same,
    feed,
    feed_glyphs,
    published,
    small_settings,
)
from tests.agent.trainer.running import run_jobs


@pytest.fixture
def session(store: Store, folder: DataFolder, open_session: SessionMaker) -> TrainerSession:
    return open_session(store, settings=small_settings(folder.path))


def state(session: TrainerSession) -> dict[str, Tensor]:
    return session.learner.to_tensors() | session.few_shot.to_tensors()


@pytest.mark.parametrize("learner", ["protonet", "versa"])
def test_a_restarted_service_goes_on_as_if_it_had_not_been_interrupted(
    tmp_path: Path, open_session: SessionMaker, learner: str
) -> None:
    """Check two few-shot families and an RL² family, each with optimiser, random state and next task."""

    def work(store: Store, *, is_interrupted: bool) -> TrainerSession:
        session = open_session(store, settings=small_settings(tmp_path))
        families = [feed_bandits(store), feed_glyphs(session, learner), feed(session, "sinusoids", "platipus", shots=5)]
        for turn in range(4):
            if turn == 2 and is_interrupted:
                session = open_session(store, settings=small_settings(tmp_path))
            for family in families:
                practise(session, family, reason="test")
        return session

    with Store.open(DataFolder(tmp_path / "straight")) as store:
        straight = work(store, is_interrupted=False)
        totals = [family.totals for family in store.families.all()]
    with Store.open(DataFolder(tmp_path / "interrupted")) as store:
        resumed = work(store, is_interrupted=True)
        assert [family.totals for family in store.families.all()] == totals
    assert_same(state(straight), state(resumed))
    assert straight.few_shot.to_meta() == resumed.few_shot.to_meta()
    assert straight.next_task == resumed.next_task


def test_a_slice_counts_examples_tasks_and_updates(session: TrainerSession) -> None:
    family = feed(session, "sinusoids", "maml", shots=5, queries=10)
    detail = practise(session, family, reason="test")
    totals = session.store.families.get(family.name).totals
    assert (totals.env_steps, totals.episodes, totals.trials, totals.meta_updates) == (25 * 15, 25, 25, 1)
    assert session.next_task[learner_name(family)] == 25
    (point,) = session.store.curves.points("sinusoids", CurveMetric.TRIAL_RETURN)
    assert (point.point.value, point.env_steps) == (detail["trial_return"], 375)
    assert {p.point.label for p in session.store.curves.points("sinusoids", CurveMetric.LOSS)} == {"loss"}


def test_an_evaluation_shows_what_each_shot_brings(session: TrainerSession) -> None:
    family = feed(session, "sinusoids", "maml", shots=10)
    scores = evaluate(session, [family])["scores"]
    points = session.store.curves.points("sinusoids", CurveMetric.EPISODE_RETURN)
    assert [point.point.label for point in points] == ["0", "1", "2", "5", "10"]
    assert points[0].point.value == pytest.approx(family.random_return)
    (returned,) = session.store.curves.points("sinusoids", CurveMetric.EVAL_RETURN)
    assert returned.point.value == points[-1].point.value
    assert family.random_return is not None
    assert scores["sinusoids"] == pytest.approx(1 - returned.point.value / family.random_return)


def test_an_evaluation_is_repeatable_and_changes_nothing(session: TrainerSession) -> None:
    family = feed_glyphs(session, "versa")
    practise(session, family, reason="test")
    before = state(session)
    assert evaluate(session, [family]) == evaluate(session, [family])
    assert_same(before, state(session))


def test_a_family_that_its_learner_cannot_take_stops_no_other(
    session: TrainerSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_deep = PrototypicalConfig(embedding=EmbeddingConfig(channels=(4,) * 5))
    recipe = replace(IMAGES["prototypical"], config=lambda _updates: too_deep)
    monkeypatch.setitem(IMAGES, "prototypical", recipe)
    families = [feed_glyphs(session), feed(session, "sinusoids", "maml")]
    assert list(evaluate(session, families)["scores"]) == ["sinusoids"]
    assert [session.store.families.get(family.name).strikes for family in families] == [1, 0]
    run_jobs(session, JobKind.PRACTISE, family="glyphs")
    assert session.store.families.get("glyphs").strikes == 2


def test_a_posterior_tells_how_unsure_it_is(session: TrainerSession) -> None:
    evaluate(session, [feed(session, "sinusoids-ambiguous", "platipus", shots=5), feed_glyphs(session)])
    labels = [p.point.label for p in session.store.curves.points("sinusoids-ambiguous", CurveMetric.UNCERTAINTY)]
    assert labels == ["1", "2", "5"]
    assert session.store.curves.points("glyphs", CurveMetric.UNCERTAINTY) == [], (
        "a prototypical network has no posterior"
    )


def test_an_update_that_diverges_is_thrown_away(session: TrainerSession) -> None:
    family = feed(session, "sinusoids", "maml", shots=5)
    practise(session, family, reason="test")
    committed = state(session)
    learner: Any = session.few_shot.learner_of(family, learner_name(family))
    with torch.no_grad():
        next(iter(learner.network.parameters())).fill_(float("nan"))
    with pytest.raises(DivergedError, match="restored the last commit"):
        practise(session, family, reason="test")
    assert_same(committed, state(session))


def test_a_folder_that_goes_away_costs_its_own_family_a_strike(
    store: Store, folder: DataFolder, open_session: SessionMaker, tmp_path: Path
) -> None:
    write_images(draw_glyphs(GlyphConfig(alphabets=1, characters=8, drawers=3, size=24)), tmp_path / "images")
    settings = small_settings(folder.path)
    first = open_session(store, settings=settings)
    feed(first, str(tmp_path / "images"), "protonet", ways=3, queries=1, size=16)
    feed_bandits(store)
    run_jobs(first, JobKind.PRACTISE, family="images")
    assert store.families.get("images").totals.meta_updates == 1
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    later = open_session(store, settings=settings)
    (report,) = run_jobs(later, JobKind.PRACTISE, family="images")
    assert (report["outcome"], report["detail"]["fault"]) == (JobOutcome.FAILED, "start_failed")
    assert f"{tmp_path / 'images'}': there is nothing there. Name a folder" in report["detail"]["found"]
    assert evaluate(later, [store.families.get("images"), store.families.get("bandits")])["scores"].keys() == {
        "bandits"
    }
    assert store.families.get("images").strikes == 2
    outcome, detail = consolidate(later)
    assert (outcome, store.families.get("images").strikes) == (JobOutcome.SKIPPED, 3)
    assert "images could not be scored" in detail["reason"]
    (tmp_path / "elsewhere").rename(tmp_path / "images")
    assert run_jobs(later, JobKind.PRACTISE, family="images")[0]["outcome"] is JobOutcome.SUCCEEDED
    assert store.families.get("images").strikes == 0


def test_a_family_that_does_not_suffice_is_refused_with_the_reason(store: Store, session: TrainerSession) -> None:
    spec = few_shot_from_declaration("glyphs", learner="protonet", kwargs={**GLYPHS, "ways": 25})
    family = store.families.add(spec)
    assert admit(session, family)[1]["state"] == "refused"
    assert "24 classes, and a task has 25 ways" in store.families.get("glyphs").state_reason


def test_a_learner_that_cannot_learn_such_tasks_is_a_strike_not_a_crash(store: Store, session: TrainerSession) -> None:
    feed(session, "sinusoids", "protonet", shots=5)
    (report,) = run_jobs(session, JobKind.PRACTISE, family="sinusoids")
    assert report["outcome"] is JobOutcome.FAILED
    assert "does not learn regression" in report["detail"]["found"]


def test_a_removed_family_is_forgotten_and_its_name_begins_anew(store: Store, session: TrainerSession) -> None:
    old = feed_glyphs(session)
    run_jobs(session, JobKind.PRACTISE, family="glyphs")
    store.families.set_state("glyphs", FamilyState.REMOVED)
    new = feed_glyphs(session)
    run_jobs(session, JobKind.PRACTISE, family="glyphs")
    assert set(session.few_shot.to_meta()) == {learner_name(new)}
    assert session.next_task[learner_name(new)] == session.next_task[learner_name(old)]


def test_with_every_checkpoint_lost_a_repair_lets_it_go_on_from_the_published_version(
    store: Store, folder: DataFolder, session: TrainerSession, open_session: SessionMaker
) -> None:
    family = feed_glyphs(session)
    practise(session, family, reason="test")
    consolidate(session)
    live = store.checkpoints.live()
    assert live is not None
    (folder.parameters_path / f"{live.file.sha256}.safetensors").unlink()
    with pytest.raises(CheckpointLostError):
        open_session(store, settings=session.settings)
    repair(folder, may_roll_back=True)
    restored = open_session(store, settings=session.settings)
    learner = restored.few_shot.learner_of(family, learner_name(family))
    assert_same(learner.initialization(), part_of(published(store, 1), learner_name(family)))
    practise(restored, family, reason="test")
    assert store.families.get("glyphs").totals.meta_updates == 2


def test_a_checkpoint_from_before_few_shot_families_is_restored(
    store: Store, session: TrainerSession, open_session: SessionMaker
) -> None:
    practise(session, feed_bandits(store), reason="test")
    live = store.checkpoints.live()
    assert live is not None
    old_meta = {key: value for key, value in live.meta.items() if key != "few_shot"}
    store.checkpoints.restore_candidates = lambda: [type(live)(**{**vars(live), "meta": old_meta})]  # type: ignore[method-assign]
    assert_same(state(session), state(open_session(store, settings=session.settings)))


def test_scores_are_of_held_out_tasks_alone(session: TrainerSession) -> None:
    """Check that held-out scores cover whole batches of tasks and give the returns of the last episode."""
    family = feed_glyphs(session)
    learner = session.few_shot.learner_of(family, learner_name(family))
    returns = held_out_tasks(
        learner, session.few_shot.tasks_of(family), first_task=0, num_tasks=20, chance=1 / 3, is_brief=True
    )
    assert returns.trials.shape == (24,), "whole batches"
    assert returns.labels == (0, 1)
    assert torch.equal(returns.episodes[1], returns.trials)


def test_a_family_never_met_is_classified_at_once_by_another_ones_amortised_head(session: TrainerSession) -> None:
    lender = feed_glyphs(session, "versa")
    waves = feed(session, "sinusoids", "versa", shots=5)
    practise(session, lender, reason="test")
    practise(session, waves, reason="test")
    new = feed_glyphs(session, "maml", name="new", ways=4, seed=9)
    evaluate(session, [new, lender])
    (point,) = session.store.curves.points("new", CurveMetric.LENT_SCORE)
    assert (point.point.label, point.meta_updates) == ("glyphs", 0)
    expected = held_out_tasks(
        session.few_shot.learner_of(lender, learner_name(lender)),
        session.few_shot.tasks_of(new),
        first_task=EVALUATION_TASKS,
        num_tasks=FEW_TASKS["trials_few_shot"],
        chance=1 / 4,
        is_brief=True,
    )
    assert point.point.value == pytest.approx((expected.mean - 1 / 4) / (1 - 1 / 4))
    evaluate(session, [new])
    assert len(session.store.curves.points("new", CurveMetric.LENT_SCORE)) == 1, "asked once"
    assert session.store.curves.points("glyphs", CurveMetric.LENT_SCORE) == [], "it was practised"


def test_a_lender_that_fails_costs_the_borrower_neither_score_nor_strike(session: TrainerSession) -> None:
    family = feed_glyphs(session)

    def fail(*_: Any) -> Family:
        raise KeyError("gone")

    session.few_shot.lender_to = fail  # type: ignore[method-assign]
    report = evaluate(session, [family])
    assert report["scores"].keys() == {family.name}
    assert "faults" not in report
    assert session.store.families.get(family.name).strikes == 0
    assert not session.store.curves.points(family.name, CurveMetric.LENT_SCORE)
