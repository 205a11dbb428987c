"""The rows of the store as frozen values, which its tables accept and return.

Timestamps are seconds since the epoch, UTC. Shapes: T steps, D observation width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # Importing numpy takes 80 ms; a reader of states and totals does not need it.
    import numpy as np
    from numpy.typing import NDArray

Progress = Callable[[str, int], None]
"""A callback of long work: the kind of items that it processes ("episodes") and the number processed so far."""


class FamilyState(StrEnum):
    """A state of a family."""

    PENDING = "pending"
    """Added, but not yet admitted: its environment has not been tried."""

    ACTIVE = "active"
    PAUSED = "paused"
    """Paused by a person."""

    QUARANTINED = "quarantined"
    """Not practised for a while after repeated strikes; tried again at ``quarantined_until``."""

    REFUSED = "refused"
    """Failed admission; ``state_reason`` gives the reason."""

    REMOVED = "removed"


class JobKind(StrEnum):
    """A kind of scheduled work; these are the only values of a metric's ``job`` label."""

    ADMIT = "admit"
    PRACTISE = "practise"
    EVALUATE = "evaluate"
    CONSOLIDATE = "consolidate"
    CHECKPOINT = "checkpoint"
    PRUNE = "prune"
    BACKUP = "backup"


class JobOutcome(StrEnum):
    """An outcome of a job's run; these are the only values of a metric's ``outcome`` label."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    """The job had nothing to do."""

    MISSED = "missed"
    """The job was due while the daemon was down or could not start it."""

    OVERRAN = "overran"
    """The job was due again while its last run was still in progress."""

    INTERRUPTED = "interrupted"
    """The daemon stopped or the trainer exited during the run."""


NOT_RUN = frozenset({JobOutcome.MISSED, JobOutcome.OVERRAN})
"""Outcomes of runs that never started; such a run has no duration."""


class InitializationState(StrEnum):
    """A state of an initialization."""

    PUBLISHED = "published"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"


class CurveMetric(StrEnum):
    """A quantity that a point of a learning curve measures."""

    EVAL_SCORE = "eval_score"
    EVAL_RETURN = "eval_return"
    TRIAL_RETURN = "trial_return"
    EPISODE_RETURN = "episode_return"
    """Held-out return of one episode of the trial; the label is the episode's index from 0.

    For a few-shot family: the held-out return after a number of shots; the label is that number.
    """

    LENT_SCORE = "lent_score"
    """Held-out score of another family's learner on a family that was never practised; the label is that family."""

    UNCERTAINTY = "uncertainty"
    """Uncertainty of a few-shot learner's posterior on held-out tasks: the predictive entropy in nats (classification)
    or a standard deviation (regression); the label is the number of shots."""

    LOSS = "loss"
    """A part of the loss; the label names the part."""


