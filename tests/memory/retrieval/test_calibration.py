from __future__ import annotations

import numpy as np
import pytest

from memory.records import ContextKey, StoredContextKey
from memory.retrieval.calibration import (
    Calibration,
    calibrate,
    features_of,
    fit_calibration,
    match_with_the_past,
    measure,
)
from memory.retrieval.index import Matches

WIDTH = 8


def recurring(
    num_trials: int, *, num_tasks: int, noise: float, seed: int = 0, digests: bool = False
) -> tuple[list[StoredContextKey], list[str]]:
    """Return keys of trials whose tasks recur; a task's embeddings are a point with noise."""
    draw = np.random.default_rng(seed)
    points = draw.normal(size=(num_tasks, WIDTH))
    tasks = draw.integers(num_tasks, size=num_trials)
    embeddings = (points[tasks] + noise * draw.normal(size=(num_trials, WIDTH))).astype(np.float32)
    keys = [
        StoredContextKey(
            trial_id=row + 1,
            key=ContextKey(digest=bytes([task if digests else 0] * 16), embedding=embedding, generation=1),
        )
        for row, (task, embedding) in enumerate(zip(tasks, embeddings, strict=True))
    ]
    return keys, [str(task) for task in tasks]


def test_measures_by_hand() -> None:
    test = measure(np.array([0.05, 0.85, 0.95, 0.05]), np.array([False, True, True, True]))
    assert (test.num_trials, test.num_known) == (4, 3)
    assert test.brier == pytest.approx((0.05**2 + 0.15**2 + 0.05**2 + 0.95**2) / 4)
    assert test.brier_of_base_rate == pytest.approx(0.75 * 0.25)
    assert test.calibration_error == pytest.approx((2 * 0.45 + 0.15 + 0.05) / 4)
    assert test.accuracy == 0.75
    assert [(one.count, one.share) for one in test.bins] == [(2, 0.5), (1, 1.0), (1, 1.0)]


def test_each_trial_is_matched_with_those_before_it_alone() -> None:
    keys, tasks = recurring(60, num_tasks=10, noise=0.01)
    past = match_with_the_past(keys, tasks, width=WIDTH)
    assert len(past.matches[0].trial_ids) == 0
    for row, matches in enumerate(past.matches):
        assert (matches.trial_ids <= row).all()
        assert past.is_same_task[row] == (tasks[row] in tasks[:row])


def test_a_calibration_of_tasks_that_are_apart_knows_them_and_one_of_equal_tasks_does_not() -> None:
    for noise, is_told_apart in ((0.01, True), (100.0, False)):
        past = match_with_the_past(*recurring(400, num_tasks=80, noise=noise), width=WIDTH)
        _, test = calibrate(past)
        assert test.calibration_error < 0.1
        if is_told_apart:
            assert test.accuracy > 0.97
            assert test.brier < 0.03
        else:
            assert test.brier == pytest.approx(test.brier_of_base_rate, abs=0.03)


def test_a_digest_that_all_tasks_have_is_no_evidence_and_one_of_its_own_is() -> None:
    for digests, expected in ((False, 0.25), (True, 0.02)):
        keys, tasks = recurring(300, num_tasks=60, noise=0.5, digests=digests)
        _, test = calibrate(match_with_the_past(keys, tasks, width=WIDTH, with_embeddings=False))
        assert test.brier < expected
        assert (test.brier > 0.01) == (not digests)


def test_a_fit_finds_the_weights_that_made_the_outcomes() -> None:
    """The gradient of the penalised likelihood is 0 at the fitted weights."""
    past = match_with_the_past(*recurring(300, num_tasks=60, noise=0.4), width=WIDTH)
    weights = fit_calibration(past).weights
    rows = [row for row, matches in enumerate(past.matches) if len(matches.trial_ids)]
    values = np.stack([features_of(past.matches[row]) for row in rows])
    expected = 1.0 / (1.0 + np.exp(-values @ weights))
    gradient = values.T @ (expected - past.is_same_task[rows]) + 0.1 * weights
    assert np.abs(gradient).max() < 1e-6


def test_without_a_match_the_task_is_new() -> None:
    nothing = Matches(trial_ids=np.empty(0, np.int64), distances=np.empty(0, np.float32), is_exact=False, num_exact=0)
    assert Calibration(weights=np.ones(6)).probability(nothing) == 0.0
    keys, tasks = recurring(1, num_tasks=1, noise=0.0)
    calibration, test = calibrate(match_with_the_past(keys, tasks, width=WIDTH))
    assert np.isfinite(calibration.weights).all()
    assert test.num_trials == 0
