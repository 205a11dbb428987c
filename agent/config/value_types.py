"""The types of settings: each parses and checks a value, and writes it in its short form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, PlainSerializer

from agent.config.triggers import Trigger, Window, parse_trigger, parse_window
from agent.config.units import DURATION_FORM, format_duration, format_size, parse_duration, parse_size
from agent.learners.registry import LearnerEntry, canonical_name, few_shot_learners, public_names

_LISTEN = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\s]*):(?P<port>\d{1,5})")
_HOST = re.compile(r"\*|[\w.-]+|\[?[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\]?")
_HOST_FORM = 'a host without scheme and port such as "learnd.example.org", "10.0.0.5" or "::1", or "*" for any'
_LISTEN_FORM = 'HOST:PORT such as "127.0.0.1:9464" or "[::1]:9464" (port 0 takes any free one)'


def _checked_listen(text: str) -> str:
    match = _LISTEN.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65535:
        raise ValueError(_LISTEN_FORM)
    return text.strip()


def _checked_host(text: str) -> str:
    if _HOST.fullmatch(text.strip()) is None:
        raise ValueError(_HOST_FORM)
    return text.strip()


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError(DURATION_FORM.replace("0 or more", "more than 0"))
    return seconds


def listed(value: object) -> object:
    """Return the parts of a text that is separated by commas; return other values unchanged."""
    if isinstance(value, str):
        return [part for part in (piece.strip() for piece in value.split(",")) if part]
    return value


def _classification_learner(name: str) -> str:
    return _learner_among(name, [entry for entry in few_shot_learners() if entry.does_classification])


def _regression_learner(name: str) -> str:
    return _learner_among(name, [entry for entry in few_shot_learners() if entry.does_regression])


def _learner_among(name: str, entries: Sequence[LearnerEntry]) -> str:
    if canonical_name(name) not in {entry.name for entry in entries}:
        raise ValueError(f"one of the learners {', '.join(public_names(entries))}")
    return name


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    AfterValidator(_positive),
    PlainSerializer(format_duration, when_used="json"),
]
Size = Annotated[int, BeforeValidator(parse_size), PlainSerializer(format_size, when_used="json")]
ListenAddress = Annotated[str, AfterValidator(_checked_listen)]
AllowedHost = Annotated[str, AfterValidator(_checked_host)]
JobTrigger = Annotated[InstanceOf[Trigger], BeforeValidator(parse_trigger), PlainSerializer(str)]
PractiseWindow = Annotated[InstanceOf[Window], BeforeValidator(parse_window), PlainSerializer(str)]
Count = Annotated[int, Field(ge=1)]
ClassificationLearner = Annotated[str, AfterValidator(_classification_learner)]
RegressionLearner = Annotated[str, AfterValidator(_regression_learner)]
