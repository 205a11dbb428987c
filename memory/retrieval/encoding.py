"""Embedding of a trial's first steps by the dynamics that they show: equal tasks have near embeddings.

A policy chooses the actions but not their effects, so the effects of actions identify a task whatever policy played it.

- Observations that are indices: for every visited pair of observation and action, the mean reward, the rate of ends and
  the distribution of the next observation, relative to the family's, each times n / (n + 1) after n visits.
- Vectors, and images as a few mean colours: the coefficients of a ridge regression of reward, end and change of
  observation on action and observation, shrunk towards those of the whole family.

The numbers are projected to D = 64 by fixed random signs, which keeps distances whatever the sizes of the spaces.
Departure from the issue's "present encoder": the hidden state of a trained policy tells tasks apart much worse
(``docs/lab/retrieval.md``).

Shapes: N trials, M steps of all trials, K observation width, D embedding width, F features of a step, Y effects, V
visited pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from envs.coarse_images import coarse_values
from envs.spaces import ObservationKind, SpacePair
from memory.records import TrialRecord
from memory.retrieval.index import Floats
from memory.retrieval.random_signs import SIGNS, random_signs

EMBEDDING_WIDTH = SIGNS
NUM_STEPS = 32
"""k: the number of first steps of a trial that its embedding summarises."""

RIDGE = 1.0
"""Penalty of the regression, in steps; also the number of visits at which a mean has half its weight."""

MAX_PAIRS = 4_096
"""With more pairs of observation and action, effects are not relative to the family's."""

MAX_VECTOR = 16
"""Wider observations and actions are projected to so many numbers before the regression."""

_MIN_SPREAD = 1e-3
_MAX_VALUE = 10.0
"""Bound of a scaled observation or reward."""


@dataclass(frozen=True, kw_only=True)
class FirstSteps:
    """The first steps of N trials, one trial after another.

    Attributes:
        num_trials: N.
        trial: [M] index of each step's trial, ascending.
        observation, next_observation: [M, K]; the next one is the true final observation at the end of an episode.
        action: [M] or [M, W], in the form that the policy returned.
        reward: [M].
        terminated: [M] whether the step ended its episode in a terminal state.
    """

    num_trials: int
    trial: NDArray[np.int64]
    observation: Floats
    next_observation: Floats
    action: NDArray[np.generic]
    reward: Floats
    terminated: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class EncoderParameters:
    """The parameters of a family's encoder: the scales of its steps, and its mean dynamics.

    Attributes:
        observation_mean, observation_spread: [K].
        change_spread: [K] of the change of the observation in one step.
        reward_mean, reward_spread: [1] of one step.
        prior: the mean sketch of each pair of observation and action, [S·A, D], or the coefficients of the regression
            over all trials, [F, Y]; empty where there are more than ``MAX_PAIRS`` pairs.
    """

    observation_mean: Floats
    observation_spread: Floats
    change_spread: Floats
    reward_mean: Floats
    reward_spread: Floats
    prior: Floats


class TaskEncoder:
    """An encoder of the first steps of one family's trials.

    Args:
        spaces: the family's spaces.
        parameters: the scales and mean dynamics.
        generation: the number of these parameters, at least 1.
    """

    def __init__(self, spaces: SpacePair, parameters: EncoderParameters, *, generation: int) -> None:
        self.spaces = spaces
        self.parameters = parameters
        self.generation = generation

    def embed(self, steps: FirstSteps) -> Floats:
        """Return the embeddings [N, D]. A trial without steps has the family's mean, 0."""
        if _has_pairs(self.spaces):
            return self._embed_visits(steps)
        coefficients = self._regression(steps).reshape(steps.num_trials, -1)
        if coefficients.shape[1] <= EMBEDDING_WIDTH:
            return np.pad(coefficients, ((0, 0), (0, EMBEDDING_WIDTH - coefficients.shape[1])))
        projected: Floats = coefficients @ random_signs(np.arange(coefficients.shape[1]))
        return projected

    def _embed_visits(self, steps: FirstSteps) -> Floats:
        trial, pair, sketch, count = _sketches(self.spaces, self.parameters, steps)
        if len(self.parameters.prior):
            sketch = sketch - self.parameters.prior[pair]
        embeddings = np.zeros((steps.num_trials, EMBEDDING_WIDTH), np.float32)
        np.add.at(embeddings, trial, sketch * (count / (count + RIDGE))[:, None])
        return embeddings

    def _regression(self, steps: FirstSteps) -> Floats:
        """Return [N, F, Y], each trial's coefficients relative to the family's."""
        causes, effects = _causes_and_effects(self.spaces, self.parameters, steps)
        residuals = effects - causes @ self.parameters.prior
        bounds = np.searchsorted(steps.trial, np.arange(steps.num_trials + 1))
        coefficients = np.empty((steps.num_trials, causes.shape[1], effects.shape[1]), np.float32)
        for index, (start, end) in enumerate(pairwise(bounds)):
            coefficients[index] = _ridge(causes[start:end], residuals[start:end])
        return coefficients


