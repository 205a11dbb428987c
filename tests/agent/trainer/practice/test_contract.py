"""The contract of practice: the same assertions hold for every kind of family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from agent.policies.version_header import VersionHeader
from agent.trainer.families import held_out_trials, learner_name
from agent.trainer.faults import UnscoredError
from agent.trainer.gate import Part
from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.practice.protocol import Practice, PublishedVersion
from agent.trainer.session import TrainerSession
from agent.trainer.version_scores import score_version
from envs.family import FamilySource
from envs.kinds import FamilyKind
from memory.folder import DataFolder
from memory.records import CurveMetric, Family
from memory.store import Store
from tests.agent.trainer.conftest import SessionMaker, feed_bandits
from tests.agent.trainer.few_shot_sessions import feed, feed_glyphs, small_settings

FEEDERS: dict[str, tuple[FamilyKind, Callable[[TrainerSession], Family]]] = {
    "bandits": (FamilyKind.ENVIRONMENTS, lambda session: feed_bandits(session.store)),
    "images": (FamilyKind.FEW_SHOT, feed_glyphs),
    "waves": (FamilyKind.FEW_SHOT, lambda session: feed(session, "sinusoids", "maml", shots=5)),
}
"""Families of every kind, each with a function that adds one."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One family with the practice of its kind."""

    session: TrainerSession
    family: Family

    @property
    def practice(self) -> Practice:
        return self.session.practice_of(self.family)

    def practise(self) -> dict[str, Any]:
        return self.practice.practise(self.session.store.families.get(self.family.name), reason="test")

    def state(self) -> dict[str, Tensor]:
        return self.session.learner.to_tensors() | self.session.few_shot.to_tensors()

    def published(self) -> PublishedVersion:
        """Return the current version, as the consolidate job passes it to a practice."""
        current = self.session.store.initializations.current()
        assert current is not None
        arrays = self.session.store.checkpoints.load_parameters(current.file)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return PublishedVersion(initialization=current, tensors=tensors)


@pytest.fixture(params=FEEDERS)
def case(request: pytest.FixtureRequest, store: Store, folder: DataFolder, open_session: SessionMaker) -> Case:
    session = open_session(store, settings=small_settings(folder.path))
    _, add = FEEDERS[request.param]
    return Case(session=session, family=add(session))


def assert_unchanged(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    assert before.keys() == after.keys()
    assert [name for name, tensor in before.items() if not torch.equal(tensor, after[name])] == []


def test_every_kind_has_a_practice_and_a_case_here(store: Store, open_session: SessionMaker) -> None:
    assert set(open_session(store).practices) == set(FamilyKind) == {kind for kind, _ in FEEDERS.values()}
    assert {source.kind for source in FamilySource} == set(FamilyKind)


def test_a_family_is_practised_by_the_practice_of_its_kind(case: Case) -> None:
    assert case.practice is case.session.practices[case.family.kind]
    assert case.family.kind in {kind for kind, _ in FEEDERS.values()}


def test_a_slice_is_committed_with_its_totals_its_curves_and_the_next_task(case: Case) -> None:
    before = case.state()
    report = case.practise()
    store, name = case.session.store, case.family.name
    totals = store.families.get(name).totals
    assert totals.meta_updates == report["meta_updates"] == 1
    assert (totals.env_steps, totals.trials) == (report["env_steps"], report["trials"])
    assert case.session.next_task[learner_name(case.family)] == totals.trials > 0
    (point,) = store.curves.points(name, CurveMetric.TRIAL_RETURN)
    assert point.point.value == report["trial_return"]
    assert store.curves.points(name, CurveMetric.LOSS)
    assert store.checkpoints.num_learner_steps() == 1
    after = case.state()
    assert any(name not in before or not torch.equal(before[name], tensor) for name, tensor in after.items())


def test_a_stop_before_the_first_update_keeps_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_units: int = 1) -> None:
        raise JobInterruptedError

    monkeypatch.setattr(case.session.heartbeat, "beat_or_give_up", stop)
    with pytest.raises(JobInterruptedError):
        case.practise()
    assert case.session.store.families.get(case.family.name).totals.meta_updates == 0
    assert case.session.store.checkpoints.num_learner_steps() == 0


