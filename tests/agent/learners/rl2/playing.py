"""A small learner and its trials on scripted tasks."""

from __future__ import annotations

from typing import Any

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rollout import MIN_PACKED_ROWS, collect_trials
from agent.learners.rl2.trials import TrialBatch
from envs.family import Split
from envs.spaces import SpacePair
from tests.agent.learners.rl2.scripted_tasks import ScriptedTasks

LENGTHS = [[3, -2, 4], [1, 1, 1], [-5, 6, -3], [2, 2, -1]]
NUM_PACKED_TRIALS = 3 * MIN_PACKED_ROWS
PACKED_LENGTHS = [
    [1 + trial % 7, (-1) ** trial * (1 + trial // 4), 2 + (trial * 5) % 11] for trial in range(NUM_PACKED_TRIALS)
]
"""Trials of 4 to 29 steps in an order that is not that of their length; every second one has an episode cut off."""


def learner_for(spaces: SpacePair, **settings: object) -> RL2Learner:
    learner = RL2Learner(RL2Config(**{"hidden_size": 16, "input_size": 12, **settings}), device="cpu", seed=3)
    learner.add_family("scripted", spaces)
    return learner


def play(
    learner: RL2Learner,
    spaces: SpacePair,
    lengths: list[list[int]] = LENGTHS,
    *,
    first_task: int = 0,
    split: Split = Split.TRAINING,
    **asked: Any,
) -> TrialBatch:
    return collect_trials(
        learner.policy,
        ScriptedTasks(spaces, lengths),
        first_task=first_task,
        split=split,
        generator=learner.generator,
        **asked,
    )


def play_scripted(learner: RL2Learner, spaces: SpacePair) -> TrialBatch:
    learner.generator.manual_seed(5)
    return collect_trials(
        learner.policy,
        ScriptedTasks(spaces, PACKED_LENGTHS),
        first_task=0,
        split=Split.TRAINING,
        generator=learner.generator,
    )
