from __future__ import annotations

import os
import re
import time
from dataclasses import MISSING, fields

import pytest

from memory.folder import DataFolder
from memory.records import (
    CurveMetric,
    CurvePoint,
    FamilyState,
    FamilyTotals,
    JobKind,
    JobOutcome,
    PrunePolicy,
    PruneReport,
)
from memory.store import Store
from tests.memory.making import (
    PRUNE_NOTHING,
    Clock,
    add_active_family,
    downgrade,
    make_rehearsal_step,
    make_score,
    make_step,
    make_tensors,
    prune_only,
    publish_next,
)
from tests.repository import ROOT


def fill(store: Store, *families: str, steps: int = 5, trials: int = 4) -> None:
    for family in families:
        add_active_family(store, family)
    for seed in range(steps):
        for family in families:
            store.learner_steps.commit(make_step(family, seed=seed, trials=trials), make_tensors(seed), {})


def kept(store: Store, family: str) -> list[int]:
    return [trial.id for trial in store.trials.of_family(family, limit=1000, newest_first=False)]


def test_a_generous_policy_removes_nothing(store: Store) -> None:
    fill(store, "cartpole")
    store.jobs.start(JobKind.PRUNE, family=None, reason="due")
    publish_next(store)
    before = (kept(store, "cartpole"), store.families.all(), store.jobs.runs())
    report = store.prune(PRUNE_NOTHING)
    assert report == PruneReport(freed_bytes=report.freed_bytes, duration_s=report.duration_s)
    assert (kept(store, "cartpole"), store.families.all(), store.jobs.runs()) == before


def test_the_oldest_trials_go_until_the_size_fits(store: Store) -> None:
    fill(store, "a", "b")
    before = store.stats.memory_stats()
    target = sum(family.size_bytes for family in before.families) // 2
    report = store.prune(prune_only(max_episode_bytes=target, min_trials_per_family=1))
    after = store.stats.memory_stats()
    assert sum(family.size_bytes for family in after.families) <= target
    assert report.trials == before.trials - after.trials > 0
    assert report.episodes == before.episodes - after.episodes
    remaining = sorted(kept(store, "a") + kept(store, "b"))
    assert remaining == list(range(report.trials + 1, 41))
    assert store.check() == []


def test_every_family_keeps_its_newest_trials_whatever_the_size(store: Store) -> None:
    fill(store, "quiet", steps=1, trials=2)
    fill(store, "busy", steps=8)
    store.prune(prune_only(max_episode_bytes=0, max_episode_age_s=0.0, min_trials_per_family=3))
    assert kept(store, "quiet") == [1, 2]
    assert kept(store, "busy") == [32, 33, 34]


def test_old_trials_go_by_age_and_young_ones_stay(store: Store, clock: Clock) -> None:
    fill(store, "cartpole", steps=2)
    clock.now += 1000
    store.learner_steps.commit(make_step(trials=2), make_tensors(), {})
    report = store.prune(prune_only(max_episode_age_s=500.0, min_trials_per_family=1))
    assert report.trials == 8
    assert kept(store, "cartpole") == [9, 10]


DAY_S = 86_400.0
YEAR_S = 365 * DAY_S
BY_AGE = {"max_episode_age_s": 30 * DAY_S, "min_trials_per_family": 1}


def practise_days(store: Store, clock: Clock, days: int) -> None:
    """Commit one step of two trials per day."""
    for day in range(days):
        store.learner_steps.commit(make_step(seed=day), make_tensors(day), {})
        clock.now += DAY_S


def test_a_clock_that_jumped_ahead_removes_nothing_and_is_said(store: Store, clock: Clock) -> None:
    add_active_family(store)
    practise_days(store, clock, 5)
    clock.now += 26 * YEAR_S
    report = store.prune(prune_only(**BY_AGE))
    assert (report.trials, report.trials_of_uncertain_age) == (0, 10)
    assert "clock" in report.warnings[0]


def test_practice_under_a_clock_that_is_ahead_does_not_make_older_trials_old(store: Store, clock: Clock) -> None:
    add_active_family(store)
    practise_days(store, clock, 5)
    clock.now += 26 * YEAR_S
    practise_days(store, clock, 5)
    report = store.prune(prune_only(**BY_AGE))
    assert (report.trials, report.trials_of_uncertain_age) == (0, 10)


