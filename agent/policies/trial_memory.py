"""Memories of trials for acting: what a policy may begin a trial with.

    policy = load_policy("frozenlake.safetensors", memory=ExactTrialMemory())

A memory is asked at a trial's first observation and is given the trial when it has ended.

Shapes: D observation width.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from agent.learners.rl2.recalled_trials import RecalledTrials
from envs.spaces import SpacePair
from memory.records import TrialRecord

MAX_TRIALS_OF_A_TASK = 8
"""Trials of one task that are recalled, the newest: as many as training recalls."""


@runtime_checkable
class TrialMemory(Protocol):
    """A memory of trials that is asked for those of a task by what identifies it."""

    def recall(self, spaces: SpacePair, first_observation: NDArray[np.float32] | NDArray[np.uint8]) -> RecalledTrials:
        """Return the trials of a task that begins with this observation; without trials if there are none.

        Args:
            spaces: the task's spaces.
            first_observation: [D] in the environment's units; the index of a discrete one.
        """
        ...

    def store(self, spaces: SpacePair, trial: TrialRecord) -> None:
        """Store a trial that has ended."""
        ...


@dataclass
class _OfTask:
    """The newest trials of one task, and the number of trials of its spaces when the last was stored."""

    trials: deque[TrialRecord] = field(default_factory=lambda: deque(maxlen=MAX_TRIALS_OF_A_TASK))
    stored_at: int = 0


class ExactTrialMemory:
    """A memory in which a task is the one that began with exactly the same observation.

    Tasks with equal first observations are not told apart: their recall has likeness 1 although it may be wrong.
    """

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, bytes], _OfTask] = defaultdict(_OfTask)
        self._num_stored: dict[str, int] = defaultdict(int)

    def recall(self, spaces: SpacePair, first_observation: NDArray[np.float32] | NDArray[np.uint8]) -> RecalledTrials:
        """Return the newest trials that began with this observation."""
        found = self._tasks.get(_key(spaces, first_observation))
        if found is None:
            return RecalledTrials()
        age = self._num_stored[spaces.key] - found.stored_at
        return RecalledTrials(trials=tuple(found.trials), likeness=1.0, age=float(age))

    def store(self, spaces: SpacePair, trial: TrialRecord) -> None:
        """Store a trial that has ended."""
        self._num_stored[spaces.key] += 1
        of_task = self._tasks[_key(spaces, trial.episodes[0].observations[0])]
        of_task.trials.append(trial)
        of_task.stored_at = self._num_stored[spaces.key]


def _key(spaces: SpacePair, observation: NDArray[np.float32] | NDArray[np.uint8]) -> tuple[str, bytes]:
    if observation.dtype == np.uint8:
        return spaces.key, observation.tobytes()
    # Adding 0 turns -0 into 0, which is equal and has other bytes.
    return spaces.key, (np.ascontiguousarray(observation, np.float32) + np.float32(0.0)).tobytes()
