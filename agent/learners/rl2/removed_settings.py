"""The settings of RL² that became constants, and the reader of settings that earlier releases stored.

This module does not import torch, so the daemon can check settings without loading it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.errors import AgentError
from agent.learners.config_json import config_from_json
from agent.learners.rl2.config import RL2Config

LAST_RELEASE = "0.1.0"
"""The last release that has these settings."""


class RemovedSettingError(AgentError):
    """An error: a policy learned with a value of a removed setting, and cannot act without it."""


@dataclass(frozen=True, kw_only=True)
class RemovedSetting:
    """A setting that became a constant.

    Attributes:
        constant: the value that is always used now.
        reason: why it is a constant.
        is_of_policy: whether a policy that learned with another value cannot act. If False, the setting affected
            training only, and training continues with the constant.
    """

    constant: Any
    reason: str
    is_of_policy: bool


def _never_varied(constant: Any, *, is_of_policy: bool) -> RemovedSetting:
    reason = f"it is always {constant} now; no measurement used another value"
    return RemovedSetting(constant=constant, reason=reason, is_of_policy=is_of_policy)


REMOVED = {
    "memory_reader": RemovedSetting(
        constant="kernel",
        reason='it is always "kernel" now; the other readers scored no better (docs/lab/memory-readers.md)',
        is_of_policy=True,
    ),
    "memory_bandwidth": _never_varied(0.5, is_of_policy=True),
    "memory_key_size": _never_varied(16, is_of_policy=True),
    "transition_prior": _never_varied(1.0, is_of_policy=True),
    "clip": _never_varied(0.2, is_of_policy=False),
    "final_learning_rate_scale": _never_varied(0.1, is_of_policy=False),
    "value_coefficient": _never_varied(0.5, is_of_policy=False),
    "adam_epsilon": _never_varied(1e-5, is_of_policy=False),
    "scale_rate": _never_varied(0.05, is_of_policy=False),
}
"""The removed settings by name."""


def without_constants(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored settings without those that are constants now, if they had the value of the constant.

    Args:
        values: settings as JSON values.
    """
    return {name: value for name, value in values.items() if name not in REMOVED or REMOVED[name].constant != value}


def stored_config(values: Mapping[str, Any]) -> RL2Config:
    """Return the settings of a policy that this or an earlier release stored.

    Args:
        values: settings as JSON values.

    Raises:
        ConfigValueError: a value does not fit its setting.
        RemovedSettingError: the policy learned with a removed setting, and cannot act without it.
    """
    check_stored(values)
    return config_from_json(RL2Config, values)


def check_stored(values: Mapping[str, Any]) -> None:
    """Check that a policy with these stored settings can act with the constants.

    Args:
        values: settings as JSON values.

    Raises:
        RemovedSettingError: the policy learned with a removed setting, and cannot act without it.
    """
    for name, value in without_constants(values).items():
        if name in REMOVED and REMOVED[name].is_of_policy:
            raise RemovedSettingError(
                operation="reading the settings of a policy",
                subject=f"rl2.{name}",
                found=f"the policy learned with rl2.{name} = {value!r}, but {REMOVED[name].reason}.",
                hint=f"Use it with learnd {LAST_RELEASE}, the last release that has this setting.",
            )
