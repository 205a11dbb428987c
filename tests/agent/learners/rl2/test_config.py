from __future__ import annotations

import subprocess
import sys

import pytest

from agent.learners.config_json import config_from_json, config_to_json
from agent.learners.rl2.config import RL2Config


def test_settings_survive_json() -> None:
    config = RL2Config(hidden_size=9, look_ahead_discounts=(0.1, 0.2))
    assert config_from_json(RL2Config, config_to_json(config)) == config


def test_the_settings_load_without_torch() -> None:
    code = "import sys, agent.learners.rl2.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("trial_steps", "expected"), [(1.0, 0.5), (10.0, 0.9), (20.0, 0.95), (1000.0, 0.95)])
def test_lambda_follows_the_trials_length(trial_steps: float, expected: float) -> None:
    assert RL2Config().gae_lambda_for(trial_steps) == pytest.approx(expected)


def test_trials_grow_from_thirty_steps_to_all_and_never_past() -> None:
    config = RL2Config(anneal_updates=100, curriculum_start=0.6)
    lengths = [config.episodes_at(update, 500, episode_steps=10.0) for update in range(120)]
    assert lengths[0] == lengths[60] == 10
    assert lengths == sorted(lengths)
    assert lengths[100] == lengths[-1] == 500
    assert config.episodes_at(0, 500, episode_steps=1.0) == 30
    late = RL2Config(anneal_updates=100)
    assert [late.episodes_at(update, 500, episode_steps=10.0) for update in (0, 100, 101)] == [10, 10, 500]
    at_once = RL2Config(anneal_updates=100, curriculum_start=0.0)
    assert at_once.episodes_at(0, 500, episode_steps=10.0) < at_once.episodes_at(10, 500, episode_steps=10.0)
    assert config.episodes_at(0, 3, episode_steps=200.0) == config.episodes_at(99, 3, episode_steps=200.0) == 3


def test_the_learning_rate_falls_to_its_floor_and_stays_there() -> None:
    config = RL2Config(anneal_updates=10, learning_rate=1.0)
    assert config.learning_rate_at(0) == 1.0
    assert config.learning_rate_at(10) == config.learning_rate_at(1000) == pytest.approx(0.1)
