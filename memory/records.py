"""The rows of the store as values: what goes in and what comes out.

Timestamps are seconds since the epoch, UTC. Shapes: T steps, D observation width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # numpy takes 80 ms to import, which a reader of states and totals need not pay
    import numpy as np
    from numpy.typing import NDArray

Progress = Callable[[str, int], None]
"""Called by long work with what it is doing ("episodes") and how many of them it has gone through."""


class FamilyState(StrEnum):
    """Where a family stands."""

    PENDING = "pending"
    """Fed, not yet admitted: its environment has not been tried."""

    ACTIVE = "active"
    PAUSED = "paused"
    """Set aside by a person."""

    QUARANTINED = "quarantined"
    """Set aside for a while after repeated strikes; tried again at ``quarantined_until``."""

    REFUSED = "refused"
    """Failed admission; ``state_reason`` says why."""

    REMOVED = "removed"


class JobKind(StrEnum):
    """Kinds of scheduled work; the bounded values of a metric's ``job`` label."""

    ADMIT = "admit"
    PRACTISE = "practise"
    EVALUATE = "evaluate"
    CONSOLIDATE = "consolidate"
    CHECKPOINT = "checkpoint"
    PRUNE = "prune"
    BACKUP = "backup"


class JobOutcome(StrEnum):
    """How a job's run ended; the bounded values of a metric's ``outcome`` label."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    """There was nothing to do."""

    MISSED = "missed"
    """It was due while the daemon was down or could not start it."""

    OVERRAN = "overran"
    """It was due again while its last run was still going on."""

    INTERRUPTED = "interrupted"
    """The daemon stopped or the learner died during the run."""


NOT_RUN = frozenset({JobOutcome.MISSED, JobOutcome.OVERRAN})
"""Outcomes of runs that never began, and have no duration."""


class InitializationState(StrEnum):
    """Where an initialization stands."""

    PUBLISHED = "published"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"


class CurveMetric(StrEnum):
    """What a point of a learning curve measures."""

    EVAL_SCORE = "eval_score"
    EVAL_RETURN = "eval_return"
    TRIAL_RETURN = "trial_return"
    EPISODE_RETURN = "episode_return"
    """Held-out return of one episode of the trial; the label is the episode's index from 0.

    Of a few-shot family: held-out return after so many shots; the label is their number.
    """

    LENT_SCORE = "lent_score"
    """Held-out score of another family's learner on a family that was never practised; the label is that family."""

    UNCERTAINTY = "uncertainty"
    """How far the solutions that a few-shot learner's posterior holds possible differ on held-out tasks: predictive
    entropy in nats (classification) or a standard deviation (regression); the label is the number of shots."""

    LOSS = "loss"
    """The label is the part of the loss."""


@dataclass(frozen=True, kw_only=True)
class FamilyTotals:
    """What a family has been practised, since it was fed."""

    env_steps: int = 0
    episodes: int = 0
    trials: int = 0
    meta_updates: int = 0


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family as the store knows it.

    Attributes:
        name: unique among families that are not removed.
        state: where it stands.
        state_reason: why, for people.
        spec: ``FamilySpec.to_json()``.
        spaces: ``SpacePair.to_json()``; None until admitted.
        random_return: measured or declared mean trial return of random actions; None until admitted.
        reference_return: trial return of score 1; None until known.
        strikes: consecutive faults of its workers since the last success.
        quarantined_until: when it is tried again; None unless quarantined.
        totals: what it has been practised.
        created_at: when it was fed.
        is_damaged: its row does not match its checksum; it is shown as refused, and its spec as empty.
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
    """One episode of a trial, whole.

    Attributes:
        observations: [T + 1, D] float32, the true final observation last.
        actions: [T, ...] as the policy gave them.
        rewards: [T] float32.
        is_terminated: ended in a terminal state (else truncated).
    """

    observations: NDArray[np.float32]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    is_terminated: bool


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial, whole: consecutive episodes in one task.

    Attributes:
        task: the task as JSON values.
        episodes: in order.
    """

    task: dict[str, Any]
    episodes: tuple[EpisodeRecord, ...]


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One point of a learning curve.

    Attributes:
        metric: what is measured.
        label: which episode or which part of the loss; empty otherwise.
        value: the mean.
        standard_error: of the mean; None where it is not a mean over trials.
    """

    metric: CurveMetric
    value: float
    label: str = ""
    standard_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class StoredCurvePoint:
    """A curve point with its place on the axes.

    Attributes:
        env_steps: the family's environment steps by then.
        meta_updates: the family's meta-updates by then.
        at: when it was measured.
    """

    family: str
    point: CurvePoint
    env_steps: int
    meta_updates: int
    at: float


