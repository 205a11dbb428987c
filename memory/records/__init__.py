"""The rows of the store as frozen values, which its tables accept and return.

Timestamps are seconds since the epoch, UTC.
"""

from memory.records.contexts import (
    DIGEST_BYTES,
    MAX_EMBEDDING,
    NO_GENERATION,
    ContextKey,
    StoredContextKey,
)
from memory.records.families import (
    Family,
    FamilyState,
    FamilyTotals,
    Quarantine,
    UnreadableSpec,
)
from memory.records.jobs import (
    NOT_RUN,
    CounterValue,
    FailureStreak,
    JobKind,
    JobOutcome,
    JobRun,
    JobSchedule,
    JobSummary,
    JobTime,
    Request,
    RequestStatus,
)
from memory.records.learning import (
    CurveMetric,
    CurvePoint,
    LearnerStep,
    StoredCurvePoint,
)
from memory.records.parameters import (
    Checkpoint,
    FamilyScore,
    Initialization,
    InitializationState,
    ParameterFile,
    Rollback,
)
from memory.records.rehearsal import (
    NUM_SLOTS,
    RehearsalTrial,
)
from memory.records.trials import (
    EpisodeRecord,
    FamilyMemory,
    MemoryStats,
    StoredTrial,
    StoreSizes,
    TrialRecord,
)
from memory.records.upkeep import (
    BEGIN_FROM_VERSION,
    CHECKPOINT_FALLBACKS,
    LEARNER_KINDS,
    BackupCheckReport,
    BackupReport,
    Problem,
    ProblemKind,
    Progress,
    PrunePolicy,
    PruneReport,
)

__all__ = [
    "BEGIN_FROM_VERSION",
    "CHECKPOINT_FALLBACKS",
    "DIGEST_BYTES",
    "LEARNER_KINDS",
    "MAX_EMBEDDING",
    "NOT_RUN",
    "NO_GENERATION",
    "NUM_SLOTS",
    "BackupCheckReport",
    "BackupReport",
    "Checkpoint",
    "ContextKey",
    "CounterValue",
    "CurveMetric",
    "CurvePoint",
    "EpisodeRecord",
    "FailureStreak",
    "Family",
    "FamilyMemory",
    "FamilyScore",
    "FamilyState",
    "FamilyTotals",
    "Initialization",
    "InitializationState",
    "JobKind",
    "JobOutcome",
    "JobRun",
    "JobSchedule",
    "JobSummary",
    "JobTime",
    "LearnerStep",
    "MemoryStats",
    "ParameterFile",
    "Problem",
    "ProblemKind",
    "Progress",
    "PrunePolicy",
    "PruneReport",
    "Quarantine",
    "RehearsalTrial",
    "Request",
    "RequestStatus",
    "Rollback",
    "StoreSizes",
    "StoredContextKey",
    "StoredCurvePoint",
    "StoredTrial",
    "TrialRecord",
    "UnreadableSpec",
]
