"""Learners' settings as JSON values, with errors that name the setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from agent.output.typed_json import dataclass_from_json, dataclass_to_json

ConfigT = TypeVar("ConfigT")


class ConfigValueError(ValueError):
    """An error: a setting has a value that it cannot have.

    Attributes:
        setting: the setting's name, with dots below a group of settings; empty if the problem is several settings'.
        problem: what is wrong with the value.
    """

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}" if setting else problem)
        self.setting = setting
        self.problem = problem


def config_to_json(config: Any) -> dict[str, Any]:
    """Return a dataclass of settings as JSON values: enums become their values, tuples lists."""
    return dataclass_to_json(config)


def config_from_json(kind: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Return the settings that :func:`config_to_json` wrote.

    Missing settings take their defaults, and unknown ones are ignored.

    Args:
        kind: the class of the settings.
        values: JSON values.

    Raises:
        ConfigValueError: a value does not fit its setting.
    """
    try:
        return dataclass_from_json(kind, values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        setting = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
        problem = first["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
        raise ConfigValueError(setting, problem) from error
