"""Upkeep of the context keys: encoders are fitted as families grow, and embeddings are computed in small portions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np

from envs.coarse_images import coarse_values
from envs.family import Split
from envs.kinds import FamilyKind
from envs.spaces import SpacePair
from memory.errors import CorruptFileError, MemoryStoreError, TrialNotFoundError
from memory.records import NO_GENERATION, ContextKey, Family, StoredContextKey, TrialRecord
from memory.retrieval.digests import observation_digests
from memory.retrieval.encoding import NUM_STEPS, EncoderParameters, TaskEncoder, first_steps, fit_encoder
from memory.retrieval.identity import task_identity
from memory.retrieval.recall import RecallableTrial, TaskRecall
from memory.tables.context_encoders import ContextEncoderTable
from memory.tables.context_keys import ContextKeyTable
from memory.tables.trials import TrialTable

if TYPE_CHECKING:
    from memory.store import Store

log = logging.getLogger(__name__)

TRIALS_AT_ONCE = 64
"""Largest number of embeddings that one call computes: about 30 ms."""

MOST_RECALLED = 4_096
"""Newest trials of a family that are searched for the task of another trial."""

_FEWEST_TRIALS = 4
_MOST_FITTED_TRIALS = 512
_MOST_FITTED_STEPS = 10_000
"""Steps of trials with images to which an encoder is fitted, about."""

_GROWTH = 4
"""An encoder is fitted again when the family's total of trials has grown by this factor, so that the number of
generations grows with its logarithm."""


class KeyUpkeep:
    """The upkeep of the context keys of a store's families of environments.

    Args:
        contexts, encoders, trials: the tables.
    """

    def __init__(self, contexts: ContextKeyTable, encoders: ContextEncoderTable, trials: TrialTable) -> None:
        self._contexts = contexts
        self._encoders = encoders
        self._trials = trials
        self._known: dict[int, TaskEncoder] = {}

    @classmethod
    def of(cls, store: Store) -> KeyUpkeep:
        """Return the upkeep of a store's context keys."""
        return cls(store.contexts, store.encoders, store.trials)

    def refresh(self, family: Family, *, limit: int = TRIALS_AT_ONCE) -> int:
        """Compute missing and outdated keys of a family, newest trials first; return their number.

        An error of the store is logged: the next call computes what is missing.

        Args:
            family: the family, with its present totals.
            limit: largest number of keys to compute; more remain for the next call.
        """
        try:
            encoder = self._grown(family)
            if encoder is None:
                return 0
            trial_ids = self._contexts.outdated(family.name, generation=encoder.generation, limit=limit)
            loaded = ((trial_id, self._load(trial_id, encoder.spaces)) for trial_id in trial_ids)
            found = {trial_id: trial for trial_id, trial in loaded if trial is not None}
            return self._contexts.put(keys_of(encoder, found)) if found else 0
        except MemoryStoreError as error:
            log.warning("context keys of %s could not be computed: %s", family.name, error)
            return 0

    def encoder(self, family: Family) -> TaskEncoder | None:
        """Return a family's present encoder; None before it has enough trials, and for few-shot families.

        Raises:
            FamilyNotFoundError: the family was removed.
        """
        stored = self._encoders.get(family.name)
        if family.spaces is None or stored is None or not stored.parameters:
            return None
        known = self._known.get(family.id)
        if known is None or known.generation != stored.generation:
            names = [part.name for part in fields(EncoderParameters)]
            parameters = EncoderParameters(**{name: stored.parameters[name] for name in names})
            known = TaskEncoder(SpacePair.from_json(family.spaces), parameters, generation=stored.generation)
            self._known[family.id] = known
        return known

    def recall(self, family: Family) -> TaskRecall:
        """Return a family's newest trials, ``MOST_RECALLED`` at most, for recall. Later trials are not among them.

        Args:
            family: an admitted family of environments.

        Raises:
            FamilyNotFoundError: the family was removed.
        """
        encoder = self.encoder(family)
        rows = {row.id: row for row in self._trials.of_family(family.name, limit=MOST_RECALLED)}
        keys = self._contexts.of_family(family.name, after=min(rows, default=1) - 1, limit=2 * MOST_RECALLED)
        trials = [
            RecallableTrial(
                trial_id=stored.trial_id,
                task=task_identity(family.name, rows[stored.trial_id].task, stored.key.digest),
                key=_of_generation(stored, NO_GENERATION if encoder is None else encoder.generation),
            )
            for stored in keys
            if stored.trial_id in rows
        ]
        spaces = SpacePair.from_json(family.spaces or {})
        return TaskRecall(spaces, trials, encoder=encoder, load=self._trials.load)

    def met_tasks(self, family: Family) -> list[int]:
        """Return the indices of the training tasks of a family's newest trials, the newest first.

        Of indices whose tasks are the same, the newest is returned.

        Raises:
            FamilyNotFoundError: the family was removed.
        """
        rows = self._trials.of_family(family.name, limit=MOST_RECALLED)
        met: dict[str, int] = {}
        for row in rows:
            if row.task.get("split") == Split.TRAINING and "index" in row.task:
                met.setdefault(task_identity(family.name, row.task, b""), row.task["index"])
        return list(met.values())

    def _grown(self, family: Family) -> TaskEncoder | None:
        """Return a family's encoder, after fitting it if the family has grown enough."""
        if family.spaces is None or family.kind is not FamilyKind.ENVIRONMENTS:
            return None
        stored = self._encoders.get(family.name)
        is_present = stored is not None and bool(stored.parameters)
        if stored is None or not is_present or family.totals.trials >= _GROWTH * stored.trials_seen:
            self._fit(family, SpacePair.from_json(family.spaces))
        return self.encoder(family)

    def _fit(self, family: Family, spaces: SpacePair) -> None:
        """Fit a family's encoder to its newest trials, if there are enough."""
        trials: list[TrialRecord] = []
        num_steps = 0
        for row in self._trials.of_family(family.name, limit=_MOST_FITTED_TRIALS):
            trial = self._load(row.id, spaces)
            if trial is None:
                continue
            trials.append(trial)
            num_steps += sum(len(episode.rewards) for episode in trial.episodes)
            if spaces.observation.images and num_steps >= _MOST_FITTED_STEPS and len(trials) >= _FEWEST_TRIALS:
                break
        if len(trials) >= _FEWEST_TRIALS:
            parameters = fit_encoder(spaces, trials)
            self._encoders.put(family.name, vars(parameters), trials_seen=max(family.totals.trials, len(trials)))

    def _load(self, trial_id: int, spaces: SpacePair) -> TrialRecord | None:
        """Return a trial, its images as a few mean colours; None if it is damaged or was pruned."""
        try:
            return coarse_trial(self._trials.load(trial_id), spaces)
        except (CorruptFileError, TrialNotFoundError) as error:
            log.info("a trial has no context key: %s", error)
            return None