@dataclass(frozen=True, kw_only=True)
class LearnerStep:
    """What one slice of practise did, to be committed whole or not at all.

    Attributes:
        family: its name.
        practised: what to add to the family's totals.
        trials: the trials kept in episodic memory (a sample; the totals count all).
        points: curve points at the totals after this step.
        started_at, finished_at: wall-clock times.
        detail: JSON values for the record (settings, seed, reason of choice).
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
    """A safetensors file in the data folder, named by its content.

    Attributes:
        sha256: hex digest of the whole file, and its name.
        size_bytes: its size.
    """

    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A learner's whole state at a commit: parameters, optimiser, counters, random states.

    Attributes:
        file: the tensors.
        meta: everything else, as JSON values.
        learner_steps: learner steps committed by then.
    """

    file: ParameterFile
    meta: dict[str, Any]
    learner_steps: int
    created_at: float


@dataclass(frozen=True, kw_only=True)
class FamilyScore:
    """A candidate's held-out score on one family, beside the published version's on the same tasks."""

    family: str
    score: float
    standard_error: float
    published_score: float | None
    num_trials: int


@dataclass(frozen=True, kw_only=True)
class Initialization:
    """Immutable, versioned learned parameters with their parent and provenance.

    Attributes:
        version: counts from 1 over published versions; None when the candidate was rejected.
        parent: the version it was to replace; None for the first.
        is_current: whether it is the one served now.
        provenance: JSON values: learner, settings, family totals at the time, learnd's version.
        reason: why it was published or rejected, for people.
        is_damaged: its row does not match its checksum; scores and provenance are shown as empty.
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
    """When a kind of job is due: the truth that APScheduler's timers are set from.

    Attributes:
        trigger: "interval:SECONDS" or "cron:EXPRESSION" (five fields, local time).
        last_started_at: of its last run; None if it never ran.
        next_due_at: when it is due next.
    """

    kind: JobKind
    trigger: str
    last_started_at: float | None
    next_due_at: float


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """One run of a job.

    Attributes:
        family: the family it was for; None for jobs over all.
        reason: why it ran ("due", "requested", or the reason of the family's choice).
        outcome: None while it runs.
        detail: JSON values that the job reported.
        error: what went wrong, for people; empty otherwise.
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
    """Something a person asked the daemon to do, as a row."""

    id: int
    kind: str
    payload: dict[str, Any]
    created_at: float


@dataclass(frozen=True, kw_only=True)
class RequestStatus:
    """What became of a request.

    Attributes:
        outcome: in words, for people; None while it is open.
        finished_at: when it was answered; None while it is open.
    """

    request: Request
    outcome: str | None
    finished_at: float | None


@dataclass(frozen=True, kw_only=True)
class JobSummary:
    """What metrics and ``status`` show of a kind of job.

    Attributes:
        last_run: the newest run that has ended; None if there is none.
        last_success_at: when the newest successful run ended; None if there is none.
    """

    kind: JobKind
    last_run: JobRun | None
    last_success_at: float | None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Who was chosen for practise, and why."""

    family: str
    reason: str
    started_at: float
    outcome: JobOutcome | None


class CounterValue(NamedTuple):
    """A counter's value under one set of labels."""

    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True, kw_only=True)
