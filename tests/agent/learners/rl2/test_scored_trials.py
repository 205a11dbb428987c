"""Trials that are scored without a record have the returns of recorded ones."""

from __future__ import annotations

import pytest
import torch

from agent.learners.rl2.scored_trials import ScoredTrials, score_trials
from agent.learners.rl2.segment import MOST_WHOLE_STEPS
from envs.family import Split
from tests.agent.learners.rl2.playing import learner_for
from tests.agent.learners.rl2.row_tasks import RowTasks
from tests.agent.learners.rl2.scripted_tasks import VECTOR

LENGTHS = [3, -8, 40, 2, 25, -1, 60]


def scored(limit: int, *, num_played: int | None = None, episodes_per_trial: int = 2) -> tuple[ScoredTrials, list[int]]:
    learner, steps = learner_for(VECTOR), []
    tasks = RowTasks(VECTOR, LENGTHS, num_trials=40, limit=limit, episodes_per_trial=episodes_per_trial)
    generator = torch.Generator().manual_seed(4)
    found = score_trials(
        learner.policy,
        tasks,
        first_task=0,
        split=Split.HELD_OUT,
        generator=generator,
        num_played=num_played,
        progress=steps.append,
    )
    return found, steps


@pytest.mark.parametrize("num_played", [None, 3, 20])
def test_returns_of_unrecorded_trials_are_those_of_recorded_ones(num_played: int | None) -> None:
    recorded, recorded_steps = scored(60, num_played=num_played)
    unrecorded, unrecorded_steps = scored(MOST_WHOLE_STEPS, num_played=num_played)
    torch.testing.assert_close(unrecorded.trials, recorded.trials)
    torch.testing.assert_close(unrecorded.episodes, recorded.episodes)
    assert recorded_steps[-1] == unrecorded_steps[-1]
    assert len(recorded_steps) == len(unrecorded_steps)
