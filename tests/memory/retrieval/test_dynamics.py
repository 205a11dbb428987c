"""A task is recognised by the outcomes of its actions, with the probability that Bayes' rule gives."""

from __future__ import annotations

import numpy as np
import pytest

from memory.records import EpisodeRecord, TrialRecord
from memory.retrieval.dynamics import LEAST_SHARE, PRIOR_VISITS, UNSEEN, TaskDynamics


def trial(*steps: tuple[int, int, float], last: int = 0, is_terminated: bool = False) -> TrialRecord:
    """Return a trial of one episode from (observation, action, reward) of its steps."""
    episode = EpisodeRecord(
        observations=np.array([*(seen for seen, _, _ in steps), last], np.float32)[:, None],
        actions=np.array([action for _, action, _ in steps]),
        rewards=np.array([reward for _, _, reward in steps], np.float32),
        is_terminated=is_terminated,
    )
    return TrialRecord(task={}, episodes=(episode,))


def two_tasks() -> TaskDynamics:
    dynamics = TaskDynamics()
    for _ in range(4):
        dynamics.add("left", trial((0, 0, 1.0), last=1))
        dynamics.add("right", trial((0, 0, 1.0), last=2))
    return dynamics


def test_the_probability_is_that_of_bayes_rule() -> None:
    name, probability = two_tasks().most_likely(["left", "right"], trial((0, 0, 1.0), last=1))
    share = (4 + UNSEEN) / (8 + 2 * UNSEEN)
    likely, unlikely = (4 + PRIOR_VISITS * share) / (4 + PRIOR_VISITS), PRIOR_VISITS * share / (4 + PRIOR_VISITS)
    met = 1.0 - 2 / 8
    expected = met / 2 * likely / (met / 2 * (likely + unlikely) + (1.0 - met) * share)
    assert name == "left"
    assert probability == pytest.approx(expected)


def test_more_steps_that_fit_make_a_task_more_likely() -> None:
    dynamics, step = two_tasks(), (0, 0, 1.0)
    begun = [trial(*[step] * count, last=1) for count in (1, 1)]
    twice = TrialRecord(task={}, episodes=(begun[0].episodes[0], begun[1].episodes[0]))
    once = dynamics.most_likely(["left", "right"], begun[0])[1]
    assert dynamics.most_likely(["left", "right"], twice)[1] > once


@pytest.mark.parametrize(
    "other",
    [trial((0, 0, 0.0), last=1), trial((0, 0, 1.0), last=1, is_terminated=True), trial((0, 0, 1.0), last=5)],
    ids=["another reward", "another end", "another observation"],
)
def test_steps_that_no_task_has_are_of_a_task_that_was_never_met(other: TrialRecord) -> None:
    dynamics = two_tasks()
    assert dynamics.most_likely(["left", "right"], other)[1] < 0.1


def test_steps_in_pairs_that_were_never_visited_tell_nothing() -> None:
    dynamics = two_tasks()
    _, probability = dynamics.most_likely(["left", "right"], trial((3, 1, 1.0), last=1))
    assert probability == pytest.approx((1.0 - 2 / 8) / 2)


def test_a_task_that_was_never_met_stays_possible() -> None:
    dynamics = TaskDynamics()
    for _ in range(1_000):
        dynamics.add("only", trial((0, 0, 1.0), last=1))
    assert dynamics.most_likely(["only"], trial((7, 0, 1.0), last=1))[1] == pytest.approx(1.0 - LEAST_SHARE)
