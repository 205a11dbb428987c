"""Parameter files, checkpoints and initializations."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


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


class InitializationState(StrEnum):
    """A state of a version or of a rejected candidate."""

    PUBLISHED = "published"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, kw_only=True)
class FamilyScore:
    """A candidate's held-out returns on one family, with the published version's on the same tasks.

    Attributes:
        family: name of the family.
        score: score on the family's scale; None without a scale.
        standard_error: standard error of the score; None without a scale.
        published_score: score of the published version; None without a scale, or if that version does not know the
            family.
        num_trials: number of held-out trials.
        mean_return: mean trial return; None in versions that were stored before returns were.
        return_standard_error: standard error of ``mean_return``.
        published_return: mean trial return of the published version; None if it does not know the family.
        difference_standard_error: standard error of ``mean_return`` − ``published_return``, paired by task if both were
            played.
    """

    family: str
    score: float | None
    standard_error: float | None
    published_score: float | None
    num_trials: int
    mean_return: float | None = None
    return_standard_error: float | None = None
    published_return: float | None = None
    difference_standard_error: float | None = None


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
class Rollback:
    """A rollback of the current version.

    Attributes:
        from_version: the version that was current.
        to_version: the version that became current.
        reason: the reason, as text for people.
        at: its time.
    """

    from_version: int
    to_version: int
    reason: str
    at: float
