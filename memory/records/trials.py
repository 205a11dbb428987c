"""Trials and episodes, and the size of episodic memory.

Shapes: T steps, D observation width, F parameters of an action distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memory.records.contexts import ContextKey

if TYPE_CHECKING:  # Importing numpy takes 80 ms; a reader of states and totals does not need it.
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """A complete episode of a trial.

    Attributes:
        observations: [T + 1, D] float32, or uint8 with images; the last row is the true final observation.
        actions: [T, ...] in the form that the policy returned.
        rewards: [T] float32.
        is_terminated: whether the episode ended in a terminal state; otherwise it was truncated.
        decisions: [T, F] parameters of the distribution that each action was drawn from: the logits of the choices; for
            continuous actions the means, then the logarithms of the standard deviations. None if they were not stored.
    """

    observations: NDArray[np.float32] | NDArray[np.uint8]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    is_terminated: bool
    decisions: NDArray[np.float16] | None = None


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """A complete trial: consecutive episodes in one task.

    Attributes:
        task: the task as JSON values.
        episodes: the episodes in order.
        rehearsal_slot: the slot of the family's rehearsal reservoir that the trial takes when it is committed, below
            ``NUM_SLOTS``; None for a trial that is only stored. A trial that is loaded has None.
        context: the keys by which later trials of the same task find this one; None if they are not known yet.
    """

    task: dict[str, Any]
    episodes: tuple[EpisodeRecord, ...]
    rehearsal_slot: int | None = None
    context: ContextKey | None = None


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
        rehearsal_trials: number of its trials that are in its rehearsal reservoir.
        oldest_at, newest_at: times at which its oldest and newest trials were recorded; None if it has no trial.
    """

    family: str
    trials: int
    episodes: int
    size_bytes: int
    rehearsal_trials: int
    oldest_at: float | None
    newest_at: float | None


@dataclass(frozen=True, kw_only=True)
class StoreSizes:
    """The space that the store takes on the disk.

    Attributes:
        database_bytes: size of the database file.
        free_bytes: the part of the database file that is free for reuse.
        wal_bytes: size of the database's write-ahead log.
        parameters_bytes: size of all parameter files.
        disk_free_bytes: free space of the file system.
    """

    database_bytes: int
    free_bytes: int
    wal_bytes: int
    parameters_bytes: int
    disk_free_bytes: int

    @property
    def size_bytes(self) -> int:
        """The number of bytes on the disk: database, write-ahead log and parameter files."""
        return self.database_bytes + self.wal_bytes + self.parameters_bytes


@dataclass(frozen=True, kw_only=True)
class MemoryStats(StoreSizes):
    """The size of episodic memory, and the space that the store takes on the disk.

    Attributes:
        families: one entry per family that is not removed, in the order in which they were added.
    """

    families: tuple[FamilyMemory, ...]

    @property
    def trials(self) -> int:
        """The number of trials in episodic memory, over all families."""
        return sum(family.trials for family in self.families)

    @property
    def episodes(self) -> int:
        """The number of episodes in episodic memory, over all families."""
        return sum(family.episodes for family in self.families)