@dataclass(frozen=True, kw_only=True)
class FamilyTotals:
    """The amounts that a family has been practised since it was added."""

    env_steps: int = 0
    episodes: int = 0
    trials: int = 0
    meta_updates: int = 0


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family, as recorded in the store.

    Attributes:
        name: unique among families that are not removed.
        state: its state.
        state_reason: the reason for the state, as text for people.
        spec: ``FamilySpec.to_json()``.
        spaces: ``SpacePair.to_json()``; None until admitted.
        random_return: measured or declared mean trial return of random actions; None until admitted.
        reference_return: trial return of score 1; None until known.
        strikes: consecutive faults of its workers since the last success.
        quarantined_until: time at which it is tried again; None unless quarantined.
        totals: the amounts that it has been practised.
        created_at: time at which it was added.
        is_damaged: whether its row does not match its checksum. Such a family has the state refused and an empty spec.
    """

    id: int
    name: str
    state: FamilyState
    state_reason: str
    spec: dict[str, Any]
    spaces: dict[str, Any] | None
    random_return: float | None
    reference_return: float | None
    strikes: int
    quarantined_until: float | None
    totals: FamilyTotals
    created_at: float
    is_damaged: bool = False


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """A complete episode of a trial.

    Attributes:
        observations: [T + 1, D] float32; the last row is the true final observation.
        actions: [T, ...] in the form that the policy returned.
        rewards: [T] float32.
        is_terminated: whether the episode ended in a terminal state; otherwise it was truncated.
    """

    observations: NDArray[np.float32]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    is_terminated: bool


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """A complete trial: consecutive episodes in one task.

    Attributes:
        task: the task as JSON values.
        episodes: the episodes in order.
    """

    task: dict[str, Any]
    episodes: tuple[EpisodeRecord, ...]


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """A point of a learning curve.

    Attributes:
        metric: the measured quantity.
        label: the episode, the part of the loss, or another label that the metric defines; empty otherwise.
        value: the mean.
        standard_error: standard error of the mean; None if the value is not a mean over trials.
    """

    metric: CurveMetric
    value: float
    label: str = ""
    standard_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class StoredCurvePoint:
    """A curve point with its position on the axes.

    Attributes:
        env_steps: the family's environment steps at the time of the measurement.
        meta_updates: the family's meta-updates at the time of the measurement.
        at: time of the measurement.
    """

    family: str
    point: CurvePoint
    env_steps: int
    meta_updates: int
    at: float


@dataclass(frozen=True, kw_only=True)
class LearnerStep:
    """The results of one slice of practice, committed in one transaction.

    Attributes:
        family: name of the family.
        practised: the amounts to add to the family's totals.
        trials: the trials to keep in episodic memory. They are a sample; the totals count all trials.
        points: curve points at the totals after this step.
        started_at, finished_at: wall-clock times.
        detail: JSON values for the record (settings, seed, reason for the choice of the family).
    """

    family: str
    practised: FamilyTotals
    trials: tuple[TrialRecord, ...]
    points: tuple[CurvePoint, ...]
    started_at: float
    finished_at: float
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ParameterFile:
    """A safetensors file in the data folder, named by the digest of its content.

    Attributes:
        sha256: hex digest of the whole file, which is also the file's name.
        size_bytes: size of the file.
    """

    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The complete state of a learner at a commit: parameters, optimiser, counters, random states.

    Attributes:
        file: the file with the tensors.
        meta: the rest of the state, as JSON values.
        learner_steps: number of learner steps committed up to this checkpoint.
    """

    file: ParameterFile
    meta: dict[str, Any]
    learner_steps: int
    created_at: float


@dataclass(frozen=True, kw_only=True)
class FamilyScore:
    """A candidate's held-out score on one family, with the published version's score on the same tasks."""

    family: str
    score: float
    standard_error: float
    published_score: float | None
    num_trials: int


@dataclass(frozen=True, kw_only=True)
class Initialization:
    """An immutable set of learned parameters with its version, parent and provenance.

    Attributes:
        version: number of the version, counted from 1 over published versions; None for a rejected candidate.
        parent: the version that the candidate was meant to replace; None for the first.
        is_current: whether this is the version that is served now.
        provenance: JSON values: learner, settings, family totals at the time, learnd's version.
        reason: the reason for publishing or rejecting it, as text for people.
        is_damaged: whether its row does not match its checksum; scores and provenance are then empty.
    """

    id: int
    version: int | None
    parent: int | None
    state: InitializationState
    is_current: bool
    file: ParameterFile
    scores: tuple[FamilyScore, ...]
    provenance: dict[str, Any]
    reason: str
    created_at: float
    is_damaged: bool = False


@dataclass(frozen=True, kw_only=True)
class JobSchedule:
    """A schedule of one kind of job. APScheduler's timers are set from it.

    Attributes:
        trigger: "interval:SECONDS" or "cron:EXPRESSION" (five fields, local time).
        last_started_at: start of the last run; None if the job never ran.
        next_due_at: time at which the job is due next.
    """

    kind: JobKind
    trigger: str
    last_started_at: float | None
    next_due_at: float


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """A run of a job.

    Attributes:
        family: the family that the run was for; None for jobs that cover all families.
        reason: the reason for the run: "due", "requested", or the reason for the choice of the family.
        outcome: the outcome; None while the job runs.
        detail: JSON values that the job reported.
        error: description of the error, as text for people; empty if there was none.
    """

    id: int
    kind: JobKind
    family: str | None
    reason: str
    outcome: JobOutcome | None
    started_at: float
    finished_at: float | None
    detail: dict[str, Any]
    error: str