def fit_encoder(spaces: SpacePair, trials: Sequence[TrialRecord]) -> EncoderParameters:
    """Return the parameters of an encoder, fitted to all steps of trials.

    Args:
        spaces: the family's spaces.
        trials: at least one trial.
    """
    steps = first_steps(trials, num_steps=None, spaces=spaces)
    parameters = EncoderParameters(
        observation_mean=steps.observation.mean(0, dtype=np.float64).astype(np.float32),
        observation_spread=_spread(steps.observation),
        change_spread=_spread(steps.next_observation - steps.observation),
        reward_mean=np.array([steps.reward.mean(dtype=np.float64)], np.float32),
        reward_spread=_spread(steps.reward[:, None]),
        prior=np.empty((0, 0), np.float32),
    )
    if _has_pairs(spaces):
        prior = _mean_sketches(spaces, parameters, steps)
    else:
        prior = _ridge(*_causes_and_effects(spaces, parameters, steps))
    return replace(parameters, prior=prior)


def first_steps(trials: Sequence[TrialRecord], *, num_steps: int | None, spaces: SpacePair | None = None) -> FirstSteps:
    """Return the first steps of each trial, over its episodes.

    Args:
        trials: N trials.
        num_steps: largest number of steps of a trial; None for all.
        spaces: the family's spaces; needed for observations with images, of which a few colours are returned.
    """
    parts = [(index, episode) for index, trial in enumerate(trials) for episode in trial.episodes]
    number = np.concatenate([np.full(len(episode.rewards), index) for index, episode in parts])
    if num_steps is None:
        kept = np.ones(len(number), np.bool_)
    else:
        kept = np.arange(len(number)) - np.searchsorted(number, np.arange(len(trials)))[number] < num_steps
    observed = [_values(episode.observations, spaces) for _, episode in parts]
    ended = [np.arange(len(e.rewards)) == (len(e.rewards) - 1 if e.is_terminated else -1) for _, e in parts]
    return FirstSteps(
        num_trials=len(trials),
        trial=number[kept],
        observation=np.concatenate([seen[:-1] for seen in observed])[kept],
        next_observation=np.concatenate([seen[1:] for seen in observed])[kept],
        action=np.concatenate([episode.actions for _, episode in parts])[kept],
        reward=np.concatenate([episode.rewards for _, episode in parts])[kept],
        terminated=np.concatenate(ended)[kept],
    )


def _values(observations: NDArray[np.float32] | NDArray[np.uint8], spaces: SpacePair | None) -> Floats:
    """Return observations as numbers; images that are still bytes as a few mean colours."""
    if observations.dtype != np.uint8 or spaces is None:
        return observations.astype(np.float32, copy=False)
    return coarse_values(observations.astype(np.uint8, copy=False), spaces.observation)


def _has_pairs(spaces: SpacePair) -> bool:
    return spaces.observation.kind is ObservationKind.DISCRETE and not spaces.action.has_numbers


def _num_pairs(spaces: SpacePair) -> int:
    return int(np.prod(spaces.action.choices, dtype=np.float64)) * spaces.observation.size