def test_trials_of_a_clock_that_was_ahead_age_once_it_is_right_again(store: Store, clock: Clock) -> None:
    add_active_family(store)
    clock.now += 26 * YEAR_S
    practise_days(store, clock, 3)
    clock.now -= 26 * YEAR_S
    assert store.prune(prune_only(**BY_AGE)).trials_of_uncertain_age == 6
    practise_days(store, clock, 40)
    report = store.prune(prune_only(**BY_AGE))
    assert kept(store, "cartpole")[0] > 6
    assert report.trials > 6
    assert (report.trials_of_uncertain_age, report.warnings) == (0, ())


def test_many_jumps_back_and_forth_make_nothing_old(store: Store, clock: Clock) -> None:
    add_active_family(store)
    for _ in range(40):
        clock.now += 26 * YEAR_S
        practise_days(store, clock, 0)
        store.learner_steps.commit(make_step(trials=1), make_tensors(), {})
        clock.now -= 26 * YEAR_S
        store.learner_steps.commit(make_step(trials=1), make_tensors(), {})
    assert store.prune(prune_only(**BY_AGE)).trials == 0


def test_a_clock_that_is_ahead_leaves_the_limit_of_size_in_force(store: Store, clock: Clock) -> None:
    fill(store, "cartpole")
    clock.now += 26 * YEAR_S
    report = store.prune(prune_only(max_episode_bytes=0, **BY_AGE))
    assert kept(store, "cartpole") == [20]
    assert report.trials == 19


def test_the_age_of_an_older_stores_trials_is_counted_from_their_times(
    store: Store, folder: DataFolder, clock: Clock
) -> None:
    add_active_family(store)
    practise_days(store, clock, 5)
    clock.now += 26 * YEAR_S
    practise_days(store, clock, 5)
    store.close()
    downgrade(folder)
    with Store.open(folder, clock=clock) as migrated:
        assert migrated.prune(prune_only(max_episode_age_s=30 * DAY_S, min_trials_per_family=1)).trials == 0
        assert migrated.prune(prune_only(max_episode_age_s=3 * DAY_S, min_trials_per_family=1)).trials == 14


def test_an_orphan_of_a_clock_that_was_ahead_goes(store: Store, folder: DataFolder) -> None:
    fill(store, "cartpole")
    orphan = folder.parameters_path / ("0" * 64 + ".safetensors")
    orphan.write_bytes(b"x")
    os.utime(orphan, (time.time() + YEAR_S, time.time() + YEAR_S))
    assert store.prune(PRUNE_NOTHING).parameter_files == 1


def test_a_removed_family_protects_nothing(store: Store) -> None:
    fill(store, "cartpole")
    store.families.set_state("cartpole", FamilyState.REMOVED)
    assert store.prune(prune_only(max_episode_bytes=0, min_trials_per_family=100)).trials == 20


def rehearsed(store: Store, family: str) -> list[int]:
    return [trial.trial_id for trial in store.rehearsal.trials(store.families.get(family).id)]


def test_trials_for_rehearsal_stay_whatever_their_size_and_age(store: Store, clock: Clock) -> None:
    add_active_family(store)
    store.learner_steps.commit(make_rehearsal_step(slots=(None, 3, None, 0)), make_tensors(), {})
    store.families.set_state("cartpole", FamilyState.PAUSED)
    clock.now += 1000
    fill(store, "busy")
    report = store.prune(prune_only(max_episode_bytes=0, max_episode_age_s=500.0, min_trials_per_family=1))
    assert kept(store, "cartpole") == [2, 4]
    assert rehearsed(store, "cartpole") == [4, 2]
    assert kept(store, "busy") == [24]
    assert (report.trials, report.trials_kept_for_rehearsal) == (21, 2)
    assert store.check() == []


def test_other_trials_go_first_and_the_newest_stay_besides_those_for_rehearsal(store: Store) -> None:
    add_active_family(store)
    store.learner_steps.commit(make_rehearsal_step(slots=(0, 1, None, None)), make_tensors(), {})
    store.learner_steps.commit(make_rehearsal_step(slots=(None, None, None, 2), seed=1), make_tensors(1), {})
    sizes = {trial.id: trial.size_bytes for trial in store.trials.of_family("cartpole", limit=9)}
    store.prune(prune_only(max_episode_bytes=sum(sizes.values()) - 1, min_trials_per_family=2))
    assert kept(store, "cartpole") == [1, 2, 4, 5, 6, 7, 8]
    store.prune(prune_only(max_episode_bytes=0, min_trials_per_family=2))
    assert kept(store, "cartpole") == [1, 2, 7, 8]