@dataclass(frozen=True, kw_only=True)
class Request:
    """A person's request to the daemon, stored as a row."""

    id: int
    kind: str
    payload: dict[str, Any]
    created_at: float


@dataclass(frozen=True, kw_only=True)
class RequestStatus:
    """A request with its answer.

    Attributes:
        outcome: the answer, as text for people; None while the request is open.
        finished_at: time of the answer; None while the request is open.
    """

    request: Request
    outcome: str | None
    finished_at: float | None


@dataclass(frozen=True, kw_only=True)
class JobSummary:
    """A summary of one kind of job, for metrics and ``status``.

    Attributes:
        last_run: the newest run that has ended; None if there is none.
        last_success_at: time at which the newest successful run ended; None if there is none.
    """

    kind: JobKind
    last_run: JobRun | None
    last_success_at: float | None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A choice of a family for practice, with its reason."""

    family: str
    reason: str
    started_at: float
    outcome: JobOutcome | None


class CounterValue(NamedTuple):
    """A value of a counter for one set of labels."""

    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True, kw_only=True)
class StoredTrial:
    """A trial in episodic memory without its episodes, which ``Store.trials.load(id)`` returns.

    Attributes:
        task: the task as JSON values.
        num_steps: environment steps over all its episodes.
        trial_return: sum of all its rewards.
        size_bytes: compressed size of its episodes.
        learner_step: number of the learner step that recorded it.
    """

    id: int
    family: str
    task: dict[str, Any]
    num_episodes: int
    num_steps: int
    trial_return: float
    size_bytes: int
    learner_step: int
    recorded_at: float


@dataclass(frozen=True, kw_only=True)
class FamilyMemory:
    """The size of a family's part of episodic memory.

    Attributes:
        trials: number of its trials.
        episodes: number of their episodes.
        size_bytes: compressed size of its episodes.
        oldest_at, newest_at: times at which its oldest and newest trials were recorded; None if it has no trial.
    """

    family: str
    trials: int
    episodes: int
    size_bytes: int
    oldest_at: float | None
    newest_at: float | None


@dataclass(frozen=True, kw_only=True)
class MemoryStats:
    """The size of episodic memory, and the space that the store takes on the disk.

    Attributes:
        families: one entry per family that is not removed, in the order in which they were added.
        database_bytes: size of the database file.
        free_bytes: the part of the database file that is free for reuse.
        wal_bytes: size of the database's write-ahead log.
        parameters_bytes: size of all parameter files.
        disk_free_bytes: free space of the file system.
    """

    families: tuple[FamilyMemory, ...]
    database_bytes: int
    free_bytes: int
    wal_bytes: int
    parameters_bytes: int
    disk_free_bytes: int

    @property
    def trials(self) -> int:
        """The number of trials in episodic memory, over all families."""
        return sum(family.trials for family in self.families)

    @property
    def episodes(self) -> int:
        """The number of episodes in episodic memory, over all families."""
        return sum(family.episodes for family in self.families)

    @property
    def size_bytes(self) -> int:
        """The number of bytes on the disk: database, write-ahead log and parameter files."""
        return self.database_bytes + self.wal_bytes + self.parameters_bytes


@dataclass(frozen=True, kw_only=True)
class PrunePolicy:
    """The limits that a prune enforces.

    Attributes:
        max_episode_bytes: limit of the compressed size of all episodes, over all families. Trials beyond it are
            removed, oldest first.
        max_episode_age_s: trials older than this are removed; None keeps trials of any age.
        min_trials_per_family: number of newest trials of each family that neither rule removes.
        max_job_runs_per_kind: number of newest job runs kept per kind. The newest run of each family is always kept.
        max_learner_steps: number of newest learner steps kept as rows; older ones are folded into one sum per family.
        max_curve_points: number of points kept per curve. Every second point of the older half is removed until the
            curve fits.
        max_rejected: number of newest rejected initializations kept.
        max_finished_requests: number of newest answered requests kept.
        orphan_age_s: age at which a parameter file without a reference is removed. It gives a writer time to finish.
    """

    max_episode_bytes: int = 2 << 30
    max_episode_age_s: float | None = None
    min_trials_per_family: int = 256
    max_job_runs_per_kind: int = 2_000
    max_learner_steps: int = 20_000
    max_curve_points: int = 5_000
    max_rejected: int = 10
    max_finished_requests: int = 1_000
    orphan_age_s: float = 3_600.0


@dataclass(frozen=True, kw_only=True)
class PruneReport:
    """A report of a prune: the numbers of removed items.

    Attributes:
        freed_bytes: bytes freed on the disk: removed parameter files, and the shrinking of the database.
        released_ballast: whether the disk was full, so that the ballast file was removed first.
        trials_of_uncertain_age: number of trials that are too old by the wall clock but not by the time that the store
            counted, because the clock jumped or the service was stopped for long. They were kept.
        warnings: findings that need a person's attention, as full sentences.
    """

    trials: int = 0
    episodes: int = 0
    job_runs: int = 0
    learner_steps_folded: int = 0
    curve_points: int = 0
    rejected_initializations: int = 0
    requests: int = 0
    parameter_files: int = 0
    freed_bytes: int = 0
    released_ballast: bool = False
    trials_of_uncertain_age: int = 0
    warnings: tuple[str, ...] = ()
    duration_s: float = 0.0


class ProblemKind(StrEnum):
    """A kind of damage to a store; these are the only values of a metric's ``kind`` label."""

    DATABASE = "database"
    """The structure of the database: pages, indexes, references between rows."""

    TRIAL = "trial"
    PARAMETER_FILE = "parameter_file"
    ROW = "row"
    """A row does not match its checksum."""

    TOTALS = "totals"
    """A total differs from the sum of its records."""

    CHECKPOINT_FALLBACK = "checkpoint_fallback"
    """The trainer continued from an older checkpoint, because the live one was damaged."""

    CHECKPOINT_LOST = "checkpoint_lost"
    """No checkpoint is intact, so the trainer does not train."""


