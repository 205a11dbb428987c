from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from memory.errors import CorruptFileError, FamilyNotFoundError, TrialNotFoundError
from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint, FamilyState, FamilyTotals, LearnerStep
from memory.store import Store
from tests.memory.making import (
    Clock,
    add_active_family,
    make_rehearsal_step,
    make_step,
    make_tensors,
    make_trial,
    same_trial,
)


def files_in(folder: DataFolder) -> set[str]:
    return {path.stem for path in folder.parameters_path.glob("*.safetensors")}


def test_a_committed_step_adds_to_the_totals_and_points_at_its_checkpoint(store: Store, clock: Clock) -> None:
    add_active_family(store)
    first = store.learner_steps.commit(make_step(), make_tensors(1), {"rng": [1, 2]})
    second = store.learner_steps.commit(make_step(), make_tensors(2), {"rng": [3, 4]})
    assert (first.learner_steps, second.learner_steps) == (1, 2)
    assert store.families.get("cartpole").totals == FamilyTotals(env_steps=320, episodes=16, trials=8, meta_updates=2)
    assert store.checkpoints.live() == second
    assert second.meta == {"rng": [3, 4]}
    assert second.created_at == clock.now
    loaded = store.checkpoints.load_parameters(second.file)
    for name, tensor in make_tensors(2).items():
        np.testing.assert_array_equal(loaded[name], tensor)
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape


def test_a_superseded_checkpoint_leaves_no_file(store: Store, folder: DataFolder) -> None:
    add_active_family(store)
    for fill in range(5):
        last = store.learner_steps.commit(make_step(), make_tensors(fill), {})
        assert files_in(folder) == {last.file.sha256}


def test_a_step_that_changes_no_parameters_keeps_its_file(store: Store, folder: DataFolder) -> None:
    add_active_family(store)
    store.learner_steps.commit(make_step(), make_tensors(1), {"n": 1})
    again = store.learner_steps.commit(make_step(), make_tensors(1), {"n": 2})
    assert files_in(folder) == {again.file.sha256}
    assert store.checkpoints.load_parameters(again.file)


def test_a_step_of_a_removed_family_records_nothing(store: Store) -> None:
    add_active_family(store)
    store.families.set_state("cartpole", FamilyState.REMOVED)
    with pytest.raises(FamilyNotFoundError):
        store.learner_steps.commit(make_step(), make_tensors(), {})
    assert store.checkpoints.live() is None
    assert store.families.all(with_removed=True)[0].totals == FamilyTotals()


def test_a_step_with_an_unstorable_trial_records_nothing(store: Store) -> None:
    add_active_family(store)
    trial = make_trial()
    odd = type(trial.episodes[0])(
        observations=trial.episodes[0].observations,
        actions=np.array([object()] * 20),
        rewards=trial.episodes[0].rewards,
        is_terminated=False,
    )
    step = LearnerStep(
        family="cartpole",
        practised=FamilyTotals(trials=1),
        trials=(type(trial)(task={}, episodes=(odd,)),),
        points=(),
        started_at=0.0,
        finished_at=1.0,
    )
    with pytest.raises(ValueError, match="object"):
        store.learner_steps.commit(step, make_tensors(), {})
    assert store.families.get("cartpole").totals == FamilyTotals()


def test_learner_steps_are_counted_over_all_families_without_a_gap(store: Store) -> None:
    add_active_family(store, "a")
    add_active_family(store, "b")
    numbers = [store.learner_steps.commit(make_step(name), make_tensors(), {}).learner_steps for name in "abba"]
    with pytest.raises(FamilyNotFoundError):
        store.learner_steps.commit(make_step("c"), make_tensors(), {})
    numbers.append(store.learner_steps.commit(make_step("a"), make_tensors(), {}).learner_steps)
    assert numbers == [1, 2, 3, 4, 5]


def test_trials_come_back_whole_and_in_order(store: Store, clock: Clock) -> None:
    add_active_family(store)
    first, second = make_step(seed=1), make_step(seed=2)
    store.learner_steps.commit(first, make_tensors(1), {})
    clock.now += 10
    store.learner_steps.commit(second, make_tensors(2), {})
    newest = store.trials.of_family("cartpole", limit=3)
    assert [stored.id for stored in newest] == [4, 3, 2]
    assert [stored.id for stored in store.trials.of_family("cartpole", limit=3, newest_first=False)] == [1, 2, 3]
    assert same_trial(store.trials.load(newest[0].id), second.trials[-1])
    assert newest[0].task == {"seed": 21, "gravity": 9.8}
    assert (newest[0].num_episodes, newest[0].num_steps, newest[0].learner_step) == (2, 40, 2)
    assert newest[0].recorded_at == clock.now
    expected = sum(float(episode.rewards.sum(dtype=np.float64)) for episode in second.trials[-1].episodes)
    assert newest[0].trial_return == pytest.approx(expected)


