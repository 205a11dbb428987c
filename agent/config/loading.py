"""The reader of the settings: it merges all sources and reports every invalid value with its source.

Sources, highest precedence first:

1. options of the command line
2. environment variables ``LEARND_*``, with two underscores after the section: ``LEARND_LEARNER__DEVICE``
3. the TOML file
4. the defaults in :mod:`agent.config.settings`
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from agent.config.paths import settings_file
from agent.config.removed_settings import IgnoredValue, split_removed
from agent.config.section import Section
from agent.config.settings import PREFIX, Settings
from agent.errors import SettingsError, SettingsProblem
from agent.learners.rl2.config import RL2Config


def load_settings(config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Load, merge and validate the settings from all sources.

    Args:
        config: the TOML file; None searches LEARND_CONFIG, $CONFIGURATION_DIRECTORY/learnd.toml and
            $XDG_CONFIG_HOME/learnd/learnd.toml.
        overrides: nested values from the command line, such as ``{"service": {"listen": "127.0.0.1:0"}}``.

    Raises:
        SettingsError: the file cannot be read, or values are invalid. The error lists every problem.
    """
    file = settings_file(config)
    layers = {
        "option": _without_none(overrides or {}),
        "variable": EnvSettingsSource(Settings, env_ignore_empty=True)(),
        str(file): _read_file(file) if file else {},
    }
    merged: dict[str, Any] = {}
    ignored: list[IgnoredValue] = []
    for layer, values in reversed(layers.items()):
        kept, of_layer = split_removed(values, source=partial(_source, layer))
        merged = _merged(merged, kept)
        ignored += of_layer
    subject = str(file) if file else "environment and options"
    problems = list(_unknown_variables())
    rl2: dict[str, Any] = {}
    try:
        rl2 = _checked_rl2(merged["rl2"] if isinstance(merged.get("rl2"), dict) else {})
    except SettingsError as error:
        problems += error.problems
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        problems += [_problem(details, layers) for details in error.errors()]
    if problems:
        raise SettingsError(subject=subject, problems=problems)
    settings = settings.model_copy(update={"rl2": rl2})
    settings._file, settings._ignored = file, tuple(ignored)  # noqa: SLF001 -- set once here, read as properties
    return settings


def _read_file(file: Path) -> dict[str, Any]:
    try:
        if not file.is_file():
            raise FileNotFoundError(2, "there is no such file")
        return TomlConfigSettingsSource(Settings, toml_file=file)()
    except OSError as error:
        problem = SettingsProblem(
            key=str(file), value=error.strerror or str(error), allowed="a file that can be read", source=""
        )
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = SettingsProblem(key=str(file), value=str(error), allowed="a TOML file", source="")
    raise SettingsError(subject=str(file), problems=[problem])


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` without options that were not given (None), also in nested sections."""
    kept = {key: _without_none(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    return {key: value for key, value in kept.items() if value is not None and value != {}}


def _merged(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        inner = result.get(key)
        result[key] = _merged(inner, value) if isinstance(value, Mapping) and isinstance(inner, dict) else value
    return result


def _unknown_variables() -> Iterator[SettingsProblem]:
    """Yield a problem for each variable ``LEARND_SECTION__KEY`` whose section does not exist.

    Variables without two underscores are ignored, because they may belong to another program.
    """
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and "__" in name:
            section = name.removeprefix(PREFIX).split("__")[0].lower()
            if section not in Settings.model_fields:
                allowed = "one of the sections " + ", ".join(Settings.model_fields)
                yield SettingsProblem(key=section, value=os.environ[name], allowed=allowed, source=f"variable {name}")


def _problem(details: ErrorDetails, layers: Mapping[str, Mapping[str, Any]]) -> SettingsProblem:
    names = [str(part) for part in details["loc"]]
    key = ".".join(names)
    layer = next((name for name, values in layers.items() if _holds(values, names)), "")
    source = _source(layer, names)
    return SettingsProblem(key=key, value=repr(details["input"]), allowed=_allowed(details), source=source)


def _source(layer: str, names: Sequence[str]) -> str:
    """Return the source of a value in its written form. A variable is named."""
    return f"variable {PREFIX}{'__'.join(names[:2]).upper()}" if layer == "variable" else layer


def _holds(values: Mapping[str, Any], names: list[str]) -> bool:
    inner: Any = values
    for name in names[:2]:
        if not isinstance(inner, Mapping) or name not in inner:
            return False
        inner = inner[name]
    return True


def _allowed(details: ErrorDetails) -> str:
    """Return a description of the values that are allowed instead of the invalid one."""
    if details["type"] == "extra_forbidden":
        section = Settings.model_fields.get(str(details["loc"][0]))
        model = section.annotation if section else None
        if len(details["loc"]) > 1 and isinstance(model, type) and issubclass(model, Section):
            return f"one of the keys {', '.join(model.model_fields)}"
        return f"one of the keys {', '.join(Settings.model_fields)}"
    text = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if text.startswith("a valid boolean"):
        return "true or false"
    if text.startswith(("a valid dictionary", "a valid dict")):
        return "a section with keys of its own"
    return text.split(", unable to parse")[0]


def _checked_rl2(overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the values for RL² with the types of ``RL2Config``.

    Raises:
        SettingsError: a name or a value is invalid.
    """
    if not overrides:
        return {}
    names = [field.name for field in dataclasses.fields(RL2Config)]
    problems = [
        SettingsProblem(key=f"rl2.{name}", value=repr(value), allowed=f"one of the keys {', '.join(names)}", source="")
        for name, value in overrides.items()
        if name not in names
    ]
    if not problems:
        try:
            valid = TypeAdapter(RL2Config).validate_python(overrides)
            return {name: getattr(valid, name) for name in overrides}
        except ValidationError as error:
            for details in error.errors():
                key = ".".join(["rl2", *map(str, details["loc"])])
                value = repr(details["input"])
                problems.append(SettingsProblem(key=key, value=value, allowed=_allowed(details), source=""))
    raise SettingsError(subject="rl2", problems=problems)
