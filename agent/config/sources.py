"""The sources of settings: which one holds a value, and in which line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_settings import EnvSettingsSource

from agent.config.paths import SYSTEM_UNIT
from agent.config.settings import PREFIX, Settings
from agent.config.system_service import SystemService
from agent.config.toml_text import TomlFile, TomlTextError, parse_toml, read_toml
from agent.errors import SettingsError, SettingsProblem

OPTION, VARIABLE = "option", "variable"
SERVICE_VARIABLE, SERVICE_DEFAULT = f"variable of {SYSTEM_UNIT}", f"default of {SYSTEM_UNIT}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of a value.

    Attributes:
        source: an option, a named variable or the settings file; empty for a default.
        line: the line in the settings file; None elsewhere.
    """

    source: str = ""
    line: int | None = None


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The values of every source.

    Attributes:
        layers: values by source, highest precedence first.
        lines: the lines of the settings file, by the parts of a key.
    """

    layers: Mapping[str, Mapping[str, Any]]
    lines: Mapping[tuple[str, ...], int]

    def place_of(self, names: Sequence[str]) -> Place:
        """Return the place of the value in force of a setting, given the parts of its name."""
        layer = next((name for name, values in self.layers.items() if _holds(values, names[:2])), None)
        return Place() if layer is None else self.place_in(layer, names)

    def place_in(self, layer: str, names: Sequence[str]) -> Place:
        """Return the place of a value in one source."""
        if layer in {VARIABLE, SERVICE_VARIABLE}:
            unit = f" of {SYSTEM_UNIT}" if layer == SERVICE_VARIABLE else ""
            return Place(source=f"variable {PREFIX}{'__'.join(names[:2]).upper()}{unit}")
        if layer in {OPTION, SERVICE_DEFAULT}:
            return Place(source=layer)
        prefixes = (tuple(names[:length]) for length in range(len(names), 0, -1))
        return Place(source=layer, line=next((self.lines[key] for key in prefixes if key in self.lines), None))


def read_sources(
    file: Path | None, options: Mapping[str, Any], *, service: SystemService | None = None, text: str | None = None
) -> Sources:
    """Return the values of options, variables and the settings file.

    Args:
        file: the settings file; None if there is none.
        options: values from the command line.
        service: the system service whose settings are read; None for those of this process.
        text: the content that the settings file is to get; None for the content that it has.

    Raises:
        SettingsError: the file cannot be read, or is not TOML.
    """
    layers: dict[str, Mapping[str, Any]] = {OPTION: _without_none(options), VARIABLE: _variables(os.environ)}
    if service is not None:
        layers[SERVICE_VARIABLE] = _variables(service.variables)
    content = TomlFile(values={}, lines={}) if file is None else _read_file(file, text)
    layers[str(file)] = content.values
    if service is not None:
        layers[SERVICE_DEFAULT] = {"data_dir": service.data_dir}
    return Sources(layers=layers, lines=content.lines)


def _variables(environment: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the values of variables by section and key."""
    source = EnvSettingsSource(Settings, env_ignore_empty=True)
    source.env_vars = {name.lower(): value for name, value in environment.items() if value}
    return source()


def _read_file(file: Path, text: str | None) -> TomlFile:
    try:
        if text is not None:
            return parse_toml(text)
        if not file.exists():
            raise FileNotFoundError(2, "there is no such file")
        return read_toml(file)
    except OSError as error:
        found = f"{error.strerror or error}{_reader_of(error)}"
        raise _file_error(file, found, allowed="a file that can be read") from error
    except TomlTextError as error:
        raise _file_error(file, error.found, allowed="a TOML file", line=error.line) from error


def _reader_of(error: OSError) -> str:
    """Return who may not read the file; empty for other errors."""
    return f" for user {os.geteuid()}" if isinstance(error, PermissionError) else ""


def _file_error(file: Path, found: str, *, allowed: str, line: int | None = None) -> SettingsError:
    problem = SettingsProblem(key=str(file), value=found, allowed=allowed, source="", line=line)
    return SettingsError(subject=str(file), problems=[problem])


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` without options that were not given (None), also in nested sections."""
    kept = {key: _without_none(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    return {key: value for key, value in kept.items() if value is not None and value != {}}


def _holds(values: Mapping[str, Any], names: Sequence[str]) -> bool:
    inner: Any = values
    for name in names:
        if not isinstance(inner, Mapping) or name not in inner:
            return False
        inner = inner[name]
    return True
