from __future__ import annotations

from dataclasses import replace

import pytest

from memory.errors import CorruptFileError, FamilyNotFoundError, MemoryStoreError, ReferenceExistsError
from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint, FamilyState, JobKind, JobOutcome
from memory.store import Store
from tests.memory.making import MEASURED, Clock, add_active_family, make_spec, make_step, make_tensors


def evaluate(store: Store, *values: float) -> None:
    for value in values:
        point = CurvePoint(metric=CurveMetric.EVAL_RETURN, value=value, standard_error=8.0)
        store.curves.commit_evaluation("cartpole", [point])


def fail(store: Store, clock: Clock, *outcomes: JobOutcome) -> None:
    for number, outcome in enumerate(outcomes):
        clock.now += 10
        run_id = store.jobs.start(JobKind.REFERENCE, family="cartpole", reason="no reference is known")
        store.jobs.finish(run_id, outcome, error=f"error {number}")


def test_a_recorded_reference_is_kept_with_the_spec_and_survives_reopening(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        add_active_family(store)
        recorded = store.references.record(
            store.families.get("cartpole"), 100.0, spec=make_spec(reference_source="PPO")
        )
        assert (recorded.reference_return, recorded.has_scale) == (100.0, True)
    with Store.open(folder) as store:
        found = store.families.get("cartpole")
        assert (found.reference_return, found.require_spec().reference_source, found.is_damaged) == (
            100.0,
            "PPO",
            False,
        )
        assert store.check() == []


def test_a_reference_is_written_once(store: Store) -> None:
    add_active_family(store)
    before = store.families.get("cartpole")
    store.references.record(before, 100.0, spec=make_spec())
    with pytest.raises(ReferenceExistsError, match=r"never changes.*under another name with --reference"):
        store.references.record(before, 200.0, spec=make_spec())
    assert store.families.get("cartpole").reference_return == 100.0


def test_the_returns_so_far_become_scores(store: Store) -> None:
    add_active_family(store)
    evaluate(store, 20.0)
    store.learner_steps.commit(replace(make_step(), points=()), make_tensors(), {})
    evaluate(store, 60.0, 140.0)
    store.references.record(store.families.get("cartpole"), 100.0, spec=make_spec())
    scores = store.curves.points("cartpole", CurveMetric.EVAL_SCORE)
    assert [(point.point.value, point.point.standard_error) for point in scores] == [(0.0, 0.1), (0.5, 0.1), (1.5, 0.1)]
    assert [point.point.value for point in store.curves.points("cartpole", CurveMetric.EVAL_RETURN)] == [20, 60, 140]
    returns = store.curves.points("cartpole", CurveMetric.EVAL_RETURN)
    assert [point.learner_steps for point in scores] == [point.learner_steps for point in returns] == [0, 1, 1]
    latest = {point.point.metric: point.point.value for point in store.curves.latest()}
    assert latest == {CurveMetric.EVAL_RETURN: 140.0, CurveMetric.EVAL_SCORE: 1.5}


def test_a_measurement_without_a_reference_records_its_spec_only(store: Store) -> None:
    add_active_family(store)
    evaluate(store, 20.0)
    store.references.record(store.families.get("cartpole"), None, spec=make_spec(measured_reference=MEASURED))
    found = store.families.get("cartpole")
    assert (found.reference_return, found.spec) == (None, make_spec(measured_reference=MEASURED))
    assert store.curves.points("cartpole", CurveMetric.EVAL_SCORE) == []


def test_a_reference_that_is_not_above_the_random_return_is_refused(store: Store) -> None:
    add_active_family(store)
    for reference in (20.0, float("nan")):
        with pytest.raises(ValueError, match="not above"):
            store.references.record(store.families.get("cartpole"), reference, spec=make_spec())
    assert store.families.get("cartpole").reference_return is None


def test_a_family_that_was_removed_meanwhile_gets_no_reference_nor_does_its_successor(store: Store) -> None:
    add_active_family(store)
    before = store.families.get("cartpole")
    store.families.set_state("cartpole", FamilyState.REMOVED)
    with pytest.raises(FamilyNotFoundError):
        store.references.record(before, 100.0, spec=make_spec())
    add_active_family(store)
    with pytest.raises(FamilyNotFoundError, match="removed"):
        store.references.record(before, 100.0, spec=make_spec())
    assert store.families.get("cartpole").reference_return is None


def test_a_damaged_row_is_not_given_a_reference(store: Store) -> None:
    add_active_family(store)
    with store._connection.transaction("damaging a row"):
        store._connection.execute("UPDATE families SET random_return = 21")
    with pytest.raises(CorruptFileError):
        store.references.record(store.families.get("cartpole"), 100.0, spec=make_spec())


def test_failures_are_counted_since_the_last_run_that_did_not_fail(store: Store, clock: Clock) -> None:
    add_active_family(store)
    failed, interrupted = JobOutcome.FAILED, JobOutcome.INTERRUPTED
    assert store.references.failures() == {}
    fail(store, clock, failed, JobOutcome.SKIPPED, failed, interrupted, failed, interrupted)
    failure = store.references.failures()["cartpole"]
    assert (failure.count, failure.error, failure.ended_at) == (2, "error 4", clock.now - 10)


def test_failures_of_a_removed_family_of_the_same_name_do_not_count(store: Store, clock: Clock) -> None:
    add_active_family(store)
    fail(store, clock, JobOutcome.FAILED)
    store.families.set_state("cartpole", FamilyState.REMOVED)
    clock.now += 1
    add_active_family(store)
    assert store.references.failures() == {}


def test_progress_is_the_detail_of_a_run_until_it_ends(store: Store) -> None:
    run_id = store.jobs.start(JobKind.REFERENCE, family="cartpole", reason="requested")
    store.jobs.report(run_id, {"steps_done": 5})
    assert store.jobs.runs()[0].detail == {"steps_done": 5}
    store.jobs.finish(run_id, JobOutcome.SUCCEEDED, detail={"reference_return": 1.0})
    store.jobs.report(run_id, {"steps_done": 6})
    assert store.jobs.runs()[0].detail == {"reference_return": 1.0}


def test_a_reader_records_no_reference(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        add_active_family(store)
    with Store.open(folder, is_reader=True) as reader, pytest.raises(MemoryStoreError, match="reading only"):
        reader.references.record(reader.families.get("cartpole"), 100.0, spec=make_spec())


def test_measures_in_units_of_what_was_reached_end_with_the_reference(store: Store) -> None:
    add_active_family(store)
    evaluate(store, 60.0)
    measures = (CurveMetric.PERFORMANCE, CurveMetric.FORGETTING)
    store.curves.commit_evaluation("cartpole", [CurvePoint(metric=metric, value=1.0) for metric in measures])
    store.references.record(store.families.get("cartpole"), 100.0, spec=make_spec())
    assert [store.curves.points("cartpole", metric) for metric in measures] == [[], []]
    assert {p.point.metric for p in store.curves.latest()} == {CurveMetric.EVAL_RETURN, CurveMetric.EVAL_SCORE}


def test_the_score_and_the_transfer_before_practice_follow_from_the_reference(store: Store) -> None:
    add_active_family(store)
    before_practice = [
        CurvePoint(metric=CurveMetric.ZERO_SHOT_RETURN, label="copied", value=60.0, standard_error=8.0),
        CurvePoint(metric=CurveMetric.FRESH_RETURN, value=28.0, standard_error=6.0),
    ]
    store.curves.commit_evaluation("cartpole", before_practice)
    store.learner_steps.commit(replace(make_step(), points=()), make_tensors(), {})
    store.references.record(store.families.get("cartpole"), 100.0, spec=make_spec())
    (score,) = store.curves.points("cartpole", CurveMetric.ZERO_SHOT_SCORE)
    assert (score.point.label, score.point.value, score.point.standard_error) == ("copied", 0.5, 0.1)
    (transfer,) = store.curves.points("cartpole", CurveMetric.FORWARD_TRANSFER)
    assert (transfer.point.value, transfer.point.standard_error) == (pytest.approx(0.4), pytest.approx(0.125))
    assert (transfer.env_steps, transfer.learner_steps, transfer.at) == (0, 0, score.at)
    assert transfer in store.curves.latest()


def test_without_a_score_before_practice_a_reference_gives_no_transfer(store: Store) -> None:
    add_active_family(store)
    evaluate(store, 60.0)
    store.references.record(store.families.get("cartpole"), 100.0, spec=make_spec())
    assert store.curves.points("cartpole", CurveMetric.FORWARD_TRANSFER) == []