def test_a_trial_that_lost_its_slot_may_go(store: Store) -> None:
    add_active_family(store)
    for seed in range(3):
        store.learner_steps.commit(make_rehearsal_step(slots=(0, 1 + seed), seed=seed), make_tensors(seed), {})
    assert store.prune(prune_only(max_episode_bytes=0, min_trials_per_family=0)).trials == 2
    assert kept(store, "cartpole") == [2, 4, 5, 6]


def test_the_trials_for_rehearsal_of_a_removed_family_go(store: Store) -> None:
    add_active_family(store)
    store.learner_steps.commit(make_rehearsal_step(slots=(0, 1, None)), make_tensors(), {})
    store.families.set_state("cartpole", FamilyState.REMOVED)
    report = store.prune(prune_only(max_episode_bytes=0))
    assert (report.trials, report.trials_kept_for_rehearsal) == (3, 0)
    assert store.check() == []


def test_more_trials_for_rehearsal_than_prune_reads_at_once_do_not_stop_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory.upkeep.pruning._BATCH", 3)
    add_active_family(store)
    store.learner_steps.commit(make_rehearsal_step(slots=range(8)), make_tensors(), {})
    fill(store, "busy", steps=2)
    assert store.prune(prune_only(max_episode_bytes=0, min_trials_per_family=1)).trials == 7
    assert len(kept(store, "cartpole")) == 8


def test_totals_and_curves_do_not_change_when_trials_go(store: Store) -> None:
    fill(store, "cartpole")
    before = (store.families.get("cartpole").totals, store.curves.points("cartpole", CurveMetric.TRIAL_RETURN))
    store.prune(prune_only(max_episode_bytes=0, min_trials_per_family=0))
    assert (store.families.get("cartpole").totals, store.curves.points("cartpole", CurveMetric.TRIAL_RETURN)) == before
    assert store.stats.memory_stats().trials == 0


def test_old_learner_steps_are_folded_into_sums(store: Store, folder: DataFolder) -> None:
    fill(store, "a", "b", steps=6)
    totals = FamilyTotals(env_steps=960, episodes=48, trials=24, meta_updates=6)
    for newest, folded in ((7, 5), (2, 5), (2, 0)):
        assert store.prune(prune_only(max_learner_steps=newest)).learner_steps_folded == folded
        assert [family.totals for family in store.families.all()] == [totals, totals]
        assert store.check() == []
    assert store.learner_steps.commit(make_step("a"), make_tensors(), {}).learner_steps == 13


def test_job_runs_go_but_the_newest_of_each_family_and_the_last_success_stay(store: Store) -> None:
    def run(family: str, outcome: JobOutcome) -> None:
        run_id = store.jobs.start(JobKind.PRACTISE, family=family, reason="")
        store.jobs.finish(run_id, outcome)

    run("paused", JobOutcome.FAILED)
    run("a", JobOutcome.SUCCEEDED)
    for _ in range(10):
        run("b", JobOutcome.FAILED)
    still_open = store.jobs.start(JobKind.BACKUP, family=None, reason="due")
    for _ in range(5):
        store.jobs.record_outcome(JobKind.BACKUP, JobOutcome.OVERRAN, reason="")
    before = store.jobs.summaries()
    report = store.prune(prune_only(max_job_runs_per_kind=3))
    assert [run.family for run in store.jobs.runs(kind=JobKind.PRACTISE)] == ["b", "b", "b", "a", "paused"]
    assert [run.id for run in store.jobs.runs(kind=JobKind.BACKUP)] == [18, 17, 16, still_open]
    assert report.job_runs == 9
    assert store.jobs.summaries() == before
    assert set(store.jobs.last_practised()) == {"a", "b", "paused"}


def test_a_long_curve_is_thinned_from_its_older_half(store: Store) -> None:
    add_active_family(store)
    for value in range(100):
        store.curves.commit_evaluation("cartpole", [CurvePoint(metric=CurveMetric.EVAL_SCORE, value=float(value))])
    store.curves.commit_evaluation("cartpole", [CurvePoint(metric=CurveMetric.LOSS, value=1.0)])
    report = store.prune(prune_only(max_curve_points=40))
    values = [point.point.value for point in store.curves.points("cartpole", CurveMetric.EVAL_SCORE)]
    assert len(values) == 100 - report.curve_points <= 40
    assert values[0] == 0.0
    assert values[-10:] == [float(value) for value in range(90, 100)]
    assert values == sorted(values)
    assert len(store.curves.points("cartpole", CurveMetric.LOSS)) == 1
    assert store.prune(prune_only(max_curve_points=40)).curve_points == 0


