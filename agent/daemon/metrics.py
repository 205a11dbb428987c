"""Prometheus metrics of the newest snapshot, which is in memory: a scrape does not read the disk.

Totals come from the store, so restarts do not reset them. The number of label values is bounded: labels are family,
job, outcome, reason, state, part of the loss, and index of the episode.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from statistics import fmean

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.daemon.snapshot import Snapshot
from agent.daemon.supervisor import RestartReason
from agent.reports.continual import average_performance
from memory.records import CHECKPOINT_FALLBACKS, CurveMetric, FamilyState, JobKind, JobOutcome, ProblemKind

LEARNER_RESTARTS = "learner_restarts"
WORKER_RESTARTS = "worker_restarts"
JOB_RUNS = "job_runs"
CONSOLIDATIONS = "consolidations"
CONSOLIDATION_OUTCOMES = ("published", "rejected", "unchanged")

Samples = dict[tuple[str, ...], float]


class SnapshotCollector(Collector):
    """A collector that converts the newest snapshot to metrics.

    Args:
        read: returns the newest snapshot; None before the first.
        version: learnd's version.
    """

    def __init__(self, read: Callable[[], Snapshot | None], *, version: str) -> None:
        self._read = read
        self._version = version

    def describe(self) -> Iterable[Metric]:
        """Return no metrics: they are known only when a snapshot exists."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the newest snapshot."""
        labels = {"version": self._version, "python": platform.python_version()}
        yield _gauge("learnd_build_info", "Running versions; always 1.", tuple(labels), {tuple(labels.values()): 1})
        snapshot = self._read()
        if snapshot is None:
            return
        yield from _family_metrics(snapshot)
        yield from _curve_metrics(snapshot)
        yield from _memory_metrics(snapshot)
        yield from _job_metrics(snapshot)
        yield from _counter_metrics(snapshot)


