"""Recognition of a trial's family from its first steps, by classifying trials of the episodic memory.

A trial is summarised by the dynamics of its task: the coefficients of a ridge regression, and the standard deviations
of its residuals. The regression predicts each step's change of observation, reward and end from its action and
observation. A policy chooses the actions but not their effects, so summaries of trials by different policies are
comparable. Each number of a summary is divided by its standard deviation within families, over the support trials, so
that numbers that differ between families have more weight.

The summaries are then classified, as in few-shot classification with one class per family:

- prototypes (Snell et al. 2017, arXiv:1703.05175, eq. 1-2): the family whose mean summary is nearest;
- matching attention (Vinyals et al. 2016, arXiv:1606.04080, eq. 1-2): the softmax of cosines over the support trials,
  summed by family. Departure from the paper: cosines are divided by ``TEMPERATURE``, because summaries are not learned.

Only families of equal spaces are compared, because the spaces already distinguish all others.

Shapes: T steps, D observation width, W columns of an action, P numbers of a summary, N support trials, Q query trials,
C families.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.spaces import ActionSpec, ObservationKind, SpacePair
from memory.records import EpisodeRecord, TrialRecord
from memory.retrieval.key_upkeep import coarse_trial
from memory.store import Store

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

RIDGE = 1.0
"""Penalty of the regression, in steps. It keeps coefficients near 0 that are supported by few steps only."""

TEMPERATURE = 0.1
MAX_SPREADS = 10.0
FEWEST_TRIALS = 4
"""Smallest number of trials of a compared family. One half is support, the other half is query."""


@dataclass(frozen=True, kw_only=True)
class Resemblance:
    """The share of a family's query trials that are classified as trials of one family.

    Attributes:
        family: name of the predicted family.
        by_prototypes: share of the query trials that prototypes classify as this family.
        by_matching: the same for matching attention.
    """

    family: str
    by_prototypes: float
    by_matching: float


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """The result of classifying a family's trials, with the accuracy of both classifiers.

    Attributes:
        family: name of the family whose trials were classified.
        resemblances: one entry per family of equal spaces, including the family itself.
        accuracy_by_prototypes: share of the query trials of all compared families that prototypes classify correctly.
        accuracy_by_matching: the same for matching attention.
        num_trials: number of query trials of all compared families.
    """

    family: str
    resemblances: tuple[Resemblance, ...]
    accuracy_by_prototypes: float
    accuracy_by_matching: float
    num_trials: int


def recognise(store: Store, family: str, *, num_steps: int, num_trials: int) -> Recognition | None:
    """Compare a family's newest trials with those of every family of equal spaces.

    The older half of each family's trials is the support set, the newer half is the query set. Every family contributes
    the same number of trials.

    Args:
        store: the store with the trials.
        family: name of the family.
        num_steps: number of first steps to use of each trial.
        num_trials: largest number of newest trials to use of each family.

    Returns:
        The recognition; None if fewer than two families have ``FEWEST_TRIALS`` trials, or the family has too few.

    Raises:
        FamilyNotFoundError: there is no family of that name.
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
    pair = SpacePair.from_json(spaces)
    newest = (row.id for found in rows.values() for row in reversed(found[:each]))
    trials = [coarse_trial(store.trials.load(trial_id), pair) for trial_id in newest]
    values = summaries(trials, pair, num_steps=num_steps)
    labels = np.repeat(np.arange(len(rows)), each)
    is_query = np.tile(np.arange(each) >= each // 2, len(rows))
    return _recognition(family, list(rows), values, labels, is_query)


def _recognition(
    family: str, names: list[str], values: Floats, labels: Labels, is_query: NDArray[np.bool_]
) -> Recognition:
    known = labels[~is_query]
    support, query = in_units_of_spread(values[~is_query], known, values[is_query])
    by_prototypes = nearest_prototypes(query, support, known)
    by_matching = matching_attention(query, support, known).argmax(1)
    right, own = labels[is_query], labels[is_query] == names.index(family)
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
    """Return the class of the nearest mean: argmin_c |q - mean of the support of c|².

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
    """Return Σ_i a(q, x_i) y_i, where a is the softmax over the support of cosines divided by ``TEMPERATURE``.

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
    """Return [N, P] summaries of the first steps of trials.

    Observations are divided by their standard deviation over these trials.
    """
    observed = np.concatenate([episode.observations for trial in trials for episode in trial.episodes])
    scale = np.maximum(observed.std(0, dtype=np.float64), 1e-3)
    return np.stack([_summary(trial, spaces, scale, num_steps=num_steps) for trial in trials])


def in_units_of_spread(support: Floats, labels: Labels, query: Floats) -> tuple[Floats, Floats]:
    """Return support [N, P] and query [Q, P], normalised by the support.

    The support's mean is subtracted. The result is divided by the support's standard deviation within classes, and
    clipped to ±``MAX_SPREADS``.
    """
    classes = [support[labels == index] for index in range(int(labels.max()) + 1)]
    spread = np.sqrt(np.mean([members.var(0) for members in classes], axis=0))
    centre, spread = support.mean(0), np.maximum(spread, 1e-6)
    bounded = (np.clip((values - centre) / spread, -MAX_SPREADS, MAX_SPREADS) for values in (support, query))
    return next(bounded), next(bounded)


def _summary(trial: TrialRecord, spaces: SpacePair, scale: Floats, *, num_steps: int) -> Floats:
    """Return [P]: the regression's coefficients, and the standard deviations of its residuals."""
    parts = [_steps(episode, spaces, scale) for episode in trial.episodes]
    causes, effects = (np.concatenate(part)[:num_steps] for part in zip(*parts, strict=True))
    gram = causes.T @ causes + RIDGE * np.eye(causes.shape[1])
    coefficients = np.linalg.solve(gram, causes.T @ effects)
    return np.concatenate([coefficients.ravel(), (effects - causes @ coefficients).std(0)])


def _steps(episode: EpisodeRecord, spaces: SpacePair, scale: Floats) -> tuple[Floats, Floats]:
    """Return the causes [T, 1 + W (+ D)] and the effects [T, D + 2] of an episode's steps.

    The causes are a constant 1, the action and, if it is a vector, the observation. The effects are the change of the
    observation, the reward, and whether the episode terminated.
    """
    observations = episode.observations.astype(np.float64)
    num_steps = len(episode.rewards)
    columns = [np.ones((num_steps, 1)), _action_columns(episode.actions, spaces.action)]
    if spaces.observation.kind is not ObservationKind.DISCRETE:
        columns.append(observations[:-1] / scale)
        change = np.diff(observations, axis=0) / scale
    else:
        change = (np.diff(observations, axis=0) != 0).astype(np.float64)
    ended = np.zeros((num_steps, 1))
    ended[-1] = float(episode.is_terminated)
    effects = np.concatenate([change, episode.rewards.astype(np.float64)[:, None], ended], axis=1)
    return np.concatenate(columns, axis=1), effects


def _action_columns(actions: NDArray[np.generic], action: ActionSpec) -> Floats:
    """Return [T, W]: one column per choice with mean 0 over the choices, then numbers clipped to [-1, 1]."""
    chosen, numbers = np.split(actions.reshape(len(actions), -1), [len(action.choices)], axis=1)
    columns: list[Floats] = [
        np.eye(choices)[chosen[:, index].astype(np.int64)] - 1.0 / choices
        for index, choices in enumerate(action.choices)
    ]
    if action.has_numbers:
        columns.append(np.clip(numbers.astype(np.float64), -1.0, 1.0))
    return np.concatenate(columns, axis=1)


def _unit(values: Floats) -> Floats:
    unit: Floats = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    return unit
