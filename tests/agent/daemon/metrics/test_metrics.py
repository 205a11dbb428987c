"""The metrics: their documented names, bounded labels, and scrapes that do not read the disk."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from agent.daemon.health import RedReason
from agent.daemon.metrics.declarations import METRICS
from agent.daemon.store.snapshot import read_snapshot
from memory.folder import DataFolder
from memory.records import (
    CHECKPOINT_FALLBACKS,
    CurveMetric,
    CurvePoint,
    FamilyState,
    JobKind,
    JobOutcome,
    Problem,
    ProblemKind,
)
from memory.store import Store
from monitoring.metric_table import with_table
from tests.agent.daemon.exposition import metrics_text
from tests.memory.making import make_spec, rewrite_spec
from tests.repository import ROOT

LABELS = {
    "learnd_build_info": {"version", "python"},
    "learnd_env_steps_total": {"family"},
    "learnd_episodes_total": {"family"},
    "learnd_trials_total": {"family"},
    "learnd_meta_updates_total": {"family"},
    "learnd_eval_score": {"family"},
    "learnd_eval_return": {"family"},
    "learnd_zero_shot_score": {"family", "start"},
    "learnd_met_return": {"family", "trial_begins_with"},
    "learnd_met_trial_return": {"family", "trial_begins_with"},
    "learnd_forgetting": {"family"},
    "learnd_forward_transfer": {"family"},
    "learnd_average_performance": set(),
    "learnd_rehearsal_kl": {"family"},
    "learnd_rehearsal_share": set(),
    "learnd_trial_return": {"family"},
    "learnd_episode_return": {"family", "episode"},
    "learnd_loss": {"family", "part"},
    "learnd_uncertainty": {"family", "shots"},
    "learnd_memory_episodes": {"family"},
    "learnd_memory_size_bytes": set(),
    "learnd_wal_size_bytes": set(),
    "learnd_policy_version": set(),
    "learnd_consolidations_total": {"outcome"},
    "learnd_job_runs_total": {"job", "outcome"},
    "learnd_job_duration_seconds": {"job"},
    "learnd_job_last_success_timestamp_seconds": {"job"},
    "learnd_learner_restarts_total": {"reason"},
    "learnd_worker_restarts_total": {"family", "reason"},
    "learnd_families": {"state"},
    "learnd_store_damage": {"kind"},
    "learnd_checkpoint_fallbacks_total": set(),
    "learnd_practice_seconds_total": {"family"},
    "learnd_phase_seconds_total": {"phase"},
    "learnd_family_quarantined": {"family"},
    "learnd_family_strikes": {"family"},
    "learnd_practice_allowed": set(),
    "learnd_gradient_norm": {"family"},
    "learnd_entropy": {"family"},
    "learnd_kl": {"family"},
    "learnd_explained_variance": {"family"},
    "learnd_clip_fraction": {"family"},
    "learnd_disk_free_bytes": set(),
    "learnd_disk_size_bytes": set(),
    "learnd_backup_age_seconds": set(),
    "learnd_backup_damaged_parts": set(),
    "learnd_job_errors_total": {"job"},
    "learnd_job_failures_in_a_row": {"job"},
    "learnd_job_period_seconds": {"job"},
    "learnd_health": {"reason"},
    "learnd_learner_state": {"state"},
    "learnd_learner_heartbeat_age_seconds": set(),
    "learnd_snapshot_age_seconds": set(),
    "learnd_process_memory_bytes": {"process"},
    "learnd_process_cpu_seconds_total": {"process"},
    "learnd_device_memory_used_bytes": {"device"},
    "learnd_device_memory_size_bytes": {"device"},
    "learnd_device_utilisation_ratio": {"device"},
    "learnd_limit_bytes": {"setting"},
    "learnd_limit_seconds": {"setting"},
}
"""Every documented metric with its labels. Dashboards and alerts depend on them."""


def lively_store(path: Path) -> Store:
    store = Store.open(DataFolder(path))
    store.families.add(make_spec("bandits"))
    store.families.admit("bandits", spaces={}, random_return=0.0, reference_return=1.0)
    store.curves.commit_evaluation(
        "bandits",
        [
            CurvePoint(metric=CurveMetric.EVAL_SCORE, value=0.25),
            CurvePoint(metric=CurveMetric.EVAL_RETURN, value=1.25),
            CurvePoint(metric=CurveMetric.ZERO_SHOT_SCORE, label="copied", value=0.125),
            CurvePoint(metric=CurveMetric.MET_RETURN, label="memory", value=0.875),
            CurvePoint(metric=CurveMetric.MET_TRIAL_RETURN, label="empty", value=6.5),
            CurvePoint(metric=CurveMetric.FORGETTING, value=0.0625),
            CurvePoint(metric=CurveMetric.PERFORMANCE, value=0.1875),
            CurvePoint(metric=CurveMetric.FORWARD_TRANSFER, value=-0.125),
            CurvePoint(metric=CurveMetric.REHEARSAL_KL, value=0.375),
            CurvePoint(metric=CurveMetric.REHEARSAL_SHARE, value=0.25),
            CurvePoint(metric=CurveMetric.TRIAL_RETURN, value=2.5),
            CurvePoint(metric=CurveMetric.EPISODE_RETURN, label="1", value=0.5),
            CurvePoint(metric=CurveMetric.LOSS, label="value", value=float("nan")),
            CurvePoint(metric=CurveMetric.LOSS, label="gradient_norm", value=1.5),
            CurvePoint(metric=CurveMetric.LOSS, label="entropy", value=0.5),
            CurvePoint(metric=CurveMetric.LOSS, label="kl", value=0.01),
            CurvePoint(metric=CurveMetric.LOSS, label="explained_variance", value=0.75),
            CurvePoint(metric=CurveMetric.LOSS, label="clip_fraction", value=0.125),
            CurvePoint(metric=CurveMetric.UNCERTAINTY, label="5", value=0.7),
        ],
    )
    store.families.record_strike("bandits", reason="hung", detail="")
    run = store.jobs.start(JobKind.EVALUATE, reason="due")
    store.jobs.finish(run, JobOutcome.SUCCEEDED)
    return store


def test_the_metric_names_and_labels_are_exactly_those_of_record(tmp_path: Path) -> None:
    with lively_store(tmp_path) as store:
        snapshot = read_snapshot(store, None)
    text = metrics_text(snapshot)
    found = {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.startswith("process_")
    }
    assert found == LABELS
    assert "process_resident_memory_bytes" in text
    assert 'learnd_eval_score{family="bandits"} 0.25' in text
    assert 'learnd_eval_return{family="bandits"} 1.25' in text
    assert 'learnd_zero_shot_score{family="bandits",start="copied"} 0.125' in text
    assert 'learnd_met_return{family="bandits",trial_begins_with="memory"} 0.875' in text
    assert 'learnd_met_trial_return{family="bandits",trial_begins_with="empty"} 6.5' in text
    assert 'learnd_forgetting{family="bandits"} 0.0625' in text
    assert 'learnd_forward_transfer{family="bandits"} -0.125' in text
    assert "learnd_average_performance 0.1875" in text
    assert 'learnd_rehearsal_kl{family="bandits"} 0.375' in text
    assert "learnd_rehearsal_share 0.25" in text
    assert 'learnd_worker_restarts_total{family="bandits",reason="hung"} 1.0' in text
    assert 'learnd_job_runs_total{job="evaluate",outcome="succeeded"} 1.0' in text
    assert 'learnd_families{state="active"} 1.0' in text
    assert 'learnd_loss{family="bandits",part="kl"} 0.01' in text
    assert 'learnd_kl{family="bandits"} 0.01' in text
    assert 'learnd_gradient_norm{family="bandits"} 1.5' in text
    assert 'learnd_explained_variance{family="bandits"} 0.75' in text


def test_a_family_without_a_reference_has_a_return_and_no_score(tmp_path: Path) -> None:
    with lively_store(tmp_path) as store:
        store.families.add(make_spec("pendulum"))
        store.families.admit("pendulum", spaces={}, random_return=-1200.0, reference_return=None)
        store.curves.commit_evaluation("pendulum", [CurvePoint(metric=CurveMetric.EVAL_RETURN, value=-900.0)])
        snapshot = read_snapshot(store, None)
    assert snapshot.returns["pendulum"] == (-900.0,)
    text = metrics_text(snapshot)
    assert 'learnd_eval_return{family="pendulum"} -900.0' in text
    assert 'learnd_eval_score{family="pendulum"}' not in text


def test_the_average_performance_counts_paused_families_and_the_share_of_rehearsal_does_not(tmp_path: Path) -> None:
    with lively_store(tmp_path) as store:
        store.families.add(make_spec("mdps"))
        store.families.admit("mdps", spaces={}, random_return=0.0, reference_return=1.0)
        store.curves.commit_evaluation(
            "mdps",
            [
                CurvePoint(metric=CurveMetric.PERFORMANCE, value=0.8125),
                CurvePoint(metric=CurveMetric.REHEARSAL_SHARE, value=0.75),
            ],
        )
        both = read_snapshot(store, None)
        store.families.set_state("mdps", FamilyState.PAUSED)
        paused = read_snapshot(store, None)
    with_both = metrics_text(both)
    with_one = metrics_text(paused)
    assert "learnd_average_performance 0.5\n" in with_both
    assert "learnd_average_performance 0.5\n" in with_one
    assert "learnd_rehearsal_share 0.5\n" in with_both
    assert "learnd_rehearsal_share 0.25\n" in with_one


def test_known_damage_is_counted_by_its_kind(tmp_path: Path) -> None:
    with lively_store(tmp_path) as store:
        store.damage.note(Problem(subject="trial 1", found="it differs", kind=ProblemKind.TRIAL, key="1"))
        store.damage.note(Problem(subject="trial 2", found="it differs", kind=ProblemKind.TRIAL, key="2"))
        store.counters.add(CHECKPOINT_FALLBACKS, {})
        snapshot = read_snapshot(store, None)
    text = metrics_text(snapshot)
    assert 'learnd_store_damage{kind="trial"} 2.0' in text
    assert 'learnd_store_damage{kind="parameter_file"} 0.0' in text
    assert "learnd_checkpoint_fallbacks_total 1.0" in text


def test_a_damaged_family_row_is_known_damage_at_once(tmp_path: Path) -> None:
    with lively_store(tmp_path) as store:
        with store._connection.transaction("damaging a row"):
            store._connection.execute("UPDATE families SET spec = '{\"x\":1}'")
        (problem,) = read_snapshot(store, None).damage
    assert (problem.kind, problem.subject) == (ProblemKind.ROW, "family bandits")


def test_a_family_with_an_unreadable_spec_is_refused_and_no_damage(tmp_path: Path) -> None:
    with lively_store(tmp_path) as store:
        rewrite_spec(store, "bandits", '{"name": "bandits", "source": "quantum"}')
        snapshot = read_snapshot(store, None)
    assert snapshot.damage == ()
    text = metrics_text(snapshot)
    assert 'learnd_families{state="refused"} 1.0' in text


def test_every_metric_is_declared_with_its_labels_help_and_a_unit_that_its_name_ends_in() -> None:
    assert {name: set(metric.labels) for name, metric in METRICS.items()} == LABELS
    for name, metric in METRICS.items():
        assert metric.help.endswith("."), name
        for unit in ("seconds", "bytes"):
            assert (metric.unit == unit) == name.removesuffix("_total").endswith(f"_{unit}"), name


def test_the_table_in_the_manual_is_current() -> None:
    manual = (ROOT / "docs" / "operating.md").read_text()
    assert with_table(manual) == manual, "run `make monitoring`"


def test_every_reason_for_red_health_stands_in_the_manual() -> None:
    manual = (ROOT / "docs" / "operating.md").read_text()
    assert [reason for reason in RedReason if f"`{reason}`" not in manual] == []


def test_a_scrape_before_the_first_snapshot_and_after_the_store_is_gone_is_answered(tmp_path: Path) -> None:
    assert "learnd_build_info" in metrics_text(None)
    with lively_store(tmp_path) as store:
        snapshot = read_snapshot(store, None)
    (tmp_path / "learnd.db").unlink()
    assert "learnd_env_steps_total" in metrics_text(snapshot)


def test_a_snapshot_is_reused_until_somebody_commits(tmp_path: Path) -> None:
    with lively_store(tmp_path) as writer, Store.open(DataFolder(tmp_path), is_reader=True) as reader:
        first = read_snapshot(reader, None)
        assert read_snapshot(reader, first) is first
        assert first.returns == {"bandits": (1.25,)}
        writer.curves.commit_evaluation("bandits", [CurvePoint(metric=CurveMetric.EVAL_RETURN, value=0.5)])
        second = read_snapshot(reader, first)
        assert second.returns == {"bandits": (1.25, 0.5)}
        writer.families.set_state("bandits", FamilyState.PAUSED)
        assert read_snapshot(reader, second).returns == {}


def test_a_snapshot_that_reads_only_what_is_new_has_the_points_of_a_fresh_one(tmp_path: Path) -> None:
    with lively_store(tmp_path) as writer, Store.open(DataFolder(tmp_path), is_reader=True) as reader:
        snapshot = read_snapshot(reader, None)
        changes = (
            lambda: writer.curves.commit_evaluation("bandits", [CurvePoint(metric=CurveMetric.EVAL_SCORE, value=0.75)]),
            lambda: writer.curves.commit_evaluation(
                "bandits", [CurvePoint(metric=CurveMetric.LOSS, label="new", value=2.0)]
            ),
            lambda: writer.families.add(make_spec("mdps")),
            lambda: writer.families.set_state("bandits", FamilyState.REMOVED),
            lambda: writer.families.add(make_spec("bandits")),
            lambda: writer.curves.commit_evaluation("bandits", [CurvePoint(metric=CurveMetric.FORGETTING, value=0.5)]),
        )
        for change in changes:
            change()
            snapshot = read_snapshot(reader, snapshot)
            fresh = read_snapshot(reader, None).curves
            assert {metric: curve for metric, curve in snapshot.curves.items() if curve} == fresh
