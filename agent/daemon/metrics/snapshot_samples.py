"""The values of the metrics that follow from a snapshot of the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import fmean

from agent.daemon.processes.trainer_exit import RestartReason
from agent.daemon.store.snapshot import Snapshot
from agent.reports.continual import average_performance
from memory.records import (
    CHECKPOINT_FALLBACKS,
    CurveMetric,
    FamilyState,
    JobKind,
    JobOutcome,
    ProblemKind,
)

LEARNER_RESTARTS = "learner_restarts"
WORKER_RESTARTS = "worker_restarts"
JOB_RUNS = "job_runs"
JOB_ERRORS = "job_errors"
CONSOLIDATIONS = "consolidations"
PRACTICE_SECONDS = "practice_seconds"
PHASE_SECONDS = "phase_seconds"
"""Names of counters of the store."""

CONSOLIDATION_OUTCOMES = ("published", "rejected", "unchanged")
PHASES = ("rollout", "update", "rehearsal", "commit", "evaluation", "consolidation")

Samples = Mapping[tuple[str, ...], float]
"""Values of a metric by the values of its labels."""

_Values = dict[tuple[str, ...], float]

POINTS: tuple[tuple[str, CurveMetric, bool], ...] = (
    ("learnd_eval_score", CurveMetric.EVAL_SCORE, False),
    ("learnd_eval_return", CurveMetric.EVAL_RETURN, False),
    ("learnd_zero_shot_score", CurveMetric.ZERO_SHOT_SCORE, True),
    ("learnd_met_return", CurveMetric.MET_RETURN, True),
    ("learnd_met_trial_return", CurveMetric.MET_TRIAL_RETURN, True),
    ("learnd_forgetting", CurveMetric.FORGETTING, False),
    ("learnd_forward_transfer", CurveMetric.FORWARD_TRANSFER, False),
    ("learnd_rehearsal_kl", CurveMetric.REHEARSAL_KL, False),
    ("learnd_trial_return", CurveMetric.TRIAL_RETURN, False),
    ("learnd_episode_return", CurveMetric.EPISODE_RETURN, True),
    ("learnd_loss", CurveMetric.LOSS, True),
    ("learnd_uncertainty", CurveMetric.UNCERTAINTY, True),
)
"""Metrics of curve points, with the curve, and whether the point's label is one of the metric."""

LOSS_PARTS = {
    "gradient_norm": "learnd_gradient_norm",
    "entropy": "learnd_entropy",
    "kl": "learnd_kl",
    "explained_variance": "learnd_explained_variance",
    "clip_fraction": "learnd_clip_fraction",
}
"""Parts of the loss that have a metric of their own, because they differ in unit and scale."""


def snapshot_samples(snapshot: Snapshot) -> dict[str, Samples]:
    """Return the values of every metric that follows from the store, by the metrics' names."""
    of = _Labels()
    parts = (
        _family_samples(snapshot, of),
        _point_samples(snapshot, of),
        _mean_samples(snapshot),
        _memory_samples(snapshot, of),
        _job_samples(snapshot),
        _counter_samples(snapshot, of),
    )
    return {name: samples for part in parts for name, samples in part}


class _Labels(dict[str, tuple[str]]):
    """The values of the labels of a series that has the family as its only label, by family.

    One tuple for all metrics: tens of thousands of new ones would make the interpreter search for garbage.
    """

    def __missing__(self, family: str) -> tuple[str]:
        labels = self[family] = (family,)
        return labels


def _family_samples(snapshot: Snapshot, of: _Labels) -> Iterator[tuple[str, Samples]]:
    families = snapshot.families
    yield "learnd_env_steps_total", {of[f.name]: float(f.totals.env_steps) for f in families}
    yield "learnd_episodes_total", {of[f.name]: float(f.totals.episodes) for f in families}
    yield "learnd_trials_total", {of[f.name]: float(f.totals.trials) for f in families}
    yield "learnd_meta_updates_total", {of[f.name]: float(f.totals.meta_updates) for f in families}
    counts: _Values = {(state,): 0.0 for state in FamilyState if state is not FamilyState.REMOVED}
    for family in families:
        counts[(family.state,)] += 1
    yield "learnd_families", counts
    quarantined = FamilyState.QUARANTINED
    yield "learnd_family_quarantined", {of[f.name]: float(f.state is quarantined) for f in families}
    yield "learnd_family_strikes", {of[f.name]: float(f.strikes) for f in families}