@pytest.mark.parametrize("limit", [0, 1, 2, 3])
def test_thinning_ends_whatever_the_limit(store: Store, limit: int) -> None:
    add_active_family(store)
    for value in range(9):
        store.curves.commit_evaluation("cartpole", [CurvePoint(metric=CurveMetric.EVAL_SCORE, value=float(value))])
    store.prune(prune_only(max_curve_points=limit))
    assert store.curves.points("cartpole", CurveMetric.EVAL_SCORE)[-1].point.value == 8.0


def test_published_versions_checkpoints_and_recent_rejects_stay(store: Store, folder: DataFolder) -> None:
    fill(store, "cartpole")
    store.checkpoints.keep_live(keep=2)
    versions = [publish_next(store, fill=10.0 + number) for number in range(3)]
    for number in range(5):
        store.initializations.reject(
            make_tensors(20.0 + number), scores=[make_score()], provenance={}, reason=str(number), parent=3
        )
    report = store.prune(prune_only(max_rejected=2))
    assert (report.rejected_initializations, report.parameter_files) == (3, 3)
    assert [entry.reason for entry in store.initializations.all() if entry.version is None] == ["4", "3"]
    for version in versions:
        assert store.checkpoints.load_parameters(store.initializations.get(version).file)
    assert store.check() == []
    assert len(list(folder.parameters_path.glob("*.safetensors"))) == 1 + 3 + 2


def test_files_of_killed_commits_go_when_they_are_old_enough(store: Store, folder: DataFolder) -> None:
    fill(store, "cartpole")
    orphan = folder.parameters_path / ("0" * 64 + ".safetensors")
    unfinished = folder.parameters_path / ".0000.1.abc.tmp"
    for path in (orphan, unfinished):
        path.write_bytes(b"x" * 1000)
    assert store.prune(PRUNE_NOTHING).parameter_files == 0
    for path in (orphan, unfinished):
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    report = store.prune(PRUNE_NOTHING)
    assert report.parameter_files == 2
    assert report.freed_bytes >= 2000
    assert not orphan.exists()
    assert store.check() == []


def test_no_parameter_file_goes_while_a_commit_is_under_way(store: Store, folder: DataFolder) -> None:
    folder.create()
    orphan = folder.parameters_path / ("0" * 64 + ".safetensors")
    orphan.write_bytes(b"x")
    from memory.files.parameters import ParameterFolder

    with ParameterFolder(folder.parameters_path).kept_still():
        store.prune(prune_only(orphan_age_s=-1.0))
        assert orphan.exists()
    store.prune(prune_only(orphan_age_s=-1.0))
    assert not orphan.exists()


def test_answered_requests_go_and_open_ones_stay(store: Store) -> None:
    ids = [store.requests.add("nudge", {}) for _ in range(6)]
    for request_id in ids[1:]:
        store.requests.finish(request_id, "ok")
    assert store.prune(prune_only(max_finished_requests=2)).requests == 3
    assert [request.id for request in store.requests.take()] == ids[:1]


def test_room_is_given_back_to_the_disk(store: Store) -> None:
    add_active_family(store)
    for seed in range(12):
        store.learner_steps.commit(make_step(seed=seed, trials=8, steps=6000), make_tensors(), {})
    store.prune(PRUNE_NOTHING)
    before = store.stats.memory_stats()
    report = store.prune(prune_only(max_episode_bytes=0, min_trials_per_family=2))
    after = store.stats.memory_stats()
    assert after.database_bytes < before.database_bytes / 2
    assert report.freed_bytes >= before.database_bytes - after.database_bytes
    assert after.wal_bytes == 0
    assert store.check() == []


def test_prune_tells_how_far_it_is(store: Store) -> None:
    fill(store, "cartpole")
    told: list[tuple[str, int]] = []
    store.prune(
        prune_only(max_episode_bytes=0, min_trials_per_family=0),
        progress=lambda what, count: told.append((what, count)),
    )
    assert ("trials", 20) in told


def test_the_page_on_the_store_lists_every_limit_with_its_value() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", (ROOT / "docs" / "store.md").read_text(), re.MULTILINE)
    listed = {name: text for name, text in rows if name in {field.name for field in fields(PrunePolicy)}}
    assert listed.keys() == {field.name for field in fields(PrunePolicy)}
    for field in fields(PrunePolicy):
        assert field.default is MISSING or listed[field.name] == f"{field.default:,.0f}"
