"""A learner's settings as people change them: ``inner_lr=0.02``, ``network.hidden_sizes=[64,64]``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, NoReturn

from agent.experiments.trainable import ExperimentCaseError


class _Setting(NamedTuple):
    """A setting as it stands: its JSON value, whether it may be null, and whether its numbers are floats."""

    value: Any
    may_be_null: bool
    has_floats: bool


def with_settings(config: Any, given: Sequence[str], *, learner: str) -> Any:
    """Settings with what a person gave laid over them.

    Args:
        config: a learner's settings, which tell and read themselves as JSON.
        given: texts such as ``inner_lr=0.02``; parts of a group of settings are named with dots, values are JSON.
        learner: whose settings they are, for errors.

    Raises:
        ExperimentCaseError: a setting is unknown, or its value is none that it can have.
    """
    if not given:
        return config
    values = json.loads(json.dumps(config.to_json()))
    known = dict(_settings(config, values))
    for text in given:
        name, separator, written = (part.strip() for part in text.partition("="))
        if not separator:
            _refuse(learner, text, "it has no NAME=VALUE.", "Write inner_lr=0.02.")
        if name not in known:
            _refuse(learner, name, "there is no such setting.", f"There are: {', '.join(known)}.")
        value = _read(written)
        if not _is_of_its_kind(value, known[name]):
            hint = f"It is {json.dumps(known[name].value)} unless set; write a value of that kind."
            _refuse(learner, text, f"{written!r} is none that {name} can have.", hint)
        _put(values, name.split("."), _as_kind(value, known[name]))
    try:
        return type(config).from_json(values)
    except (TypeError, ValueError) as error:
        raise ExperimentCaseError(
            operation=f"setting of {learner}", subject=", ".join(given), found=f"{error}.", hint="Choose another value."
        ) from error


def _settings(config: Any, values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, _Setting]]:
    for field in fields(config):
        present, name = getattr(config, field.name), f"{prefix}{field.name}"
        if is_dataclass(present):
            yield from _settings(present, values[field.name], f"{name}.")
        else:
            kind = str(field.type)
            yield name, _Setting(values[field.name], may_be_null="None" in kind, has_floats="float" in kind)


def _read(written: str) -> Any:
    try:
        return json.loads(written)
    except json.JSONDecodeError:
        return written


def _is_of_its_kind(value: Any, setting: _Setting) -> bool:
    present = setting.value
    is_number = _is_number if setting.has_floats else _is_whole
    if value is None or present is None:
        return setting.may_be_null and (value is None or is_number(value))
    if isinstance(present, bool) or isinstance(value, bool):
        return isinstance(present, bool) and isinstance(value, bool)
    if isinstance(present, list):
        return isinstance(value, list) and all(map(is_number, value))
    if _is_number(present):
        return is_number(value)
    return isinstance(value, type(present))


def _as_kind(value: Any, setting: _Setting) -> Any:
    """The value as the setting keeps it: learners tell a number for all parameters by its being a float."""
    if not setting.has_floats:
        return value
    if isinstance(value, list):
        return [float(part) for part in value]
    return float(value) if _is_number(value) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        values = values[name]
    values[path[-1]] = value


def _refuse(learner: str, subject: str, found: str, hint: str) -> NoReturn:
    raise ExperimentCaseError(operation=f"setting of {learner}", subject=subject, found=found, hint=hint)
