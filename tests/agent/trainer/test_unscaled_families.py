"""Tests of families without a reference: evaluations and candidates are compared by returns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agent.learners.evaluation.trials import HeldOutReturns
from agent.trainer.gate import Comparison, Yardstick, compare
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.jobs.evaluate import evaluate
from agent.trainer.version_scores import score_version
from memory.records import CurveMetric, Family
from memory.store import Store
from tests.agent.trainer.conftest import BANDITS, SessionMaker, bandit_spaces, feed_bandits, practise
from tests.agent.trainer.running import UPDATES_TO_LEARN


def feed_without_reference(store: Store, name: str = "unscaled") -> Family:
    """Feed bandits whose reference return nobody knows."""
    store.families.add(replace(BANDITS, name=name, reference_return=None, reference_source=""))
    return store.families.admit(name, spaces=bandit_spaces(3).to_json(), random_return=2.5, reference_return=None)


def test_without_a_reference_evaluations_are_stored_as_returns_and_no_reference_appears(
    store: Store, open_session: SessionMaker
) -> None:
    family = feed_without_reference(store)
    session = open_session(store)
    reports = []
    for _ in range(5):
        practise(session, store.families.get(family.name), reason="test")
        reports.append(evaluate(session, [store.families.get(family.name)]))
    returns = [point.point.value for point in store.curves.points(family.name, CurveMetric.EVAL_RETURN)]
    assert returns == [report["returns"][family.name] for report in reports]
    assert len(set(returns)) > 1
    assert [report["scores"] for report in reports] == [{family.name: None}] * 5
    assert store.curves.points(family.name, CurveMetric.EVAL_SCORE) == []
    assert store.families.get(family.name) == replace(family, totals=store.families.get(family.name).totals)


def test_with_a_reference_score_and_return_are_on_its_scale(store: Store, open_session: SessionMaker) -> None:
    report = evaluate(open_session(store), [feed_bandits(store)])
    (score,) = store.curves.points("bandits", CurveMetric.EVAL_SCORE)
    (returned,) = store.curves.points("bandits", CurveMetric.EVAL_RETURN)
    assert report == {"returns": {"bandits": returned.point.value}, "scores": {"bandits": score.point.value}}
    assert score.point.value == pytest.approx((returned.point.value - 2.5) / (3.5 - 2.5))


def test_without_a_reference_candidates_are_compared_by_returns_on_one_scale(
    store: Store, open_session: SessionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = feed_without_reference(store)
    session = open_session(store)
    for _ in range(2):
        practise(session, store.families.get(family.name), reason="test")
    consolidate(session)
    for _ in range(UPDATES_TO_LEARN):
        practise(session, store.families.get(family.name), reason="test")
    compared: list[Comparison] = []

    def keep(returns: HeldOutReturns, yardstick: Yardstick) -> Comparison:
        compared.append(compare(returns, yardstick))
        return compared[-1]

    monkeypatch.setattr("agent.trainer.practice.rl2_candidates.compare", keep)
    _, detail = consolidate(session)
    own, published = compared
    assert own.mean != published.mean
    assert own.yardstick is published.yardstick
    assert own.yardstick.scale is None
    assert store.families.get(family.name).reference_return is None
    assert detail["version"] == 2
    (score,) = store.initializations.get(2).scores
    (before,) = store.initializations.get(1).scores
    assert (score.score, score.published_score) == (None, None)
    assert score.published_return == pytest.approx(before.mean_return)
    assert score.mean_return == pytest.approx(detail["returns"][family.name])
    assert detail["scores"] == {family.name: None}


def test_a_version_is_evaluated_by_returns_where_there_is_no_reference(
    store: Store, open_session: SessionMaker
) -> None:
    family = feed_without_reference(store)
    session = open_session(store)
    practise(session, family, reason="test")
    consolidate(session)
    (scored,) = score_version(
        store, session.settings, version=1, families=[family.name], trials=64, progress=lambda _: None
    )
    assert (scored.score, scored.standard_error) == (None, None)
    assert 0.0 < scored.mean_return < 5.0
    assert scored.return_standard_error > 0.0


def test_without_a_reference_a_version_that_forgets_is_rejected(store: Store, open_session: SessionMaker) -> None:
    family = feed_without_reference(store)
    session = open_session(store)
    for _ in range(UPDATES_TO_LEARN):
        practise(session, store.families.get(family.name), reason="test")
    consolidate(session)
    with torch.no_grad():
        for parameter in session.learner.policy.parameters():
            parameter.zero_()
    _, detail = consolidate(session)
    assert (detail["outcome"], detail["version"]) == ("rejected", None)
    assert f"falls by more than 0.05 on {family.name} (return)" in detail["reason"]