def test_an_evaluation_is_repeatable_stores_nothing_and_leaves_the_learner_as_it_was(case: Case) -> None:
    case.practise()
    before = case.state()
    first, second = (case.practice.evaluate(case.family) for _ in range(2))
    assert torch.equal(first.returns.trials, second.returns.trials)
    assert torch.equal(first.returns.episodes, second.returns.episodes)
    assert len(first.returns.trials) >= held_out_trials(case.family, case.session.settings.evaluation)
    assert_unchanged(before, case.state())
    assert case.session.store.curves.points(case.family.name, CurveMetric.EVAL_RETURN) == []


def test_proposals_are_scored_on_every_family_and_leave_the_learner_as_it_was(case: Case) -> None:
    case.practise()
    before = case.state()
    proposals = case.practice.propose([case.family], base=None)
    assert proposals.unchanged is None, "there is no version to keep"
    for part in proposals.parts:
        assert [comparison.family for comparison in part.comparisons] == [case.family.name]
        assert part.comparisons[0].num_trials >= held_out_trials(case.family, case.session.settings.consolidation)
        assert part.comparisons[0].yardstick.published is None
        assert part.tensors
    assert_unchanged(before, case.state())


def test_every_proposal_is_measured_by_the_yardstick_of_the_published_version(case: Case) -> None:
    case.practise()
    consolidate(case.session)
    case.practise()
    proposals = case.practice.propose([case.family], base=case.published())
    parts = (*proposals.parts, *filter(None, [proposals.unchanged]))
    yardsticks = {id(comparison.yardstick) for part in parts for comparison in part.comparisons}
    assert len(yardsticks) == 1
    (known,) = case.session.store.initializations.get(1).scores
    published = parts[0].comparisons[0].yardstick.published
    assert published is not None
    assert published.mean == pytest.approx(known.mean_return)


def test_without_families_a_kind_still_proposes_a_part(case: Case) -> None:
    (part,) = case.practice.propose([], base=None).parts
    assert part.comparisons == ()


def test_a_family_that_cannot_be_scored_gets_a_strike(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.practise()

    def fail(*_: Any) -> Any:
        raise KeyError("gone")

    monkeypatch.setattr(case.session.environments, "tasks_of", fail)
    monkeypatch.setattr(case.session.few_shot, "tasks_of", fail)
    with pytest.raises(UnscoredError, match=f"{case.family.name} could not be scored"):
        case.practice.propose([case.family], base=None)
    assert case.session.store.families.get(case.family.name).strikes == 1


def test_a_row_without_readable_spaces_fails_the_check(case: Case) -> None:
    case.practice.check(case.family)
    with pytest.raises(ValueError, match="has not been admitted"):
        case.practice.check(replace(case.family, spaces=None))


def test_an_exported_part_names_its_family_in_the_header_and_keeps_the_rest(case: Case) -> None:
    case.practise()
    header = VersionHeader(learner="rl2", config={})
    assert _named(case.practice.export(Part(origin="", tensors={}, comparisons=()), header)) == set()
    for part in case.practice.propose([case.family], base=None).parts:
        exported = case.practice.export(part, header)
        assert _named(exported) == {case.family.name}
        assert (exported.learner, exported.config) == (header.learner, header.config)


def _named(header: VersionHeader) -> set[str]:
    return set(header.families) | set(header.few_shot_families)


def test_a_version_scores_what_was_practised(case: Case) -> None:
    case.practise()
    expected = case.practice.evaluate(case.family).returns
    consolidate(case.session)
    trials = held_out_trials(case.family, case.session.settings.evaluation)
    (scored,) = score_version(
        case.session.store,
        case.session.settings,
        version=1,
        families=[case.family.name],
        trials=trials,
        progress=lambda _: None,
    )
    assert scored.mean_return == pytest.approx(expected.mean)
    assert [episode.index for episode in scored.episodes] == [label for label, _ in expected.labelled_episodes]