def test_an_unknown_trial_is_an_error_that_says_so(store: Store) -> None:
    with pytest.raises(TrialNotFoundError, match="7"):
        store.trials.load(7)


def test_curve_points_stand_at_the_totals_after_their_step(store: Store) -> None:
    add_active_family(store)
    for seed in range(3):
        store.learner_steps.commit(make_step(seed=seed), make_tensors(seed), {})
    points = store.curves.points("cartpole", CurveMetric.TRIAL_RETURN)
    assert [(point.env_steps, point.meta_updates, point.point.value) for point in points] == [
        (160, 1, 0.0),
        (320, 2, 1.0),
        (480, 3, 2.0),
    ]
    assert [point.env_steps for point in store.curves.points("cartpole", CurveMetric.TRIAL_RETURN, limit=2)] == [
        320,
        480,
    ]


def test_points_of_all_families_have_the_number_of_learner_steps_of_the_store(store: Store) -> None:
    add_active_family(store)
    add_active_family(store, "acrobot")
    evaluation = [CurvePoint(metric=CurveMetric.EVAL_RETURN, value=0.5)]
    store.curves.commit_evaluation("acrobot", evaluation)
    for family in ("cartpole", "acrobot", "cartpole"):
        store.learner_steps.commit(make_step(family), make_tensors(), {})
        store.curves.commit_evaluation("acrobot", evaluation)
    practised = store.curves.points("cartpole", CurveMetric.TRIAL_RETURN)
    assert [point.learner_steps for point in practised] == [1, 3]
    evaluated = store.curves.points("acrobot", CurveMetric.EVAL_RETURN)
    assert [point.learner_steps for point in evaluated] == [0, 1, 2, 3]


def test_an_evaluation_stands_at_the_present_totals(store: Store) -> None:
    add_active_family(store)
    store.learner_steps.commit(make_step(), make_tensors(), {})
    episodes = [
        CurvePoint(metric=CurveMetric.EPISODE_RETURN, label=str(index), value=float(index)) for index in range(3)
    ]
    store.curves.commit_evaluation("cartpole", episodes)
    points = store.curves.points("cartpole", CurveMetric.EPISODE_RETURN)
    assert [point.env_steps for point in points] == [160] * 3
    only = store.curves.points("cartpole", CurveMetric.EPISODE_RETURN, label="1")
    assert [point.point for point in only] == [episodes[1]]


def test_latest_points_hold_the_newest_of_each_series(store: Store) -> None:
    add_active_family(store)
    for seed in range(3):
        store.learner_steps.commit(make_step(seed=seed), make_tensors(seed), {})
    latest = store.curves.latest()
    assert [(point.family, point.point.metric, point.point.label) for point in latest] == [
        ("cartpole", CurveMetric.LOSS, "policy"),
        ("cartpole", CurveMetric.TRIAL_RETURN, ""),
    ]
    assert latest[1] == store.curves.points("cartpole", CurveMetric.TRIAL_RETURN)[-1]


def test_a_value_that_is_not_a_number_is_kept_as_one(store: Store) -> None:
    add_active_family(store)
    values = [math.nan, math.inf, -math.inf]
    store.curves.commit_evaluation("cartpole", [CurvePoint(metric=CurveMetric.LOSS, value=value) for value in values])
    found = [point.point.value for point in store.curves.points("cartpole", CurveMetric.LOSS)]
    assert math.isnan(found[0])
    assert found[1:] == values[1:]


def test_a_step_records_points_of_the_families_named_and_leaves_out_those_that_were_removed(store: Store) -> None:
    for name in ("cartpole", "acrobot", "pendulum", "gone"):
        add_active_family(store, name)
    store.families.set_state("gone", FamilyState.REMOVED)
    points = (CurvePoint(metric=CurveMetric.REHEARSAL_KL, value=0.25),)
    statements: list[str] = []
    store._connection.raw.set_trace_callback(statements.append)
    step = replace(make_step(), points_of_others={"acrobot": points, "gone": points})
    store.learner_steps.commit(step, make_tensors(size=10), {})
    store._connection.raw.set_trace_callback(None)
    found = {
        family.name: [point.point.value for point in store.curves.points(family.name, CurveMetric.REHEARSAL_KL)]
        for family in store.families.all()
    }
    assert found == {"cartpole": [], "acrobot": [0.25], "pendulum": []}
    assert not any("FROM families" in text and "ORDER BY" in text for text in statements), "all families were read"


