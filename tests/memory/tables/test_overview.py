from __future__ import annotations

import math

import pytest

from memory.errors import StoreMissingError
from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint, FamilyState, JobKind, JobOutcome
from memory.store import Store
from memory.tables.overview import read_overview
from tests.memory.making import Clock, add_active_family, make_step, make_tensors, publish_next


def _evaluate(store: Store, value: float, family: str = "cartpole") -> None:
    point = CurvePoint(metric=CurveMetric.EVAL_SCORE, value=value, standard_error=0.1)
    of_an_episode = CurvePoint(metric=CurveMetric.EVAL_SCORE, label="1", value=-1.0)
    returned = CurvePoint(metric=CurveMetric.EVAL_RETURN, value=-700.0, standard_error=25.0)
    measures = [
        CurvePoint(metric=CurveMetric.PERFORMANCE, value=0.5),
        CurvePoint(metric=CurveMetric.FORGETTING, value=0.25),
    ]
    store.curves.commit_evaluation(family, [point, of_an_episode, returned, *measures])


def test_an_empty_store_has_an_overview_with_nothing_in_it(store: Store, folder: DataFolder) -> None:
    nothing = {"daemon": None, "policy_version": None, "learner_steps": 0, "running": [], "families": []}
    assert read_overview(folder) == nothing


def test_no_store_is_no_overview(folder: DataFolder) -> None:
    with pytest.raises(StoreMissingError):
        read_overview(folder)


def test_an_overview_says_what_the_rooms_say(store: Store, folder: DataFolder, clock: Clock) -> None:
    add_active_family(store)
    for seed in (1, 2):
        store.learner_steps.commit(make_step(seed=seed), make_tensors(), {})
    clock.now += 5
    _evaluate(store, 0.75)
    publish_next(store)
    publish_next(store, 2.0)
    store.daemon_status.set({"pid": 7})
    overview = read_overview(folder)
    assert overview["daemon"] == store.daemon_status.get()
    assert (overview["policy_version"], overview["learner_steps"]) == (2, 2)
    [report] = overview["families"]
    family = store.families.get("cartpole")
    assert report == {
        "name": "cartpole",
        "state": "active",
        "state_reason": "",
        "env_steps": family.totals.env_steps,
        "trials": family.totals.trials,
        "episodes": family.totals.episodes,
        "meta_updates": family.totals.meta_updates,
        "eval_score": 0.75,
        "eval_score_standard_error": 0.1,
        "eval_return": -700.0,
        "eval_return_standard_error": 25.0,
        "performance": 0.5,
        "forgetting": 0.25,
        "trial_return": 2.0,
        "evaluated_at": clock.now,
        "strikes": 0,
        "quarantined_until": None,
        "reference_failure": None,
    }
    assert store.overview.family_reports() == [report]


def test_a_score_that_is_not_a_number_is_none(store: Store) -> None:
    add_active_family(store)
    _evaluate(store, math.nan)
    assert store.overview.family_reports()[0]["eval_score"] is None


def test_a_family_without_a_scale_has_a_return_and_no_score(store: Store, clock: Clock) -> None:
    add_active_family(store)
    store.curves.commit_evaluation("cartpole", [CurvePoint(metric=CurveMetric.EVAL_RETURN, value=-700.0)])
    [report] = store.overview.family_reports()
    assert (report["eval_score"], report["eval_return"], report["evaluated_at"]) == (None, -700.0, clock.now)


def test_a_removed_family_keeps_its_own_score_and_lends_it_to_no_namesake(store: Store) -> None:
    add_active_family(store)
    _evaluate(store, 0.25)
    store.families.set_state("cartpole", FamilyState.REMOVED)
    add_active_family(store)
    assert [report["eval_score"] for report in store.overview.family_reports()] == [None]
    _evaluate(store, 0.75)
    assert [report["eval_score"] for report in store.overview.family_reports(with_removed=True)] == [0.25, 0.75]


def test_a_run_is_shown_until_it_ends_however_many_ended_since(store: Store, folder: DataFolder) -> None:
    backup = store.jobs.start(JobKind.BACKUP, reason="due")
    for _ in range(30):
        store.jobs.finish(store.jobs.start(JobKind.PRACTISE, family="x", reason="due"), JobOutcome.SUCCEEDED)
    assert [(run["run_id"], run["job"], run["family"]) for run in read_overview(folder)["running"]] == [
        (backup, "backup", None)
    ]
    store.jobs.finish(backup, JobOutcome.SUCCEEDED)
    assert read_overview(folder)["running"] == []
