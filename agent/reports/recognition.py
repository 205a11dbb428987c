"""Recognising what family a trial is of, from its first steps: episodic memory read by prototypes and by matching.

A trial is summarised by what followed what was done: the ridge regression of each step's change of observation, reward
and end on its action and observation, with the spread of what it leaves over. A policy decides which steps are taken,
but not what follows them, so that trials by different policies are comparable. Each number of a summary is in units of
its spread within a family, over the trials remembered: what tells families apart weighs more than what does not. Then,
as few-shot classification with a family a class:

- prototypes (Snell et al. 2017, arXiv:1703.05175, eq. 1-2): the family whose mean summary is nearest;
- matching attention (Vinyals et al. 2016, arXiv:1606.04080, eq. 1-2): the softmax of cosines over remembered trials,
  summed by family. Departure: cosines are divided by ``TEMPERATURE``, for summaries are not learned.

Only families of equal spaces are compared; spaces alone tell the others apart. Shapes: T steps, D observation width,
W columns of an action, P numbers of a summary, N trials remembered, Q trials asked for, C families.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.spaces import ActionKind, ActionSpec, ObservationKind, SpacePair
from memory.records import EpisodeRecord, TrialRecord
from memory.store import Store

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

RIDGE = 1.0
"""Penalty of the regression, in steps: coefficients that few steps speak for stay near 0."""

TEMPERATURE = 0.1
MAX_SPREADS = 10.0
FEWEST_TRIALS = 4
"""Trials of a family below which it is not compared: half are remembered, half asked for."""


@dataclass(frozen=True, kw_only=True)
class Resemblance:
    """How a family's held-out trials are recognised.

    Attributes:
        family: one of equal spaces.
        by_prototypes: share of the asked family's trials that are recognised as of this one.
        by_matching: the same by matching attention.
    """

    family: str
    by_prototypes: float
    by_matching: float


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """What was recognised, and how far to trust it.

    Attributes:
        family: whose trials were asked for.
        resemblances: by family of equal spaces, itself among them.
        accuracy_by_prototypes: share of all compared families' held-out trials that are recognised rightly.
        accuracy_by_matching: the same by matching attention.
        num_trials: held-out trials that the accuracies are over.
    """

    family: str
    resemblances: tuple[Resemblance, ...]
    accuracy_by_prototypes: float
    accuracy_by_matching: float
    num_trials: int


def recognise(store: Store, family: str, *, num_steps: int, num_trials: int) -> Recognition | None:
    """Compare a family's newest trials with those of every family of equal spaces.

    Older halves are remembered, newer halves asked for; every family gives as many.

    Args:
        store: where the trials are.
        family: a name.
        num_steps: how much of each trial is seen, from its beginning.
        num_trials: newest trials of a family that are used, at most.

    Returns:
        what was recognised; None where there are not two families with ``FEWEST_TRIALS`` trials.

    Raises:
        FamilyNotFoundError: there is none of that name.
        CorruptFileError: a trial is damaged.
    """
    spaces = store.families.get(family).spaces
    if spaces is None:
        return None
    names = [f.name for f in store.families.all() if f.spaces == spaces]
    rows = {name: store.trials.of_family(name, limit=num_trials) for name in names}
    rows = {name: found for name, found in rows.items() if len(found) >= FEWEST_TRIALS}
    if len(rows) < 2 or family not in rows:
        return None
    each = min(len(found) for found in rows.values()) // 2 * 2
    trials = [store.trials.load(row.id) for found in rows.values() for row in reversed(found[:each])]
    values = summaries(trials, SpacePair.from_json(spaces), num_steps=num_steps)
    labels = np.repeat(np.arange(len(rows)), each)
    is_asked = np.tile(np.arange(each) >= each // 2, len(rows))
    return _recognition(family, list(rows), values, labels, is_asked)


def _recognition(
    family: str, names: list[str], values: Floats, labels: Labels, is_asked: NDArray[np.bool_]
) -> Recognition:
    known = labels[~is_asked]
    support, query = in_units_of_spread(values[~is_asked], known, values[is_asked])
    by_prototypes = nearest_prototypes(query, support, known)
    by_matching = matching_attention(query, support, known).argmax(1)
    right, own = labels[is_asked], labels[is_asked] == names.index(family)
    return Recognition(
        family=family,
        resemblances=tuple(
            Resemblance(
                family=name,
                by_prototypes=float((by_prototypes[own] == index).mean()),
                by_matching=float((by_matching[own] == index).mean()),
            )
            for index, name in enumerate(names)
        ),
        accuracy_by_prototypes=float((by_prototypes == right).mean()),
        accuracy_by_matching=float((by_matching == right).mean()),
        num_trials=len(right),
    )


def nearest_prototypes(query: Floats, support: Floats, labels: Labels) -> Labels:
    """The class of the nearest mean: argmin_c |q - mean of the support of c|².

    Args:
        query: [Q, P].
        support: [N, P].
        labels: [N] classes 0 to C - 1, each at least once.

    Returns:
        [Q] classes.
    """
    prototypes = np.stack([support[labels == index].mean(0) for index in range(int(labels.max()) + 1)])
    nearest: Labels = ((query[:, None] - prototypes[None]) ** 2).sum(-1).argmin(1)
    return nearest


def matching_attention(query: Floats, support: Floats, labels: Labels) -> Floats:
    """Σ_i a(q, x_i) y_i with a the softmax of cosines over the support, divided by ``TEMPERATURE``.

    Args:
        query: [Q, P].
        support: [N, P].
        labels: [N] classes 0 to C - 1.

    Returns:
        [Q, C] probabilities.
    """
    cosines = _unit(query) @ _unit(support).T / TEMPERATURE
    attention = np.exp(cosines - cosines.max(1, keepdims=True))
    attention /= attention.sum(1, keepdims=True)
    one_hot = np.eye(int(labels.max()) + 1)[labels]
    probabilities: Floats = attention @ one_hot
    return probabilities


def summaries(trials: Sequence[TrialRecord], spaces: SpacePair, *, num_steps: int) -> Floats:
    """[N, P] summaries of the first steps of trials; observations are in units of their spread over these trials."""
    observed = np.concatenate([episode.observations for trial in trials for episode in trial.episodes])
    scale = np.maximum(observed.std(0, dtype=np.float64), 1e-3)
    return np.stack([_summary(trial, spaces, scale, num_steps=num_steps) for trial in trials])


def in_units_of_spread(support: Floats, labels: Labels, query: Floats) -> tuple[Floats, Floats]:
    """Support [N, P] and query [Q, P] about the support's mean, in units of its spread within classes, and bounded."""
    classes = [support[labels == index] for index in range(int(labels.max()) + 1)]
    spread = np.sqrt(np.mean([members.var(0) for members in classes], axis=0))
    centre, spread = support.mean(0), np.maximum(spread, 1e-6)
    bounded = (np.clip((values - centre) / spread, -MAX_SPREADS, MAX_SPREADS) for values in (support, query))
    return next(bounded), next(bounded)


