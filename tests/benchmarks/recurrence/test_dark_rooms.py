"""The score of dark rooms plays held-out, training and met rooms."""

from __future__ import annotations

from dataclasses import replace

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from benchmarks.recurrence.dark_rooms import NUM_EPISODES, dark_room_cell, score
from envs.registry import open_tasks


def test_a_score_has_every_episode_and_each_kind_of_recall() -> None:
    cell = dark_room_cell(None, num_updates=1)
    short = replace(cell, spec=replace(cell.spec, kwargs={"size": 3}, max_episode_steps=4))
    learner = RL2Learner(RL2Config(hidden_size=8, input_size=8), device="cpu", seed=0)
    learner.add_family(cell.name, open_tasks(short.spec, None, num_trials=1, device="cpu").spaces)
    found = score(learner.policy, short, seed=0, split=None, env_steps=0, train_cpu_s=0.0, num_rows=3)
    for returns in (found.held_out, found.training, found.greedy):
        assert len(returns) == NUM_EPISODES
        assert all(0.0 <= value <= 4.0 for value in returns)
    assert all(0.0 <= value <= 4.0 for value in (found.met, found.deceived, found.doubted))
