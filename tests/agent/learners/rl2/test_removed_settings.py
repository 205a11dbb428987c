from __future__ import annotations

from dataclasses import fields

import pytest

from agent.learners.config_json import config_to_json
from agent.learners.rl2 import config, learner, optimizer
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.in_trial_memory import keys, similarity, table
from agent.learners.rl2.removed_settings import (
    REMOVED,
    RemovedSettingError,
    check_stored,
    stored_config,
    without_constants,
)

USED = {
    "memory_reader": "kernel",
    "memory_bandwidth": similarity.BANDWIDTH,
    "memory_key_size": keys.KEY_SIZE,
    "transition_prior": table.TRANSITION_PRIOR,
    "clip": learner.CLIP,
    "final_learning_rate_scale": config.FINAL_LEARNING_RATE_SCALE,
    "value_coefficient": learner.VALUE_COEFFICIENT,
    "adam_epsilon": optimizer.ADAM_EPSILON,
    "scale_rate": learner.SCALE_RATE,
}
"""The constants by the names of the settings that they replace, where they are used."""


def test_a_removed_setting_is_the_constant_that_is_used() -> None:
    assert {name: setting.constant for name, setting in REMOVED.items()} == USED
    assert not REMOVED.keys() & {field.name for field in fields(RL2Config)}


def test_settings_stored_with_the_constants_are_those_without_them() -> None:
    settings = RL2Config(hidden_size=9)
    stored = config_to_json(settings) | {name: setting.constant for name, setting in REMOVED.items()}
    assert stored_config(stored) == settings
    assert without_constants(stored) == config_to_json(settings)


@pytest.mark.parametrize(("name", "value"), [("memory_reader", "matching"), ("memory_key_size", 8)])
def test_a_policy_that_learned_otherwise_is_refused_with_the_release_that_has_the_setting(
    name: str, value: object
) -> None:
    with pytest.raises(RemovedSettingError) as refused:
        stored_config({name: value})
    assert f"rl2.{name} = {value!r}" in refused.value.found
    assert "learnd 0.1.0" in refused.value.hint


def test_a_setting_of_training_alone_is_no_reason_to_refuse_a_policy() -> None:
    of_training = {name: 0.7 for name, setting in REMOVED.items() if not setting.is_of_policy}
    check_stored(of_training)
    assert stored_config(of_training) == RL2Config()