CHECKPOINT_FALLBACKS = "checkpoint_fallbacks"
"""The name of the counter of starts from a checkpoint older than the live one."""

BEGIN_FROM_VERSION = "begin_from_version"
"""The key of a checkpoint's meta that names the published version to start from after every checkpoint was lost."""

LEARNER_KINDS = frozenset({ProblemKind.CHECKPOINT_FALLBACK, ProblemKind.CHECKPOINT_LOST})
"""Kinds that the trainer reports when it starts; a check of the store does not find them."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem of the store.

    Attributes:
        subject: the damaged thing (a file, a trial, a family).
        found: description of the damage.
        hint: the action that a person can take.
        kind: kind of the damage.
        key: a trial's id, a file's sha256, or ``TABLE:ID`` of a row; empty if the problem concerns none of these.
    """

    subject: str
    found: str
    hint: str = ""
    kind: ProblemKind = ProblemKind.DATABASE
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class BackupReport:
    """A report of a backup that was made and verified.

    Attributes:
        path: folder of the backup; it has the layout of a data folder.
        sequence: number of the backup. Backups are ordered by it, because a clock can be wrong.
        size_bytes: size of the database and all parameter files in the backup.
        new_bytes: the part of ``size_bytes`` that this backup added; it shares other parameter files with the backup
            before it.
        removed: names of the older backups that were removed.
        damaged: parts of the store that were damaged. The backup lacks them or holds them in a repaired form.
        mended: sha256 of the store's parameter files that were damaged and were replaced from an older backup.
        warnings: findings that need a person's attention, as full sentences.
    """

    path: Path
    sequence: int
    size_bytes: int
    new_bytes: int
    num_parameter_files: int
    removed: tuple[str, ...]
    duration_s: float
    damaged: tuple[Problem, ...] = ()
    mended: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