class StoredTrial:
    """A trial in episodic memory, without its episodes; ``Store.load_trial(id)`` has them.

    Attributes:
        task: the task as JSON values.
        num_steps: environment steps over all its episodes.
        trial_return: sum of all its rewards.
        size_bytes: what its episodes take, compressed.
        learner_step: the learner step that recorded it.
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
    """What episodic memory holds of a family.

    Attributes:
        size_bytes: of its episodes, compressed.
        oldest_at, newest_at: when its oldest and newest trial were recorded; None when there is none.
    """

    family: str
    trials: int
    episodes: int
    size_bytes: int
    oldest_at: float | None
    newest_at: float | None


@dataclass(frozen=True, kw_only=True)
class MemoryStats:
    """How much is remembered, and what it takes on the disk.

    Attributes:
        families: one entry per family that is not removed, by name.
        database_bytes: the size of the database file.
        free_bytes: the part of it that is free for reuse.
        wal_bytes: the size of the write-ahead log beside it.
        parameters_bytes: of all parameter files.
        disk_free_bytes: left on the file system.
    """

    families: tuple[FamilyMemory, ...]
    database_bytes: int
    free_bytes: int
    wal_bytes: int
    parameters_bytes: int
    disk_free_bytes: int

    @property
    def trials(self) -> int:
        """Trials remembered, over all families."""
        return sum(family.trials for family in self.families)

    @property
    def episodes(self) -> int:
        """Episodes remembered, over all families."""
        return sum(family.episodes for family in self.families)

    @property
    def size_bytes(self) -> int:
        """Bytes on the disk: database, write-ahead log and parameter files."""
        return self.database_bytes + self.wal_bytes + self.parameters_bytes


@dataclass(frozen=True, kw_only=True)
class PrunePolicy:
    """What prune may forget.

    Attributes:
        max_episode_bytes: episodes beyond this many compressed bytes, over all families, go, oldest first.
        max_episode_age_s: trials older than this go; None keeps them whatever their age.
        min_trials_per_family: the newest trials of each family that neither rule may take.
        max_job_runs_per_kind: newest job runs kept of each kind (and always the newest of each family).
        max_learner_steps: newest learner steps kept one by one; older ones are folded into one sum per family.
        max_curve_points: points kept of each curve; of the older half every second goes until it fits.
        max_rejected: newest rejected initializations kept.
        max_finished_requests: newest answered requests kept.
        orphan_age_s: parameter files that nothing refers to go after this; it lets a writer finish.
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
    """What a prune removed.

    Attributes:
        freed_bytes: given back to the disk: parameter files, and the shrinking of the database.
        released_ballast: the disk was full and the ballast file had to make room.
        trials_of_uncertain_age: trials that are too old by the wall clock but not by the time that the store counted:
            the clock jumped or the service was stopped for long. They were kept.
        warnings: what a person should look at, as full sentences.
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
    """Kinds of damage to a store; the bounded values of a metric's ``kind`` label."""

    DATABASE = "database"
    """The structure of the database: pages, indexes, references between rows."""

    TRIAL = "trial"
    PARAMETER_FILE = "parameter_file"
    ROW = "row"
    """A row does not match its checksum."""

    TOTALS = "totals"
    """A total differs from the sum of the records behind it."""

    CHECKPOINT_FALLBACK = "checkpoint_fallback"
    """The learner went on from an older checkpoint, because the live one was damaged."""

    CHECKPOINT_LOST = "checkpoint_lost"
    """No checkpoint is intact: the learner does not learn."""


CHECKPOINT_FALLBACKS = "checkpoint_fallbacks"
"""The counter of starts from an older checkpoint than the live one."""

BEGIN_FROM_VERSION = "begin_from_version"
"""The key of a checkpoint's meta that names the published version to begin from, where every checkpoint was lost."""

LEARNER_KINDS = frozenset({ProblemKind.CHECKPOINT_FALLBACK, ProblemKind.CHECKPOINT_LOST})
"""Kinds that the learner reports at its start; a check of the store does not find them."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something wrong with the store.

    Attributes:
        subject: what it is about (a file, a trial, a family).
        found: what is wrong with it.
        hint: what to do about it.
        kind: which kind of damage.
        key: a trial's id, a file's sha256, or ``TABLE:ID`` of a row; empty where it is about none of these.
    """

    subject: str
    found: str
    hint: str = ""
    kind: ProblemKind = ProblemKind.DATABASE
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class BackupReport:
    """A backup that has been made and verified.

    Attributes:
        path: its folder; it has the layout of a data folder.
        sequence: its number; backups are ordered by it, whatever the clock said.
        size_bytes: of the database and all parameter files in it.
        new_bytes: of those, what this backup added (parameter files are shared with the backup before it).
        removed: older backups that made room, by name.
        damaged: what was damaged in the store and is not in the backup as it should be.
        mended: parameter files of the store that were damaged and have been replaced from an older backup, by sha256.
        warnings: what a person should look at, as full sentences.
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