def _sketches(
    spaces: SpacePair, parameters: EncoderParameters, steps: FirstSteps
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
    """Return for each trial's visited pairs: trial [V], pair [V], mean sketch of the effects [V, D] and visits [V]."""
    size = spaces.observation.size
    seen, following = (array[:, 0].astype(np.int64) for array in (steps.observation, steps.next_observation))
    pair = _action_index(steps.action, spaces.action.choices) * size + seen
    visited, place, count = np.unique(np.stack([steps.trial, pair], 1), axis=0, return_inverse=True, return_counts=True)
    num_effects = 2 + (size if size > 1 else 0)
    is_small = _num_pairs(spaces) * num_effects <= EMBEDDING_WIDTH
    signs = _places if is_small else random_signs
    sketch = signs(pair * num_effects) * _scaled_reward(parameters, steps)[:, None]
    sketch += signs(pair * num_effects + 1) * steps.terminated[:, None]
    if size > 1:
        sketch += signs(pair * num_effects + 2 + following)
    total = np.zeros((len(visited), EMBEDDING_WIDTH), np.float32)
    np.add.at(total, place.ravel(), sketch)
    visits: Floats = count.astype(np.float32)
    return visited[:, 0], visited[:, 1], total / visits[:, None], visits


def _mean_sketches(spaces: SpacePair, parameters: EncoderParameters, steps: FirstSteps) -> Floats:
    """Return [S·A, D], the mean over trials of each pair's sketch; 0 for a pair that none visited."""
    num_pairs = _num_pairs(spaces)
    if num_pairs > MAX_PAIRS:
        return np.empty((0, 0), np.float32)
    _, pair, sketch, _ = _sketches(spaces, parameters, steps)
    mean = np.zeros((num_pairs, EMBEDDING_WIDTH), np.float32)
    np.add.at(mean, pair, sketch)
    num_trials: Floats = np.maximum(np.bincount(pair, minlength=num_pairs), 1).astype(np.float32)
    return mean / num_trials[:, None]


def _causes_and_effects(spaces: SpacePair, parameters: EncoderParameters, steps: FirstSteps) -> tuple[Floats, Floats]:
    """Return the causes [M, F], a constant, action and observation, and the effects [M, Y] of each step."""
    causes = [np.ones((len(steps.trial), 1), np.float32), _narrow(_action_columns(steps.action, spaces))]
    effects = [_scaled_reward(parameters, steps)[:, None], steps.terminated[:, None].astype(np.float32)]
    if spaces.observation.kind is not ObservationKind.DISCRETE:
        observation = (steps.observation - parameters.observation_mean) / parameters.observation_spread
        change = (steps.next_observation - steps.observation) / parameters.change_spread
        causes.append(_narrow(_bounded(observation)))
        effects.append(_narrow(_bounded(change)))
    return np.concatenate(causes, axis=1), np.concatenate(effects, axis=1)


def _ridge(causes: Floats, effects: Floats) -> Floats:
    """Return [F, Y], the coefficients of a ridge regression."""
    gram = causes.T.astype(np.float64) @ causes + RIDGE * np.eye(causes.shape[1])
    coefficients: Floats = np.linalg.solve(gram, causes.T.astype(np.float64) @ effects).astype(np.float32)
    return coefficients


def _scaled_reward(parameters: EncoderParameters, steps: FirstSteps) -> Floats:
    return _bounded((steps.reward - parameters.reward_mean) / parameters.reward_spread)


def _spread(values: Floats) -> Floats:
    """Return the standard deviation of each column, [K], at least ``_MIN_SPREAD``."""
    spread: Floats = np.maximum(values.std(0, dtype=np.float64), _MIN_SPREAD).astype(np.float32)
    return spread


def _bounded(values: Floats) -> Floats:
    return np.clip(values, -_MAX_VALUE, _MAX_VALUE)


def _columns(action: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return [M, W], also for actions [M] of one number."""
    return action if action.ndim == 2 else action[:, None]


def _action_index(action: NDArray[np.generic], choices: Sequence[int]) -> NDArray[np.int64]:
    """Return [M] one index per combination of choices."""
    index = np.zeros(len(action), np.int64)
    for column, count in zip(_columns(action).astype(np.int64).T, choices, strict=True):
        index = index * count + column
    return index


def _action_columns(action: NDArray[np.generic], spaces: SpacePair) -> Floats:
    """Return [M, W]: one column per choice with mean 0 over the choices, then numbers clipped to [-1, 1]."""
    chosen, numbers = np.split(_columns(action), [len(spaces.action.choices)], axis=1)
    parts = [np.eye(n, dtype=np.float32)[chosen[:, i].astype(np.int64)] for i, n in enumerate(spaces.action.choices)]
    centred = [part - np.float32(1.0 / part.shape[1]) for part in parts]
    if spaces.action.has_numbers:
        centred.append(np.clip(numbers.astype(np.float32), -1.0, 1.0))
    return np.concatenate(centred, axis=1)


def _narrow(values: Floats) -> Floats:
    """Return [M, at most MAX_VECTOR] columns: the values, or fixed random projections of them."""
    if values.shape[1] <= MAX_VECTOR:
        return values
    signs = random_signs(np.arange(values.shape[1]))[:, :MAX_VECTOR]
    projected: Floats = values @ (signs * np.float32((EMBEDDING_WIDTH / values.shape[1]) ** 0.5))
    return projected


def _places(numbers: NDArray[np.int64]) -> Floats:
    """Return [n, D], 1 at the place of each number: the projection where there are at most D numbers."""
    return np.eye(EMBEDDING_WIDTH, dtype=np.float32)[numbers]
