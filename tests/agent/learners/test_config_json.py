"""Settings as JSON: stored files stay readable, and wrong values are refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.experiments.given_settings import with_settings
from agent.experiments.trainable import ExperimentCaseError
from agent.learners.config_json import ConfigValueError, config_from_json, config_to_json
from agent.learners.embedding.prototypical import Distance, PrototypicalConfig
from agent.learners.gradient.maml import MAMLConfig
from agent.learners.gradient.meta_sgd import MetaSGDConfig
from agent.learners.gradient.networks import NetworkConfig
from agent.learners.gradient.reptile import InnerOptimizer, ReptileConfig
from agent.learners.policy_gradient.maml import MAMLPolicyConfig
from agent.learners.registry import LEARNERS
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.removed_settings import REMOVED as REMOVED_RL2

STORED: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("stored_configs.json").read_text())
"""Settings as checkpoints and version files held them in November 2026, one example of each learner."""

REMOVED = {"versa": {"num_predictive_samples"}, "rl2": set(REMOVED_RL2)}
"""Settings that are no longer there, by learner."""

ADDED: dict[str, dict[str, Any]] = {"rl2": {"segment_steps": 128}}
"""Settings that stored files lack, with their defaults, by learner."""


def test_there_is_a_stored_example_of_every_learner() -> None:
    assert set(STORED) == set(LEARNERS)


@pytest.mark.parametrize("name", list(STORED))
def test_stored_settings_are_read_and_written_as_they_were(name: str) -> None:
    config = config_from_json(LEARNERS[name].load_config(), STORED[name])
    assert config_to_json(config) == ADDED.get(name, {}) | {
        key: value for key, value in STORED[name].items() if key not in REMOVED.get(name, set())
    }
    assert config != LEARNERS[name].load_config()()


def test_nested_settings_tuples_and_enums_are_read_as_their_types() -> None:
    reptile = config_from_json(ReptileConfig, STORED["reptile"])
    assert reptile.inner_optimizer is InnerOptimizer.SGD
    assert reptile.network == NetworkConfig(
        hidden_sizes=(16, 16), channels=(32, 32), is_strided=True, has_zero_head=True
    )
    assert config_from_json(MetaSGDConfig, STORED["meta-sgd"]).initial_rates == (0.1, 0.3)
    assert config_from_json(PrototypicalConfig, STORED["prototypical"]).distance is Distance.TOLERANT
    assert config_from_json(MAMLPolicyConfig, STORED["maml-policy"]).policy.hidden_sizes == (8,)


def test_missing_settings_take_their_defaults_and_removed_ones_are_ignored() -> None:
    assert config_from_json(MAMLConfig, {"inner_lr": 0.5, "removed_setting": 3}) == MAMLConfig(inner_lr=0.5)


@pytest.mark.parametrize(
    ("kind", "values", "setting"),
    [
        (MAMLConfig, {"inner_lr": "0.1"}, "inner_lr"),
        (MAMLConfig, {"inner_lr": None}, "inner_lr"),
        (MAMLConfig, {"num_inner_steps": 1.5}, "num_inner_steps"),
        (MAMLConfig, {"num_inner_steps": True}, "num_inner_steps"),
        (MAMLConfig, {"is_first_order": 1}, "is_first_order"),
        (MAMLConfig, {"network": {"hidden_sizes": [9.5]}}, "network.hidden_sizes"),
        (MAMLConfig, {"network": 3}, "network"),
        (MetaSGDConfig, {"initial_rates": [0.1]}, "initial_rates"),
        (ReptileConfig, {"inner_optimizer": "momentum"}, "inner_optimizer"),
        (RL2Config, {"hidden_size": 0}, ""),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_the_name_of_its_setting(
    kind: type[Any], values: dict[str, Any], setting: str
) -> None:
    with pytest.raises(ConfigValueError) as refused:
        config_from_json(kind, values)
    assert refused.value.setting.startswith(setting)
    assert bool(refused.value.setting) == bool(setting)


def test_given_settings_are_laid_over_the_others() -> None:
    given = ("inner_lr=1", "network.hidden_sizes=[8]", "num_adapt_steps=3", "num_adapt_steps=null")
    config = with_settings(MAMLConfig(num_inner_steps=2), given, learner="maml")
    network = replace(NetworkConfig(), hidden_sizes=(8,))
    assert config == MAMLConfig(inner_lr=1.0, num_inner_steps=2, network=network)
    assert isinstance(config.inner_lr, float)
    assert with_settings(ReptileConfig(), ("inner_optimizer=sgd",), learner="reptile").inner_optimizer == "sgd"


@pytest.mark.parametrize(
    ("text", "found", "hint"),
    [
        ("inner_lr", "it has no NAME=VALUE", "Write inner_lr=0.02"),
        ("inner_rate=1", "no such setting", "inner_lr, num_inner_steps"),
        ("network=3", "no such setting", "network.hidden_sizes"),
        (
            "inner_lr=fast",
            "'fast' is not a valid value of inner_lr: it should be a valid number",
            "It is 0.01 unless set",
        ),
        ("inner_lr=null", "not a valid value of inner_lr", "0.01"),
        ("is_first_order=1", "not a valid value of is_first_order: it should be a valid boolean", "false"),
    ],
)
def test_a_given_setting_that_cannot_be_is_refused_with_what_it_may_be(text: str, found: str, hint: str) -> None:
    with pytest.raises(ExperimentCaseError) as refused:
        with_settings(MAMLConfig(), (text,), learner="maml")
    assert refused.value.operation == "setting of maml"
    assert found in refused.value.found
    assert hint in (refused.value.hint or "")


def test_a_given_value_outside_its_range_is_refused_with_the_reason() -> None:
    with pytest.raises(ExperimentCaseError, match="hidden_size must be more than 0"):
        with_settings(RL2Config(), ("hidden_size=0",), learner="rl2")
