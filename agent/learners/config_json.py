"""Learners' settings as JSON values: one writer and one reader for every settings class, by the types of its fields."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

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
    values: dict[str, Any] = to_jsonable_python(config)
    return values


def config_from_json(kind: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Return the settings that :func:`config_to_json` wrote.

    Missing settings take their defaults, and unknown ones are ignored: files outlive changes of the settings. Values
    of another type are refused, except that a whole number may stand for a float.

    Args:
        kind: the class of the settings.
        values: JSON values.

    Raises:
        ConfigValueError: a value does not fit its setting.
    """
    try:
        # Only JSON text is checked strictly and still read into tuples, enums and nested dataclasses.
        config: ConfigT = _adapter(cast("Hashable", kind)).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        setting = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
        problem = first["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
        raise ConfigValueError(setting, problem) from error
    return config


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
