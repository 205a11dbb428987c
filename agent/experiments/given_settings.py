"""A learner's settings as people change them: ``inner_lr=0.02``, ``network.hidden_sizes=[64,64]``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from agent.config.removed_settings import REMOVED_SETTINGS, IgnoredValue, split_removed
from agent.experiments.trainable import ExperimentCaseError
from agent.learners.config_json import ConfigValueError, config_from_json, config_to_json
from envs.foreign_text import parse_json

ConfigT = TypeVar("ConfigT")


def with_settings(config: ConfigT, given: Sequence[str], *, learner: str) -> ConfigT:
    """Return settings with the given ones changed. Removed settings have no effect (:func:`ignored_among`).

    Args:
        config: a learner's settings.
        given: texts such as ``inner_lr=0.02``; parts of a group of settings are named with dots, values are JSON.
        learner: the learner's name, for errors.

    Raises:
        ExperimentCaseError: a setting is unknown, or its value is not valid for it.
    """
    present = dict(_flat(config_to_json(config)))
    for text in given:
        name, separator, written = (part.strip() for part in text.partition("="))
        if not separator:
            _refuse(learner, text, "it has no NAME=VALUE.", "Write inner_lr=0.02.")
        if f"{learner}.{name}" in REMOVED_SETTINGS:
            continue
        if name not in present:
            _refuse(learner, name, "there is no such setting.", f"There are: {', '.join(present)}.")
        values = config_to_json(config)
        _put(values, name.split("."), _read(written))
        try:
            config = config_from_json(type(config), values)
        except ConfigValueError as error:
            found = f"{written!r} is not a valid value of {name}: {error.problem}."
            _refuse(learner, text, found, f"It is {json.dumps(present[name])} unless set.", cause=error)
    return config


def ignored_among(given: Sequence[str], *, learner: str) -> list[IgnoredValue]:
    """Return those of the given settings that were removed.

    Args:
        given: texts such as ``inner_lr=0.02``.
        learner: the learner's name.
    """
    parts = [text.partition("=") for text in given]
    values = {learner: {name.strip(): _read(written.strip()) for name, _, written in parts}}
    return split_removed(values, source=lambda _: "--set")[1]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting's dotted name and value."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _read(written: str) -> Any:
    try:
        return parse_json(written)
    except json.JSONDecodeError:
        return written


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        values = values[name]
    values[path[-1]] = value


def _refuse(learner: str, subject: str, found: str, hint: str, *, cause: Exception | None = None) -> NoReturn:
    raise ExperimentCaseError(operation=f"setting of {learner}", subject=subject, found=found, hint=hint) from cause
