"""Learners that adapt a policy by gradient, trained and scored without a daemon."""

from __future__ import annotations

from agent.experiments.policy_gradient import TASKS_AT_ONCE, PolicyCase
from envs.limits import WorkerLimits
from tests.agent.experiments.test_rl2 import BANDITS

SMALL = ("policy.hidden_sizes=[4]", "round.num_episodes=2")


def test_as_many_tasks_are_scored_as_were_asked_for() -> None:
    trainee = PolicyCase("maml", spec=BANDITS, limits=WorkerLimits(), given=SMALL).begin(1)
    told: list[int] = []
    scores = trainee.score(TASKS_AT_ONCE + 3, progress=told.append)
    trainee.close()
    assert scores.unadapted is not None
    assert len(scores.adapted) == len(scores.unadapted) == TASKS_AT_ONCE + 3
    assert told == [TASKS_AT_ONCE, TASKS_AT_ONCE + 3]
