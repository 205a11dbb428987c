"""The probability that a trial's task was met before, calibrated on stored trials.

A logistic regression of "the best match is of the same task" on what the match shows: whether its digest is equal, how
many trials have that digest, and its distance. It is fitted on one half of the stored trials and measured on the other.
Each trial is matched with the trials before it alone, as in use.

Shapes: N trials, F features of a match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memory.records import StoredContextKey
from memory.retrieval.index import NO_TRIAL, ContextIndex, Matches

Numbers = NDArray[np.float64]

NUM_MATCHES = 8
"""Number of matches that a query asks for: their mean distance tells how crowded the index is there."""

_SMALLEST_DISTANCE = 1e-3
_PENALTY = 0.1
_NUM_ITERATIONS = 25


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A fitted regression.

    Attributes:
        weights: [F].
    """

    weights: Numbers

    def probability(self, matches: Matches) -> float:
        """Return the probability that the first match is of the same task; 0 if there is no match."""
        if len(matches.trial_ids) == 0:
            return 0.0
        return float(_sigmoid(features_of(matches) @ self.weights))


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Tested trials with similar probabilities.

    Attributes:
        probability: their mean probability.
        share: the share of them whose task was met before.
        count: their number.
    """

    probability: float
    share: float
    count: int


@dataclass(frozen=True, kw_only=True)
class CalibrationTest:
    """A measurement of a calibration on trials that it was not fitted on.

    Attributes:
        num_trials: their number.
        num_known: number of those whose best match is of the same task.
        brier: mean squared difference of probability and outcome (Brier 1950).
        brier_of_base_rate: the same for the share of known tasks as every trial's probability.
        calibration_error: expected calibration error over ten bins of equal width (Naeini et al. 2015).
        accuracy: share of the trials with a probability on the right side of a half.
        bins: the bins that have trials.
    """

    num_trials: int
    num_known: int
    brier: float
    brier_of_base_rate: float
    calibration_error: float
    accuracy: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, kw_only=True)
class PastMatches:
    """The matches of each of N trials among the trials before it.

    Attributes:
        trial_ids: [N] the trials.
        matches: [N] their matches.
        is_same_task: [N] whether the first match is of the same task.
    """

    trial_ids: list[int]
    matches: list[Matches]
    is_same_task: NDArray[np.bool_]


def features_of(matches: Matches) -> Numbers:
    """Return [F] the features of matches of which there is at least one."""
    is_exact = float(matches.is_exact)
    crowd = np.log(max(matches.num_exact, 1))
    known = matches.distances[np.isfinite(matches.distances)]
    if len(known) == 0 or not np.isfinite(matches.distances[0]):
        return np.array([1.0, is_exact, is_exact * crowd, 0.0, 0.0, 0.0])
    nearest = np.log(max(float(matches.distances[0]), _SMALLEST_DISTANCE))
    mean = np.log(np.maximum(known, _SMALLEST_DISTANCE)).mean()
    return np.array([1.0, is_exact, is_exact * crowd, 1.0, nearest, nearest - mean])


def match_with_the_past(
    keys: Sequence[StoredContextKey], tasks: Sequence[str], *, width: int, with_embeddings: bool = True
) -> PastMatches:
    """Match each trial with those before it.

    Args:
        keys: the keys of N trials of one family, oldest first, with embeddings of one generation.
        tasks: [N] their tasks (:func:`memory.retrieval.identity.task_identity`).
        width: D of the embeddings.
        with_embeddings: search by embeddings as well; otherwise as at the start of a trial, when there is none yet.
    """
    index = ContextIndex(width)
    by_id = {stored.trial_id: task for stored, task in zip(keys, tasks, strict=True)}
    found = []
    for stored in keys:
        embedding = stored.key.embedding if with_embeddings else None
        found.append(index.find(stored.key.digest, embedding, NUM_MATCHES))
        index.add([stored.trial_id], [stored.key.digest], None if embedding is None else embedding[None])
    first = [int(matches.trial_ids[0]) if len(matches.trial_ids) else NO_TRIAL for matches in found]
    is_same = [by_id.get(match) == task for match, task in zip(first, tasks, strict=True)]
    return PastMatches(
        trial_ids=[stored.trial_id for stored in keys], matches=found, is_same_task=np.array(is_same, np.bool_)
    )


def fit_calibration(past: PastMatches) -> Calibration:
    """Fit the regression by Newton's method, with a small penalty for weights other than the first."""
    rows = [row for row, matches in enumerate(past.matches) if len(matches.trial_ids)]
    if not rows:
        return Calibration(weights=np.array([-3.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    values = np.stack([features_of(past.matches[row]) for row in rows])
    outcomes = past.is_same_task[rows].astype(np.float64)
    penalty = np.full(values.shape[1], _PENALTY)
    weights = np.zeros(values.shape[1])
    for _ in range(_NUM_ITERATIONS):
        expected = _sigmoid(values @ weights)
        gradient = values.T @ (expected - outcomes) + penalty * weights
        curvature = (values * (expected * (1.0 - expected))[:, None]).T @ values + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step / max(1.0, float(np.abs(step).max()) / 4.0)
    return Calibration(weights=weights)


def calibrate(past: PastMatches) -> tuple[Calibration, CalibrationTest]:
    """Fit on every second trial and measure on the others; return the calibration that was measured."""
    halves = [np.arange(start, len(past.matches), 2) for start in (0, 1)]
    calibration = fit_calibration(_rows(past, halves[0]))
    tested = _rows(past, halves[1])
    probabilities = np.array([calibration.probability(matches) for matches in tested.matches])
    return calibration, measure(probabilities, tested.is_same_task)


def measure(probabilities: Numbers, outcomes: NDArray[np.bool_]) -> CalibrationTest:
    """Measure probabilities [N] on their outcomes [N]."""
    happened = outcomes.astype(np.float64)
    base_rate = happened.mean() if len(happened) else 0.0
    place = np.minimum((probabilities * 10).astype(np.int64), 9)
    bins = tuple(
        Bin(
            probability=float(probabilities[place == number].mean()),
            share=float(happened[place == number].mean()),
            count=int((place == number).sum()),
        )
        for number in np.unique(place)
    )
    num_trials = len(happened)
    return CalibrationTest(
        num_trials=num_trials,
        num_known=int(outcomes.sum()),
        brier=float(((probabilities - happened) ** 2).mean()) if num_trials else 0.0,
        brier_of_base_rate=float(base_rate * (1.0 - base_rate)),
        calibration_error=sum(one.count * abs(one.probability - one.share) for one in bins) / max(num_trials, 1),
        accuracy=float(((probabilities > 0.5) == outcomes).mean()) if num_trials else 0.0,
        bins=bins,
    )


def _rows(past: PastMatches, rows: NDArray[np.int64]) -> PastMatches:
    return PastMatches(
        trial_ids=[past.trial_ids[row] for row in rows],
        matches=[past.matches[row] for row in rows],
        is_same_task=past.is_same_task[rows],
    )


def _sigmoid(values: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-np.clip(values, -30.0, 30.0)))