def new_registry(read: Callable[[], Snapshot | None], *, version: str) -> CollectorRegistry:
    """Return a registry with learnd's metrics and those of this process."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(read, version=version))
    ProcessCollector(registry=registry)
    return registry


def _gauge(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    metric = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples.items():
        metric.add_metric(values, value)
    return metric


def _counter(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    metric = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples.items():
        metric.add_metric(values, value)
    return metric


def _family_metrics(snapshot: Snapshot) -> Iterator[Metric]:
    totals = {family.name: family.totals for family in snapshot.families}
    for total, text in (
        ("env_steps", "Environment steps practised."),
        ("episodes", "Episodes practised."),
        ("trials", "Trials practised."),
        ("meta_updates", "Meta-updates done."),
    ):
        samples: Samples = {(name,): float(getattr(values, total)) for name, values in totals.items()}
        yield _counter(f"learnd_{total}", text, ("family",), samples)
    counts: Samples = {(state,): 0.0 for state in FamilyState if state is not FamilyState.REMOVED}
    for family in snapshot.families:
        counts[(family.state,)] = counts.get((family.state,), 0.0) + 1
    yield _gauge("learnd_families", "Families by state.", ("state",), counts)


def _curve_metrics(snapshot: Snapshot) -> Iterator[Metric]:
    for name, text, metric, label in (
        ("learnd_eval_score", "Held-out score: 0 = random, 1 = reference.", CurveMetric.EVAL_SCORE, None),
        ("learnd_eval_return", "Held-out mean return of a trial.", CurveMetric.EVAL_RETURN, None),
        ("learnd_zero_shot_score", "Held-out score before the first practice.", CurveMetric.ZERO_SHOT_SCORE, "start"),
        ("learnd_met_return", "Return of the first episode in met tasks.", CurveMetric.MET_RETURN, "start"),
        ("learnd_forgetting", "Score that was reached minus the last scores.", CurveMetric.FORGETTING, None),
        (
            "learnd_forward_transfer",
            "Score before the first practice minus that of new parameters.",
            CurveMetric.FORWARD_TRANSFER,
            None,
        ),
        ("learnd_rehearsal_kl", "KL of the policy to what rehearsal preserves.", CurveMetric.REHEARSAL_KL, None),
        ("learnd_trial_return", "Mean return of a practised trial.", CurveMetric.TRIAL_RETURN, None),
        ("learnd_episode_return", "Held-out return per episode of the trial.", CurveMetric.EPISODE_RETURN, "episode"),
        ("learnd_loss", "Loss of the newest update, by part.", CurveMetric.LOSS, "part"),
        ("learnd_uncertainty", "Uncertainty of the posterior on held-out tasks.", CurveMetric.UNCERTAINTY, "shots"),
    ):
        samples: Samples = {
            (stored.family, *((stored.point.label,) if label else ())): stored.point.value
            for stored in snapshot.points
            if stored.point.metric is metric
        }
        yield _gauge(name, text, ("family", *((label,) if label else ())), samples)
    for name, text, value in (
        (
            "learnd_average_performance",
            "Mean of the last scores over the families with a reference.",
            average_performance(snapshot.families, snapshot.points),
        ),
        ("learnd_rehearsal_share", "Share of the time of practice spent on rehearsal.", _rehearsal_share(snapshot)),
    ):
        yield _gauge(name, text, (), {} if value is None else {(): value})


def _rehearsal_share(snapshot: Snapshot) -> float | None:
    """Return the mean share over the newest slice of each active family; None if nothing was recorded."""
    active = {family.name for family in snapshot.families if family.state is FamilyState.ACTIVE}
    shares = [share for name, share in snapshot.newest(CurveMetric.REHEARSAL_SHARE).items() if name in active]
    return fmean(shares) if shares else None


def _memory_metrics(snapshot: Snapshot) -> Iterator[Metric]:
    memory = snapshot.memory
    episodes: Samples = {(family.family,): float(family.episodes) for family in memory.families}
    yield _gauge("learnd_memory_episodes", "Episodes in episodic memory.", ("family",), episodes)
    size = float(memory.size_bytes)
    yield _gauge("learnd_memory_size_bytes", "Size on disk of the database, log and parameters.", (), {(): size})
    yield _gauge("learnd_wal_size_bytes", "Size on disk of the write-ahead log.", (), {(): float(memory.wal_bytes)})
    damage: Samples = {(str(kind),): 0.0 for kind in ProblemKind}
    for problem in snapshot.damage:
        damage[(str(problem.kind),)] += 1
    yield _gauge("learnd_store_damage", "Known damages of the store that are not repaired.", ("kind",), damage)
    version = float(snapshot.policy_version)
    yield _gauge("learnd_policy_version", "Current policy version; 0 before the first.", (), {(): version})


def _job_metrics(snapshot: Snapshot) -> Iterator[Metric]:
    durations: Samples = {}
    successes: Samples = {}
    for kind, summary in snapshot.jobs.items():
        run = summary.last_run
        if run is not None and run.finished_at is not None:
            durations[(kind,)] = max(0.0, run.finished_at - run.started_at)
        if summary.last_success_at is not None:
            successes[(kind,)] = summary.last_success_at
    yield _gauge("learnd_job_duration_seconds", "Duration of the newest run of the job.", ("job",), durations)
    yield _gauge("learnd_job_last_success_timestamp_seconds", "When the job last succeeded.", ("job",), successes)


def _counter_metrics(snapshot: Snapshot) -> Iterator[Metric]:
    for counter, name, text, labels, zeros in (
        (
            JOB_RUNS,
            "learnd_job_runs",
            "Runs of jobs by outcome.",
            ("job", "outcome"),
            [(str(kind), str(outcome)) for kind in JobKind for outcome in JobOutcome],
        ),
        (
            CONSOLIDATIONS,
            "learnd_consolidations",
            "Rounds of consolidation: a candidate was published, rejected, or no better than the version.",
            ("outcome",),
            [(outcome,) for outcome in CONSOLIDATION_OUTCOMES],
        ),
        (
            LEARNER_RESTARTS,
            "learnd_learner_restarts",
            "Restarts of the trainer process.",
            ("reason",),
            [(str(reason),) for reason in RestartReason],
        ),
        (
            CHECKPOINT_FALLBACKS,
            "learnd_checkpoint_fallbacks",
            "Starts of the trainer from an older checkpoint because the newest was damaged.",
            (),
            [()],
        ),
        (WORKER_RESTARTS, "learnd_worker_restarts", "Restarts of workers.", ("family", "reason"), []),
    ):
        samples: Samples = dict.fromkeys(zeros, 0.0)
        for value in snapshot.counters:
            if value.name == counter:
                samples[tuple(value.labels[label] for label in labels)] = value.value
        yield _counter(name, text, labels, samples)