def test_memory_stats_count_what_is_kept(store: Store) -> None:
    add_active_family(store)
    add_active_family(store, "acrobot")
    store.learner_steps.commit(make_step(trials=3), make_tensors(size=1000), {})
    stats = store.stats.memory_stats()
    assert [(family.family, family.trials, family.episodes) for family in stats.families] == [
        ("cartpole", 3, 6),
        ("acrobot", 0, 0),
    ]
    assert stats.families[0].size_bytes == sum(
        trial.size_bytes for trial in store.trials.of_family("cartpole", limit=9)
    )
    assert stats.families[0].oldest_at is not None
    assert stats.families[1].oldest_at is None
    assert (stats.trials, stats.episodes) == (3, 6)
    assert [family.rehearsal_trials for family in stats.families] == [0, 0]
    store.learner_steps.commit(make_rehearsal_step(slots=(None, 4, 7)), make_tensors(size=1000), {})
    store.learner_steps.commit(make_rehearsal_step(slots=(7,)), make_tensors(size=1000), {})
    stats = store.stats.memory_stats()
    assert [(family.trials, family.rehearsal_trials) for family in stats.families] == [(7, 2), (0, 0)]
    assert stats.parameters_bytes > 12_000
    assert stats.database_bytes + stats.wal_bytes > 0
    assert stats.disk_free_bytes > 0
    assert store.stats.kept_episodes() == {family.family: family.episodes for family in stats.families}
    assert store.stats.sizes().size_bytes == stats.size_bytes
    store.families.set_state("acrobot", FamilyState.REMOVED)
    assert store.stats.kept_episodes().keys() == {"cartpole"}


def test_a_kept_checkpoint_outlives_the_live_one(store: Store, folder: DataFolder) -> None:
    add_active_family(store)
    assert store.checkpoints.keep_live(keep=2) is None
    kept = []
    for fill in range(4):
        store.learner_steps.commit(make_step(), make_tensors(fill), {"fill": fill})
        kept.append(store.checkpoints.keep_live(keep=2))
    live = store.learner_steps.commit(make_step(), make_tensors(9), {})
    assert store.checkpoints.kept() == [kept[3], kept[2]]
    assert store.checkpoints.restore_candidates() == [live, kept[3], kept[2]]
    assert files_in(folder) == {checkpoint.file.sha256 for checkpoint in store.checkpoints.restore_candidates()}
    for checkpoint in store.checkpoints.restore_candidates():
        assert store.checkpoints.load_parameters(checkpoint.file)


def test_keeping_the_same_checkpoint_twice_makes_one_generation(store: Store) -> None:
    add_active_family(store)
    store.learner_steps.commit(make_step(), make_tensors(), {})
    assert store.checkpoints.keep_live(keep=3) == store.checkpoints.keep_live(keep=3)
    assert len(store.checkpoints.kept()) == 1


def test_a_damaged_live_checkpoint_is_not_kept_and_a_generation_can_take_over(store: Store, folder: DataFolder) -> None:
    add_active_family(store)
    store.learner_steps.commit(make_step(), make_tensors(1), {"n": 1})
    store.checkpoints.keep_live(keep=2)
    live = store.learner_steps.commit(make_step(), make_tensors(2), {"n": 2})
    path = folder.parameters_path / f"{live.file.sha256}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CorruptFileError, match=live.file.sha256):
        store.checkpoints.keep_live(keep=2)
    loadable = []
    for candidate in store.checkpoints.restore_candidates():
        try:
            store.checkpoints.load_parameters(candidate.file)
        except CorruptFileError:
            continue
        loadable.append(candidate.meta)
    assert loadable == [{"n": 1}]


def test_a_commit_repairs_a_damaged_file_of_the_same_content(store: Store, folder: DataFolder) -> None:
    add_active_family(store)
    live = store.learner_steps.commit(make_step(), make_tensors(1), {})
    (folder.parameters_path / f"{live.file.sha256}.safetensors").write_bytes(b"")
    again = store.learner_steps.commit(make_step(), make_tensors(1), {})
    assert again.file == live.file
    assert store.checkpoints.load_parameters(again.file)
