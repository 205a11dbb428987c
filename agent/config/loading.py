"""The reader of the settings: it merges all sources and reports every invalid value with its source.

Sources, highest precedence first:

1. options of the command line
2. environment variables ``LEARND_*``, with two underscores after the section: ``LEARND_LEARNER__DEVICE``
3. the TOML file
4. the defaults in :mod:`agent.config.settings`
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.config.conflicts import conflicts
from agent.config.paths import settings_file
from agent.config.problems import checked_rl2, problem_of, problem_of_conflict, unknown_variables
from agent.config.removed_settings import IgnoredValue, split_removed
from agent.config.settings import Settings
from agent.config.sources import Sources, read_sources
from agent.config.system_service import SystemService
from agent.errors import SettingsError


def load_settings(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    service: SystemService | None = None,
    text: str | None = None,
) -> Settings:
    """Load, merge and validate the settings from all sources.

    Args:
        config: the TOML file; None searches LEARND_CONFIG, $CONFIGURATION_DIRECTORY/learnd.toml and
            $XDG_CONFIG_HOME/learnd/learnd.toml.
        overrides: nested values from the command line, such as ``{"service": {"listen": "127.0.0.1:0"}}``.
        service: the system service whose settings are read, as it would have them; None for those of this process.
        text: the content that the settings file is to get; None for the content that it has.

    Raises:
        SettingsError: the file cannot be read, or values are invalid. The error lists every problem.
    """
    file = settings_file(config) if service is None else service.settings_file
    file = config if text is not None else file
    sources = read_sources(file, overrides or {}, service=service, text=text)
    merged, ignored = _merged_layers(sources)
    problems = list(unknown_variables({**(service.variables if service else {}), **os.environ}))
    rl2, rl2_problems = checked_rl2(merged["rl2"] if isinstance(merged.get("rl2"), dict) else {}, sources)
    problems += rl2_problems
    try:
        settings = Settings(**merged)
        problems += [problem_of_conflict(sides, sources) for sides in conflicts(settings)]
    except ValidationError as error:
        problems += [problem_of(details, sources) for details in error.errors()]
    if problems:
        raise SettingsError(subject=str(file) if file else "environment and options", problems=problems)
    settings = settings.model_copy(update={"rl2": rl2})
    settings._file, settings._ignored = file, tuple(ignored)  # noqa: SLF001 -- set once here, read as properties
    return settings


def _merged_layers(sources: Sources) -> tuple[dict[str, Any], list[IgnoredValue]]:
    """Return the values in force, and those of removed settings, which have no effect."""
    merged: dict[str, Any] = {}
    ignored: list[IgnoredValue] = []
    for layer, values in reversed(list(sources.layers.items())):

        def source(names: list[str], layer: str = layer) -> str:
            return sources.place_in(layer, names).source

        kept, of_layer = split_removed(values, source=source)
        merged = _merged(merged, kept)
        ignored += of_layer
    return merged, ignored


def _merged(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        inner = result.get(key)
        result[key] = _merged(inner, value) if isinstance(value, Mapping) and isinstance(inner, dict) else value
    return result
