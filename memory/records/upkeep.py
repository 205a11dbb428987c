"""Values of the maintenance of a store: prune, problems and backups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

Progress = Callable[[str, int], None]
"""A callback of long work: the kind of items that it processes ("episodes") and the number processed so far."""


@dataclass(frozen=True, kw_only=True)
class PrunePolicy:
    """The limits that a prune enforces. Those without a default come from the settings in the section ``memory``.

    Attributes:
        max_episode_bytes: limit of the compressed size of all episodes, over all families. Trials beyond it are
            removed, oldest first.
        max_episode_age_s: trials older than this are removed; None keeps trials of any age.
        min_trials_per_family: number of newest trials of each family that neither rule removes. Neither rule removes
            the trials in a reservoir of rehearsal, at most ``NUM_SLOTS`` per family.
        max_job_runs_per_kind: number of newest job runs kept per kind. The newest run of each family is always kept.
        max_learner_steps: number of newest learner steps kept as rows; older ones are folded into one sum per family.
        max_curve_points: number of points kept per curve. Every second point of the older half is removed until the
            curve fits.
        max_rejected: number of newest rejected initializations kept.
        max_finished_requests: number of newest answered requests kept.
        orphan_age_s: age at which a parameter file without a reference is removed. It gives a writer time to finish.
    """

    max_episode_bytes: int
    max_episode_age_s: float | None
    max_rejected: int
    min_trials_per_family: int = 256
    max_job_runs_per_kind: int = 2_000
    max_learner_steps: int = 20_000
    max_curve_points: int = 5_000
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
        trials_kept_for_rehearsal: number of trials in the reservoirs of rehearsal, which no limit removes.
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
    trials_kept_for_rehearsal: int = 0
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
class BackupCheckReport:
    """A report of a new check of the backups, of which none is damaged.

    Attributes:
        checked: names of the backups, newest first.
        warnings: what was odd, as texts for users.
    """

    checked: tuple[str, ...]
    warnings: tuple[str, ...] = ()


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