def _summary(trial: TrialRecord, spaces: SpacePair, scale: Floats, *, num_steps: int) -> Floats:
    """[P]: the regression's coefficients, and the spread of what it leaves over."""
    parts = [_steps(episode, spaces, scale) for episode in trial.episodes]
    causes, effects = (np.concatenate(part)[:num_steps] for part in zip(*parts, strict=True))
    gram = causes.T @ causes + RIDGE * np.eye(causes.shape[1])
    coefficients = np.linalg.solve(gram, causes.T @ effects)
    return np.concatenate([coefficients.ravel(), (effects - causes @ coefficients).std(0)])


def _steps(episode: EpisodeRecord, spaces: SpacePair, scale: Floats) -> tuple[Floats, Floats]:
    """[T, 1 + W (+ D)] what was done, and seen; [T, D + 2] how that changed, the reward, and whether it ended."""
    observations = episode.observations.astype(np.float64)
    num_steps = len(episode.rewards)
    columns = [np.ones((num_steps, 1)), _action_columns(episode.actions, spaces.action)]
    if spaces.observation.kind is ObservationKind.VECTOR:
        columns.append(observations[:-1] / scale)
        change = np.diff(observations, axis=0) / scale
    else:
        change = (np.diff(observations, axis=0) != 0).astype(np.float64)
    ended = np.zeros((num_steps, 1))
    ended[-1] = float(episode.is_terminated)
    effects = np.concatenate([change, episode.rewards.astype(np.float64)[:, None], ended], axis=1)
    return np.concatenate(columns, axis=1), effects


def _action_columns(actions: NDArray[np.generic], action: ActionSpec) -> Floats:
    """[T, W] continuous values in [-1, 1], or one column a choice, with mean 0 over the choices."""
    if action.kind is ActionKind.CONTINUOUS:
        return np.clip(actions.astype(np.float64), -1.0, 1.0)
    chosen = actions.reshape(len(actions), -1).astype(np.int64)
    return np.concatenate(
        [np.eye(choices)[chosen[:, index]] - 1.0 / choices for index, choices in enumerate(action.choices)], axis=1
    )


def _unit(values: Floats) -> Floats:
    unit: Floats = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    return unit
