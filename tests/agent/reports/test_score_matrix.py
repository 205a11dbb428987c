"""The score matrix: what it reads from a store, and what holds between two evaluations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.reports.continual import ScoreUnit
from agent.reports.family_curves import XAxis
from agent.reports.score_matrix import MatrixRow, ScoreMatrix, read_matrix
from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint, FamilyState
from memory.store import Store
from tests.agent.reports.matrices import cell, family, matrix
from tests.memory.making import Clock, make_spec, make_step, make_tensors


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with Store.open(DataFolder(tmp_path / "learnd"), clock=clock) as store:
        for name, reference in (("first", 200.0), ("second", 200.0), ("unscaled", None), ("new", 200.0)):
            store.families.add(make_spec(name))
            store.families.admit(name, spaces={}, random_return=100.0, reference_return=reference)
        yield store


def practise(store: Store, clock: Clock, name: str) -> None:
    clock.now += 3
    store.learner_steps.commit(replace(make_step(name), finished_at=clock.now), make_tensors(), {})


def evaluate(store: Store, clock: Clock, **returns: float) -> None:
    clock.now += 1
    for name, value in returns.items():
        store.curves.commit_evaluation(name, [CurvePoint(metric=CurveMetric.EVAL_RETURN, value=value)])


def forget(store: Store, clock: Clock) -> None:
    """Practise the first family, then the others, and evaluate all after each slice; the first is forgotten."""
    evaluate(store, clock, first=100.0, second=110.0)
    practise(store, clock, "first")
    evaluate(store, clock, first=190.0, second=110.0)
    store.families.set_state("first", FamilyState.PAUSED)
    practise(store, clock, "second")
    practise(store, clock, "unscaled")
    evaluate(store, clock, first=120.0, second=200.0, unscaled=50.0)


def read(store: Store, axis: XAxis = XAxis.LEARNER_STEPS) -> ScoreMatrix:
    return read_matrix(store, store.families.all(), axis=axis)


def test_every_family_has_its_scores_over_the_learner_steps_of_the_service(store: Store, clock: Clock) -> None:
    forget(store, clock)
    first, second, unscaled, new = read(store).rows
    assert [(c.x, c.score, c.is_practised) for c in first.cells] == [(0, 0, False), (1, 0.9, True), (3, 0.2, False)]
    assert [(c.x, c.score, c.is_practised) for c in second.cells] == [(0, 0.1, False), (1, 0.1, False), (3, 1, True)]
    assert (first.unit, second.unit, unscaled.unit) == (ScoreUnit.REFERENCE, ScoreUnit.REFERENCE, ScoreUnit.REACHED)
    assert [(c.x, c.score) for c in unscaled.cells] == [(3, -1.0)]
    assert (new.cells, new.measures) == ((), None)


def test_the_measures_of_a_family_that_was_forgotten_are_in_its_row(store: Store, clock: Clock) -> None:
    forget(store, clock)
    transfer = CurvePoint(metric=CurveMetric.FORWARD_TRANSFER, value=0.25)
    store.curves.commit_evaluation("second", [transfer])
    found = read(store)
    first, second, *_ = found.rows
    assert first.measures is not None
    assert (first.measures.reached, first.measures.performance) == (0.9, 0.2)
    assert first.measures.forgetting == pytest.approx(0.7)
    assert (first.forward_transfer, second.forward_transfer) == (None, 0.25)
    assert found.average_performance == pytest.approx((0.2 + 1.0) / 2)


def test_over_time_cells_are_in_the_order_of_their_times(store: Store, clock: Clock) -> None:
    forget(store, clock)
    first = read(store, XAxis.TIME).rows[0]
    assert [c.x for c in first.cells] == [c.point.at for c in first.cells] == sorted(c.point.at for c in first.cells)
    clock.now -= 1000
    evaluate(store, clock, first=150.0)
    assert read(store, XAxis.TIME).rows[0].cells[0].score == 0.5
    assert read(store).rows[0].cells[-1].score == 0.5


def test_an_evaluation_holds_until_the_next_one() -> None:
    row = MatrixRow(family=family("f"), unit=ScoreUnit.REFERENCE, cells=(cell(10, 0.5), cell(20, 0.75)))
    held = [row.held(x) for x in (9, 10, 19.9, 20, 99)]
    assert [None if found is None else found.score for found in held] == [None, 0.5, 0.5, 0.75, 0.75]


def test_the_limits_are_those_of_all_rows() -> None:
    assert matrix().limits == (10, 40)
    assert ScoreMatrix(axis=XAxis.TIME, rows=()).limits is None


def test_the_average_performance_leaves_out_families_without_a_reference() -> None:
    assert matrix().average_performance == pytest.approx((-0.4 + 1.3) / 2)
    assert ScoreMatrix(axis=XAxis.TIME, rows=()).average_performance is None
