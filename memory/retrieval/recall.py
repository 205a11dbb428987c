"""Recall: the stored trials of the task in which another trial is played, and how likely it is the same task.

A trial's task is found by its digest (``info["context"]``, or else the exact first observation). A logistic
regression, fitted on the stored trials themselves, gives the probability that the best match is of the same task
(:mod:`memory.retrieval.calibration`). Once the trial has steps, they are taken into account:

- observations and actions that are indices: the probability of the steps in each task
  (:mod:`memory.retrieval.dynamics`)
- others: the embedding of the first ``NUM_STEPS`` steps, with a regression of its own

Recalled are the trials of the best match's task.

Shapes: D observation width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from envs.spaces import SpacePair
from memory.errors import CorruptFileError, TrialNotFoundError
from memory.records import ContextKey, StoredContextKey, TrialRecord
from memory.retrieval.calibration import NUM_MATCHES, Calibration, fit_calibration, match_with_the_past
from memory.retrieval.digests import context_digests
from memory.retrieval.dynamics import TaskDynamics, has_countable_steps
from memory.retrieval.encoding import EMBEDDING_WIDTH, NUM_STEPS, TaskEncoder, first_steps
from memory.retrieval.identity import task_identity
from memory.retrieval.index import ContextIndex, Floats

MAX_TRIALS_OF_A_TASK = 8
"""Trials of one task that are recalled, the newest: as many as training recalls."""

ASKED_AFTER = (8, 16, 32)
"""Steps of a trial after which its task is recognised again, besides the ends of episodes, if steps can be counted."""

MOST_FITTED = 512
"""Newest trials on which the probabilities are fitted."""

LEAST_LIKENESS = 0.05
"""Trials that are less likely of the same task are not recalled."""

MOST_LOADED = 1_024
"""Recalled trials that are kept after they were loaded."""

FEWEST_FITTED = 16
"""With fewer matches among the stored trials, the probabilities are ``UNFITTED``."""

UNFITTED = Calibration(weights=np.array([-3.0, 6.0, -1.0, 0.0, 0.0, 0.0]))
""".95 for the only trial with an equal digest, .73 for one of eight, .05 for a neighbour."""


@dataclass(frozen=True, kw_only=True)
class RecalledTrials:
    """The trials that a memory returns for one task.

    Attributes:
        trials: the trials, oldest first; empty if nothing is recalled.
        likeness: the probability that they are of the same task.
        age: time since the last of them, in trials of the family.
    """

    trials: tuple[TrialRecord, ...] = ()
    likeness: float = 1.0
    age: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RecallableTrial:
    """A stored trial by which its task is found.

    Attributes:
        trial_id: id of the trial; later trials have greater ones.
        task: a text that is equal for trials of the same task (:func:`memory.retrieval.identity.task_identity`).
        key: its context key, with an embedding of the present encoder or none.
    """

    trial_id: int
    task: str
    key: ContextKey


class TaskRecall:
    """The stored trials of one space pair, for recall.

    Args:
        spaces: the space pair.
        trials: the trials, oldest first.
        encoder: what embeds the first steps of a trial; None recalls by digests alone.
        load: returns a trial by its id.
    """

    def __init__(
        self,
        spaces: SpacePair,
        trials: Sequence[RecallableTrial],
        *,
        encoder: TaskEncoder | None,
        load: Callable[[int], TrialRecord],
    ) -> None:
        self.spaces = spaces
        self._encoder, self._load = encoder, lru_cache(MOST_LOADED)(load)
        self._index = ContextIndex(EMBEDDING_WIDTH)
        self._task_of: dict[int, str] = {}
        self._of_task: dict[str, list[int]] = defaultdict(list)
        self._added: dict[int, TrialRecord] = {}
        for trial in trials:
            self._task_of[trial.trial_id] = trial.task
            self._of_task[trial.task].append(trial.trial_id)
        if trials:
            embeddings = np.stack([_embedding_or_nan(trial.key) for trial in trials])
            self._index.add([trial.trial_id for trial in trials], [trial.key.digest for trial in trials], embeddings)
        self._at_start, self._after_steps = _calibrations(trials[-MOST_FITTED:])

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self._task_of)

    @property
    def tasks(self) -> dict[str, list[int]]:
        """The ids of the trials of each task, oldest first."""
        return dict(self._of_task)

    @property
    def last_asked(self) -> int:
        """The number of steps after which a trial's task is not recognised again."""
        return NUM_STEPS

    def is_asked_again(self, num_steps: int, *, has_ended: bool) -> bool:
        """Return whether so many steps of a trial tell more of its task than the steps before.

        Args:
            num_steps: the steps that were taken.
            has_ended: whether the last of them ended an episode.
        """
        if has_countable_steps(self.spaces):
            return num_steps <= NUM_STEPS and (has_ended or num_steps in ASKED_AFTER)
        return num_steps == NUM_STEPS

    def find(
        self,
        first_observation: NDArray[np.float32] | NDArray[np.uint8],
        *,
        context: bytes | None = None,
        begun: TrialRecord | None = None,
    ) -> RecalledTrials:
        """Return the trials of the task of a trial; without trials if none was found.

        Args:
            first_observation: [D] in the environment's units; the index of a discrete one.
            context: the digest of its ``info["context"]``; None without one.
            begun: the trial so far, if it has taken steps.
        """
        [digest] = context_digests(_as_stored(first_observation)[None], [context])
        if begun is not None and has_countable_steps(self.spaces):
            return self._find_by_steps(digest, begun)
        embedding = None if begun is None else self._embed(begun)
        matches = self._index.find(digest, embedding, NUM_MATCHES)
        if len(matches.trial_ids) == 0:
            return RecalledTrials(likeness=0.0)
        calibration = self._at_start if embedding is None else self._after_steps
        return self._recalled(self._task_of[int(matches.trial_ids[0])], calibration.probability(matches))

    def alike(
        self,
        first_observations: NDArray[np.float32] | NDArray[np.uint8],
        contexts: Sequence[bytes | None],
        *,
        most: int,
    ) -> list[RecalledTrials]:
        """Return the trials of each task with one of these contexts or first observations, if steps tell them apart.

        Args:
            first_observations: [B, D] in the environment's units.
            contexts: [B] the digests of their ``info["context"]``; None for each task without one.
            most: largest number of tasks, those that were met last.
        """
        if not has_countable_steps(self.spaces):
            return []
        digests = set(context_digests(_as_stored(first_observations), contexts))
        found = np.sort(np.concatenate([self._index.exact(digest) for digest in digests]))[::-1]
        tasks = list(dict.fromkeys(self._task_of[int(trial_id)] for trial_id in found))
        return [self._recalled(task, 1.0) for task in tasks[:most]]

    def _find_by_steps(self, digest: bytes, begun: TrialRecord) -> RecalledTrials:
        """Return the trials of the task in which steps are most likely, of those with a digest."""
        tasks = [self._task_of[int(trial_id)] for trial_id in self._index.exact(digest)]
        tasks = [task for task in tasks if task in self._dynamics]  # The others were pruned or are damaged.
        if not tasks:
            return RecalledTrials(likeness=0.0)
        return self._recalled(*self._dynamics.most_likely(tasks, begun))

    @cached_property
    def _dynamics(self) -> TaskDynamics:
        """The outcomes of all trials, read when a trial with steps is first asked for."""
        dynamics = TaskDynamics()
        for trial_id, task in self._task_of.items():
            trial = self._loaded(trial_id, keep=False)
            if trial is not None:
                dynamics.add(task, trial)
        return dynamics

    def _recalled(self, task: str, likeness: float) -> RecalledTrials:
        if likeness < LEAST_LIKENESS:
            return RecalledTrials(likeness=likeness)
        ids = self._of_task[task][-MAX_TRIALS_OF_A_TASK:]
        return RecalledTrials(
            trials=tuple(trial for trial_id in ids if (trial := self._loaded(trial_id)) is not None),
            likeness=likeness,
            age=float(np.count_nonzero(self._index.trial_ids > ids[-1])),
        )

    def add(self, trial: TrialRecord, *, context: bytes | None = None) -> None:
        """Add a trial that has ended. It is kept here alone.

        Args:
            trial: the trial.
            context: the digest of its ``info["context"]``; None without one.
        """
        trial_id = max(self._task_of, default=0) + 1
        [digest] = context_digests(trial.episodes[0].observations[:1], [context])
        task, embedding = task_identity("", trial.task, digest), self._embed(trial)
        self._added[trial_id] = trial
        self._task_of[trial_id] = task
        self._of_task[task].append(trial_id)
        self._index.add([trial_id], [digest], None if embedding is None else embedding[None])
        self.__dict__.pop("_dynamics", None)  # counted again when it is needed

    def _embed(self, trial: TrialRecord) -> Floats | None:
        if self._encoder is None:
            return None
        embedding: Floats = self._encoder.embed(first_steps([trial], num_steps=NUM_STEPS, spaces=self.spaces))[0]
        return embedding

    def _loaded(self, trial_id: int, *, keep: bool = True) -> TrialRecord | None:
        """Return a trial; None if it is damaged or was pruned in the meantime."""
        load = self._load if keep else self._load.__wrapped__
        try:
            return self._added.get(trial_id) or load(trial_id)
        except (CorruptFileError, TrialNotFoundError):
            return None


def _calibrations(trials: Sequence[RecallableTrial]) -> tuple[Calibration, Calibration]:
    """Return the calibrations at a trial's start, by digests alone, and after its first steps."""
    keys = [StoredContextKey(trial_id=trial.trial_id, key=trial.key) for trial in trials]
    tasks = [trial.task for trial in trials]
    found = []
    for with_embeddings in (False, True):
        past = match_with_the_past(keys, tasks, width=EMBEDDING_WIDTH, with_embeddings=with_embeddings)
        num_matched = sum(len(matches.trial_ids) > 0 for matches in past.matches)
        found.append(fit_calibration(past) if num_matched >= FEWEST_FITTED else UNFITTED)
    return found[0], found[1]


def _as_stored(observation: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32] | NDArray[np.uint8]:
    """Return an observation in the type of its stored form: bytes, or float32."""
    return observation if observation.dtype == np.uint8 else observation.astype(np.float32)


def _embedding_or_nan(key: ContextKey) -> Floats:
    if key.embedding is None or len(key.embedding) != EMBEDDING_WIDTH:
        return np.full(EMBEDDING_WIDTH, np.nan, np.float32)
    return key.embedding
