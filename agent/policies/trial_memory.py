"""Memories of trials for acting: what a policy may begin a trial with.

    policy = load_policy("frozenlake.safetensors", memory=ExactTrialMemory())
    policy = load_policy("frozenlake.safetensors", memory="trials.learnd")     # written by learnd memory export

A memory is asked at a trial's first observation, may be asked again after the first steps, and is given the trial when
it has ended.

Shapes: D observation width.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from envs.spaces import SpacePair
from memory.records import TrialRecord
from memory.retrieval.recall import MAX_TRIALS_OF_A_TASK, RecalledTrials, TaskRecall


@runtime_checkable
class TrialMemory(Protocol):
    """A memory of trials that is asked for those of a task by what identifies it."""

    def is_asked_again(self, spaces: SpacePair, num_steps: int, *, has_ended: bool) -> bool:
        """Return whether the memory is asked again after so many steps of a trial.

        Args:
            spaces: the task's spaces.
            num_steps: the steps that were taken.
            has_ended: whether the last of them ended an episode.
        """
        ...

    def recall(
        self,
        spaces: SpacePair,
        first_observation: NDArray[np.float32],
        *,
        context: bytes | None = None,
        begun: TrialRecord | None = None,
    ) -> RecalledTrials:
        """Return the trials of a task; without trials if there are none.

        Args:
            spaces: the task's spaces.
            first_observation: [D] with which it begins, in the environment's units; the index of a discrete one.
            context: the digest of its ``info["context"]``; None without one.
            begun: the steps that were taken in it, when the memory is asked again; None at the start.
        """
        ...

    def store(self, spaces: SpacePair, trial: TrialRecord, *, context: bytes | None = None) -> None:
        """Store a trial that has ended."""
        ...


@dataclass
class _OfTask:
    """The newest trials of one task, and the number of trials of its spaces when the last was stored."""

    trials: deque[TrialRecord] = field(default_factory=lambda: deque(maxlen=MAX_TRIALS_OF_A_TASK))
    stored_at: int = 0


class ExactTrialMemory:
    """A memory in which a task is the one with the same context, or else exactly the same first observation.

    Tasks with equal first observations are not told apart: their recall has likeness 1 although it may be wrong.
    """

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, bytes], _OfTask] = defaultdict(_OfTask)
        self._num_stored: dict[str, int] = defaultdict(int)

    def is_asked_again(self, spaces: SpacePair, num_steps: int, *, has_ended: bool) -> bool:
        """Return False: steps say nothing of what is recalled."""
        del spaces, num_steps, has_ended
        return False

    def recall(
        self,
        spaces: SpacePair,
        first_observation: NDArray[np.float32] | NDArray[np.uint8],
        *,
        context: bytes | None = None,
        begun: TrialRecord | None = None,
    ) -> RecalledTrials:
        """Return the newest trials of the task."""
        del begun
        found = self._tasks.get(_key(spaces, first_observation, context))
        if found is None:
            return RecalledTrials()
        age = self._num_stored[spaces.key] - found.stored_at
        return RecalledTrials(trials=tuple(found.trials), likeness=1.0, age=float(age))

    def store(self, spaces: SpacePair, trial: TrialRecord, *, context: bytes | None = None) -> None:
        """Store a trial that has ended."""
        self._num_stored[spaces.key] += 1
        of_task = self._tasks[_key(spaces, trial.episodes[0].observations[0], context)]
        of_task.trials.append(trial)
        of_task.stored_at = self._num_stored[spaces.key]


class StoredTrialMemory:
    """A memory of stored trials: those of a store, or of an archive.

    A task is recognised by its context or its first observation, and by its first steps. Trials that are
    stored in it are added to this object alone.

    Args:
        recalls: the stored trials of each space pair.
    """

    def __init__(self, recalls: Iterable[TaskRecall]) -> None:
        self._recalls = {recall.spaces.key: recall for recall in recalls}

    def is_asked_again(self, spaces: SpacePair, num_steps: int, *, has_ended: bool) -> bool:
        """Return whether so many steps of a trial tell more of its task than the steps before."""
        held = self._recalls.get(spaces.key)
        return held is not None and held.is_asked_again(num_steps, has_ended=has_ended)

    def recall(
        self,
        spaces: SpacePair,
        first_observation: NDArray[np.float32] | NDArray[np.uint8],
        *,
        context: bytes | None = None,
        begun: TrialRecord | None = None,
    ) -> RecalledTrials:
        """Return the newest trials of the task that matches best."""
        held = self._recalls.get(spaces.key)
        return RecalledTrials() if held is None else held.find(first_observation, context=context, begun=begun)

    def store(self, spaces: SpacePair, trial: TrialRecord, *, context: bytes | None = None) -> None:
        """Add a trial that has ended."""
        if spaces.key not in self._recalls:
            self._recalls[spaces.key] = TaskRecall(spaces, (), encoder=None, load=_nothing)
        self._recalls[spaces.key].add(trial, context=context)


def trial_memory(memory: TrialMemory | Path | str) -> TrialMemory:
    """Return a memory: the object itself, or the trials of an archive.

    Args:
        memory: a memory, or the path of an archive that `learnd memory export` wrote.

    Raises:
        ArchiveError: the archive cannot be read or is damaged.
    """
    if isinstance(memory, Path | str):
        from memory.exchange.recalling import recall_of_archive  # It imports the store, which acting does not need.

        return StoredTrialMemory(recall_of_archive(Path(memory)))
    return memory


def _nothing(trial_id: int) -> NoReturn:
    raise KeyError(trial_id)


def _key(
    spaces: SpacePair, observation: NDArray[np.float32] | NDArray[np.uint8], context: bytes | None
) -> tuple[str, bytes]:
    if context is not None:
        return spaces.key, b"context" + context
    if observation.dtype == np.uint8:
        return spaces.key, observation.tobytes()
    # Adding 0 turns -0 into 0, which is equal and has other bytes.
    return spaces.key, (np.ascontiguousarray(observation, np.float32) + np.float32(0.0)).tobytes()