def coarse_trial(trial: TrialRecord, spaces: SpacePair) -> TrialRecord:
    """Return a trial whose images are a few mean colours, with the digest of its first observation; others unchanged.

    Several trials are held at once, and images take much memory.
    """
    if not spaces.observation.images:
        return trial
    [digest] = observation_digests(trial.episodes[0].observations[:1])
    episodes = [
        replace(episode, observations=coarse_values(episode.observations.astype(np.uint8), spaces.observation))
        for episode in trial.episodes
    ]
    return replace(trial, episodes=tuple(episodes), context=trial.context or ContextKey(digest=digest))


def recall_among(spaces: SpacePair, families: Sequence[str], load: Callable[[int], TrialRecord]) -> TaskRecall:
    """Return trials that are in no store for recall, with an encoder that is fitted to them.

    Args:
        spaces: the space pair of the trials.
        families: [N] the families of the trials 0 to N - 1, oldest first.
        load: returns a trial by its number.
    """
    numbers, encoder = range(len(families)), None
    if len(families) >= _FEWEST_TRIALS:
        newest = [coarse_trial(load(number), spaces) for number in numbers[-_MOST_FITTED_TRIALS:]]
        encoder = TaskEncoder(spaces, fit_encoder(spaces, newest), generation=NO_GENERATION + 1)
    trials: list[RecallableTrial] = []
    for start in numbers[::TRIALS_AT_ONCE]:
        portion = {number: coarse_trial(load(number), spaces) for number in numbers[start : start + TRIALS_AT_ONCE]}
        keys = keys_of(encoder, portion)
        trials += [
            RecallableTrial(
                trial_id=number, task=task_identity(families[number], trial.task, keys[number].digest), key=keys[number]
            )
            for number, trial in portion.items()
        ]
    return TaskRecall(spaces, trials, encoder=encoder, load=load)


def _of_generation(stored: StoredContextKey, generation: int) -> ContextKey:
    """Return a key, without its embedding if that is of another generation."""
    if stored.key.generation == generation:
        return stored.key
    return replace(stored.key, embedding=None, generation=NO_GENERATION)


def keys_of(encoder: TaskEncoder | None, trials: dict[int, TrialRecord]) -> dict[int, ContextKey]:
    """Return the keys of trials, by id. A digest that a trial has is kept; others are of its first observation.

    Args:
        encoder: what embeds the first steps; None gives keys without embeddings.
        trials: id → trial.
    """
    digests = {trial_id: _digest(trial) for trial_id, trial in trials.items()}
    if encoder is None:
        return {trial_id: ContextKey(digest=digest) for trial_id, digest in digests.items()}
    embeddings = encoder.embed(first_steps(list(trials.values()), num_steps=NUM_STEPS, spaces=encoder.spaces))
    return {
        trial_id: ContextKey(digest=digest, embedding=embedding, generation=encoder.generation)
        for (trial_id, digest), embedding in zip(digests.items(), embeddings, strict=True)
    }


def _digest(trial: TrialRecord) -> bytes:
    if trial.context is not None:
        return trial.context.digest
    [digest] = observation_digests(trial.episodes[0].observations[:1])
    return digest
