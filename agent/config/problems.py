"""The problems of settings for users: the place of each, what is allowed, and the most similar name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from agent.config.conflicts import Conflict
from agent.config.paths import CONFIG_VARIABLE, DATA_DIR_VARIABLE, OMNIGLOT_VARIABLE
from agent.config.section import Section
from agent.config.settings import PREFIX, Settings, setting_fields
from agent.config.sources import Sources
from agent.errors import SettingsProblem
from agent.learners.rl2.config import RL2Config

PLAIN_VARIABLES = (CONFIG_VARIABLE, DATA_DIR_VARIABLE, OMNIGLOT_VARIABLE)
"""The variables that name no key of a section."""


def problem_of(details: ErrorDetails, sources: Sources) -> SettingsProblem:
    """Return the problem that an error of pydantic describes."""
    names = [str(part) for part in details["loc"]]
    place = sources.place_of(names)
    if details["type"] == "extra_forbidden":
        allowed, hint = _known_keys(names), _similar_key(names)
    else:
        allowed = _allowed_values(details)
        hint = _similar_value(details["input"], allowed)
    return SettingsProblem(
        key=".".join(names),
        value=repr(details["input"]),
        allowed=allowed,
        source=place.source,
        line=place.line,
        hint=hint,
    )


def problem_of_conflict(sides: tuple[Conflict, ...], sources: Sources) -> SettingsProblem:
    """Return the problem of a conflict, as seen from the first setting that a source holds."""
    places = [(side, sources.place_of(side.key.split("."))) for side in sides]
    side, place = next(((side, place) for side, place in places if place.source), places[0])
    return SettingsProblem(key=side.key, value=side.value, allowed=side.allowed, source=place.source, line=place.line)


def unknown_variables(environment: Mapping[str, str]) -> Iterator[SettingsProblem]:
    """Yield a problem for each variable ``LEARND_*`` that learnd does not read.

    Keys of a section are checked with the settings: they are not yielded here.
    """
    settings = {key.upper(): PREFIX + key.replace(".", "__").upper() for key, _ in setting_fields()}
    known = {key.rpartition(".")[2]: name for key, name in settings.items()}
    known |= {name.removeprefix(PREFIX): name for name in (*PLAIN_VARIABLES, *settings.values())}
    sections = [PREFIX + section.upper() for section in Settings.model_fields]
    for name in sorted(environment):
        upper = name.upper()
        if not upper.startswith(PREFIX) or not environment[name]:
            continue
        if upper.split("__")[0] not in sections and upper not in known.values():
            near = get_close_matches(upper.removeprefix(PREFIX), known, n=1)
            yield SettingsProblem(
                key=upper.removeprefix(PREFIX).split("__")[0].lower() if "__" in upper else name,
                value=repr(environment[name]),
                allowed=f"one of the sections {', '.join(Settings.model_fields)} after {PREFIX}, two underscores and a"
                f" key; or {', '.join(PLAIN_VARIABLES)}",
                source=f"variable {name}",
                hint=_did_you_mean(known[name] for name in near),
            )


def checked_rl2(overrides: Mapping[str, Any], sources: Sources) -> tuple[dict[str, Any], list[SettingsProblem]]:
    """Return the valid values for RL² with the types of ``RL2Config``, and a problem for each of the others."""
    names = [field.name for field in dataclasses.fields(RL2Config)]
    valid: dict[str, Any] = {}
    problems = []
    for name, value in overrides.items():
        key, place = f"rl2.{name}", sources.place_of(["rl2", name])
        if name not in names:
            hint = _did_you_mean([f"rl2.{near}" for near in get_close_matches(name, names, n=1)])
            allowed = f"one of the keys {', '.join(names)}"
        else:
            try:
                valid[name] = getattr(TypeAdapter(RL2Config).validate_python({name: value}), name)
                continue
            except ValidationError as error:
                allowed, hint = _allowed_values(error.errors()[0]), ""
        problems.append(
            SettingsProblem(
                key=key, value=repr(value), allowed=allowed, source=place.source, line=place.line, hint=hint
            )
        )
    return valid, problems


def _known_keys(names: list[str]) -> str:
    section = Settings.model_fields.get(names[0])
    model = section.annotation if section else None
    if len(names) > 1 and isinstance(model, type) and issubclass(model, Section):
        return f"one of the keys {', '.join(model.model_fields)}"
    return f"one of the keys {', '.join(Settings.model_fields)}"


def _similar_key(names: list[str]) -> str:
    """Return the question for the most similar key: the same name elsewhere, or one of the section, or of all."""
    keys = [key for key, _ in setting_fields()]
    if elsewhere := [key for key in keys if key.rpartition(".")[2] == names[-1]]:
        return _did_you_mean(elsewhere)
    if len(names) == 1:
        near = get_close_matches(names[0], Settings.model_fields, n=1)
    else:
        section = [key for key in keys if key.startswith(f"{names[0]}.")]
        own = {key.rpartition(".")[2]: key for key in section}
        near = [own[name] for name in get_close_matches(names[1], own, n=1)]
    return _did_you_mean(near or get_close_matches(".".join(names), keys, n=1, cutoff=0.75))


def _similar_value(value: object, allowed: str) -> str:
    """Return the question for the most similar of the values that ``allowed`` lists in quotes or after "one of"."""
    if not isinstance(value, str):
        return ""
    choices = re.findall(r"'([\w-]+)'", allowed)
    if allowed.startswith("one of the "):
        choices += re.findall(r"[\w-]+", allowed)[4:]
    return _did_you_mean(f'"{near}"' for near in get_close_matches(value.lower(), choices, n=1))


def _did_you_mean(names: Any) -> str:
    return next((f"Did you mean {name}?" for name in names), "")


def _allowed_values(details: ErrorDetails) -> str:
    """Return a description of the values that are allowed instead of the invalid one."""
    text = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if text.startswith("a valid boolean"):
        return "true or false"
    if text.startswith(("a valid dictionary", "a valid dict")):
        return "a section with keys of its own"
    return text.split(", unable to parse")[0]
