"""The declarations of all metrics: name, kind, unit, labels and help. The table in docs/operating.md is made from them.

Totals come from the store, so restarts do not reset them. The number of label values is bounded: labels are family,
job, outcome, reason, state, kind of damage, kind of process, phase of the work, setting, device, part of the loss,
index of the episode, start of the policy in a family's spaces, and what a trial begins with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class MetricKind(StrEnum):
    """A kind of metric of the exposition format."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A declared metric.

    Attributes:
        name: name of its samples; that of a counter ends in ``_total``.
        kind: counter or gauge.
        help: its meaning, in one line of plain text.
        unit: unit of its values; empty for a number of things.
        labels: names of its labels.
        notes: what the manual adds to the help, as Markdown.
    """

    name: str
    kind: MetricKind
    help: str
    unit: str
    labels: tuple[str, ...]
    notes: str = ""


def _counter(name: str, text: str, *labels: str, unit: str = "", notes: str = "") -> Metric:
    return Metric(name=name, kind=MetricKind.COUNTER, help=text, unit=unit, labels=labels, notes=notes)


def _gauge(name: str, text: str, *labels: str, unit: str = "", notes: str = "") -> Metric:
    return Metric(name=name, kind=MetricKind.GAUGE, help=text, unit=unit, labels=labels, notes=notes)


PRACTICE = (
    _counter("learnd_env_steps_total", "Environment steps practised.", "family", unit="steps"),
    _counter("learnd_episodes_total", "Episodes practised.", "family", unit="episodes"),
    _counter("learnd_trials_total", "Trials practised.", "family", unit="trials"),
    _counter("learnd_meta_updates_total", "Meta-updates done.", "family", unit="updates"),
    _counter("learnd_practice_seconds_total", "Time of the trainer that practice took.", "family", unit="seconds"),
    _counter(
        "learnd_phase_seconds_total",
        "Time that the phases of learning took.",
        "phase",
        unit="seconds",
        notes="`rollout` (of workers, also while the trainer does something else), `update`, `rehearsal` and `commit` "
        "of practice, `evaluation` and `consolidation`",
    ),
    _gauge("learnd_families", "Families by state.", "state", unit="families"),
    _gauge("learnd_family_quarantined", "1 while the family is in quarantine, else 0.", "family"),
    _gauge("learnd_family_strikes", "Faults of the family in a row; a success resets them.", "family", unit="faults"),
    _gauge(
        "learnd_practice_allowed",
        "1 while a window of practice is open, else 0.",
        notes="always 1 without `practise.windows`",
    ),
)

LEARNING = (
    _gauge(
        "learnd_eval_score",
        "Held-out score: 0 = random, 1 = reference.",
        "family",
        unit="score",
        notes="only of families with a reference return",
    ),
    _gauge("learnd_eval_return", "Held-out mean return of a trial.", "family", unit="return", notes="of every family"),
    _gauge(
        "learnd_zero_shot_score",
        "Held-out score before the first practice.",
        "family",
        "start",
        unit="score",
        notes="`start` is what the policy began with: `fresh`, `copied`, `nearest` or `shared` "
        "([continual.md](continual.md#what-a-new-family-begins-with))",
    ),
    _gauge(
        "learnd_met_return",
        "Return of the first episode in met tasks.",
        "family",
        "trial_begins_with",
        unit="return",
        notes="only of families whose tasks recur; `trial_begins_with` is `memory` or `empty` "
        "([continual.md](continual.md#what-comes-back))",
    ),
    _gauge(
        "learnd_met_trial_return",
        "Return of a whole trial in met tasks.",
        "family",
        "trial_begins_with",
        unit="return",
        notes="as `learnd_met_return`",
    ),
    _gauge(
        "learnd_forgetting",
        "Score that was reached minus the last scores.",
        "family",
        unit="score",
        notes="of a family without a reference, in units of what it had reached "
        "([continual.md](continual.md#what-is-measured))",
    ),
    _gauge(
        "learnd_forward_transfer",
        "Score before the first practice minus that of new parameters.",
        "family",
        unit="score",
    ),
    _gauge("learnd_average_performance", "Mean of the last scores over the families with a reference.", unit="score"),
    _gauge(
        "learnd_rehearsal_kl",
        "KL divergence of the policy from the family's teacher, per step of its stored trials.",
        "family",
        unit="nats",
        notes="what practice of other families has changed; only of families that share parameters with another one; "
        "the whole KL, of which rehearsal counts a twentieth if the family is active "
        "([rehearsal](continual.md#what-stays-rehearsal))",
    ),
    _gauge(
        "learnd_rehearsal_share",
        "Share of the time of practice spent on rehearsal.",
        unit="ratio",
        notes="the mean over the newest slice of each active family",
    ),
    _gauge("learnd_trial_return", "Mean return of a practised trial.", "family", unit="return"),
    _gauge(
        "learnd_episode_return",
        "Held-out return per episode of the trial.",
        "family",
        "episode",
        unit="return",
        notes="counted from 0; for a few-shot family, per number of shots",
    ),
    _gauge("learnd_loss", "Loss of the newest update, by part.", "family", "part"),
    _gauge("learnd_gradient_norm", "Norm of the gradient before clipping, in the newest slice.", "family"),
    _gauge("learnd_entropy", "Entropy of the policy's actions, in the newest slice.", "family", unit="nats"),
    _gauge("learnd_kl", "KL of the policy before an update to the one after it.", "family", unit="nats"),
    _gauge(
        "learnd_explained_variance",
        "Share of the variance of the returns that the critic explains.",
        "family",
        unit="ratio",
        notes="1 is perfect; 0 or less is no better than a constant",
    ),
    _gauge("learnd_clip_fraction", "Share of steps whose policy ratio was clipped.", "family", unit="ratio"),
    _gauge(
        "learnd_uncertainty",
        "Uncertainty of the posterior on held-out tasks.",
        "family",
        "shots",
        notes="few-shot learners with a posterior: entropy in nats, or a standard deviation",
    ),
    _gauge("learnd_policy_version", "Current policy version; 0 before the first."),
    _counter(
        "learnd_consolidations_total",
        "Runs of `consolidate` with a candidate, which was published, rejected, or no better than the version.",
        "outcome",
        unit="runs",
        notes="`published`, `rejected`, `unchanged`",
    ),
)

MEMORY = (
    _gauge("learnd_memory_episodes", "Episodes in episodic memory.", "family", unit="episodes"),
    _gauge("learnd_memory_size_bytes", "Size on disk of the database, log and parameters.", unit="bytes"),
    _gauge("learnd_wal_size_bytes", "Size on disk of the write-ahead log.", unit="bytes"),
    _gauge("learnd_disk_free_bytes", "Free space of the data folder's file system.", unit="bytes"),
    _gauge("learnd_disk_size_bytes", "Size of the data folder's file system.", unit="bytes"),
    _gauge(
        "learnd_store_damage",
        "Known damages of the store that are not repaired.",
        "kind",
        notes="`database`, `trial`, `parameter_file`, `row`, `totals`, `checkpoint_fallback`, `checkpoint_lost`",
    ),
    _gauge(
        "learnd_backup_age_seconds",
        "Time since the last successful backup; before the first, since the first family was added.",
        unit="seconds",
    ),
    _gauge(
        "learnd_backup_damaged_parts",
        "Damaged parts that the newest backup found, plus backups that the newest check found damaged.",
        unit="parts",
        notes="jobs `backup` and `verify`",
    ),
    _counter(
        "learnd_checkpoint_fallbacks_total",
        "Starts of the trainer from an older checkpoint because the newest was damaged.",
    ),
)

JOBS = (
    _counter("learnd_job_runs_total", "Runs of jobs by outcome.", "job", "outcome", unit="runs"),
    _counter(
        "learnd_job_errors_total",
        "Failed runs of jobs that no single family caused.",
        "job",
        unit="runs",
        notes="faults of families are in `learnd_worker_restarts_total`",
    ),
    _gauge("learnd_job_failures_in_a_row", "Such failures in a row since the start; a success resets them.", "job"),
    _gauge("learnd_job_duration_seconds", "Duration of the newest run of the job.", "job", unit="seconds"),
    _gauge(
        "learnd_job_last_success_timestamp_seconds",
        "When the job last succeeded.",
        "job",
        unit="seconds",
        notes="since the epoch",
    ),
    _gauge(
        "learnd_job_period_seconds",
        "Time between the next two due times of the job.",
        "job",
        unit="seconds",
        notes="none of a job that is off",
    ),
)

SERVICE = (
    _gauge("learnd_build_info", "Running versions; always 1.", "version", "python"),
    _gauge(
        "learnd_health",
        "1 while health is red for the reason, else 0.",
        "reason",
        notes="the reasons of [Health](#health)",
    ),
    _gauge(
        "learnd_learner_state",
        "1 for the present state of the trainer, else 0.",
        "state",
        notes="`starting`, `idle`, `busy`, `backing_off`, `stopped`",
    ),
    _gauge(
        "learnd_learner_heartbeat_age_seconds",
        "Time since the trainer's running job or start last made progress; 0 if it is idle.",
        unit="seconds",
    ),
    _counter("learnd_learner_restarts_total", "Restarts of the trainer process.", "reason"),
    _counter("learnd_worker_restarts_total", "Restarts of workers.", "family", "reason"),
    _gauge("learnd_snapshot_age_seconds", "Time since the store was last read for these metrics.", unit="seconds"),
    _gauge(
        "learnd_process_memory_bytes",
        "Resident memory by kind of process.",
        "process",
        unit="bytes",
        notes="`daemon`, `trainer`, `worker`, `reference`; read every 10 s",
    ),
    _counter(
        "learnd_process_cpu_seconds_total",
        "CPU time since the daemon's start by kind of process.",
        "process",
        unit="seconds",
    ),
    _gauge(
        "learnd_device_memory_used_bytes",
        "Used memory of the GPU.",
        "device",
        unit="bytes",
        notes="these three only where `nvidia-smi` answers and the trainer uses a GPU; read every 10 s",
    ),
    _gauge("learnd_device_memory_size_bytes", "Memory of the GPU.", "device", unit="bytes"),
    _gauge("learnd_device_utilisation_ratio", "Share of time in which the GPU was busy.", "device", unit="ratio"),
    _gauge("learnd_limit_bytes", "Limit in force, by setting.", "setting", unit="bytes"),
    _gauge("learnd_limit_seconds", "Limit in force, by setting.", "setting", unit="seconds"),
)

GROUPS = (PRACTICE, LEARNING, MEMORY, JOBS, SERVICE)
METRICS: dict[str, Metric] = {metric.name: metric for group in GROUPS for metric in group}
"""Every metric by its name, in the order in which they are exposed."""


def table_lines() -> Iterator[str]:
    """Yield the lines of the manual's table of metrics."""
    yield "| name | kind | unit | labels | meaning |"
    yield "|---|---|---|---|---|"
    for metric in METRICS.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        meaning = metric.help.rstrip(".") + (f"; {metric.notes}" if metric.notes else "")
        yield f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {meaning} |"