def _point_samples(snapshot: Snapshot, of: _Labels) -> Iterator[tuple[str, Samples]]:
    for name, metric, is_labelled in POINTS:
        values = snapshot.curves.get(metric, {})
        yield name, values if is_labelled else {of[family]: value for (family, _), value in values.items()}
    parts: dict[str, _Values] = {name: {} for name in LOSS_PARTS.values()}
    for (family, label), value in snapshot.curves.get(CurveMetric.LOSS, {}).items():
        if (part := LOSS_PARTS.get(label)) is not None:
            parts[part][of[family]] = value
    yield from parts.items()


def _mean_samples(snapshot: Snapshot) -> Iterator[tuple[str, Samples]]:
    performance = average_performance(snapshot.families, snapshot.newest(CurveMetric.PERFORMANCE))
    yield "learnd_average_performance", {} if performance is None else {(): performance}
    active = {family.name for family in snapshot.families if family.state is FamilyState.ACTIVE}
    shares = [share for name, share in snapshot.newest(CurveMetric.REHEARSAL_SHARE).items() if name in active]
    yield "learnd_rehearsal_share", {(): fmean(shares)} if shares else {}


def _memory_samples(snapshot: Snapshot, of: _Labels) -> Iterator[tuple[str, Samples]]:
    yield "learnd_memory_episodes", {of[family]: float(episodes) for family, episodes in snapshot.episodes.items()}
    yield "learnd_memory_size_bytes", {(): float(snapshot.sizes.size_bytes)}
    yield "learnd_wal_size_bytes", {(): float(snapshot.sizes.wal_bytes)}
    damage: _Values = {(str(kind),): 0.0 for kind in ProblemKind}
    for problem in snapshot.damage:
        damage[(str(problem.kind),)] += 1
    yield "learnd_store_damage", damage
    yield "learnd_policy_version", {(): float(snapshot.policy_version)}
    yield "learnd_backup_damaged_parts", {(): float(_backup_damage(snapshot))}


def _backup_damage(snapshot: Snapshot) -> int:
    """Return the number of damaged parts in the newest backup plus that of backups which the newest check rejects."""
    made, checked = (snapshot.jobs.get(kind) for kind in (JobKind.BACKUP, JobKind.VERIFY))
    runs = (made.last_success if made else None, checked.last_verdict if checked else None)
    damaged = [run.detail.get("damaged", ()) for run in runs if run is not None]
    return sum(len(parts) for parts in damaged if isinstance(parts, list))


def _job_samples(snapshot: Snapshot) -> Iterator[tuple[str, Samples]]:
    durations: _Values = {}
    successes: _Values = {}
    for kind, summary in snapshot.jobs.items():
        run = summary.last_run
        if run is not None and run.finished_at is not None:
            durations[(kind,)] = max(0.0, run.finished_at - run.started_at)
        if summary.last_success_at is not None:
            successes[(kind,)] = summary.last_success_at
    yield "learnd_job_duration_seconds", durations
    yield "learnd_job_last_success_timestamp_seconds", successes


def _counter_samples(snapshot: Snapshot, of: _Labels) -> Iterator[tuple[str, Samples]]:
    """Yield the counters of the store. Known label values begin at 0, so that the first count is an increase."""
    names = [family.name for family in snapshot.families]
    counters: Mapping[str, tuple[str, tuple[str, ...], list[tuple[str, ...]]]] = {
        JOB_RUNS: (
            "learnd_job_runs_total",
            ("job", "outcome"),
            [(str(kind), str(outcome)) for kind in JobKind for outcome in JobOutcome],
        ),
        JOB_ERRORS: ("learnd_job_errors_total", ("job",), [(str(kind),) for kind in JobKind]),
        CONSOLIDATIONS: ("learnd_consolidations_total", ("outcome",), [(o,) for o in CONSOLIDATION_OUTCOMES]),
        LEARNER_RESTARTS: ("learnd_learner_restarts_total", ("reason",), [(str(r),) for r in RestartReason]),
        CHECKPOINT_FALLBACKS: ("learnd_checkpoint_fallbacks_total", (), [()]),
        WORKER_RESTARTS: ("learnd_worker_restarts_total", ("family", "reason"), []),
        PRACTICE_SECONDS: ("learnd_practice_seconds_total", ("family",), [of[name] for name in names]),
        PHASE_SECONDS: ("learnd_phase_seconds_total", ("phase",), [(phase,) for phase in PHASES]),
    }
    found: dict[str, _Values] = {counter: dict.fromkeys(zeros, 0.0) for counter, (_, _, zeros) in counters.items()}
    for value in snapshot.counters:
        if value.name in counters:
            found[value.name][tuple(value.labels[label] for label in counters[value.name][1])] = value.value
    for counter, (name, _, _) in counters.items():
        yield name, found[counter]
