"""The types of settings: each parses and checks a value, and writes it in its short form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, PlainSerializer

from agent.config.local_time import checked_zone
from agent.config.triggers import Trigger, Window, check_disjoint, parse_trigger, parse_window
from agent.config.units import (
    DURATION_FORM,
    MAX_DURATION_S,
    MAX_SIZE_BYTES,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)
from agent.learners.registry import LearnerEntry, canonical_name, few_shot_learners, public_names
from envs.user_paths import expanded

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
    if seconds > MAX_DURATION_S:
        raise ValueError(DURATION_FORM.replace("0 or more", "at most 100 years"))
    return seconds


def at_least(least_s: float) -> AfterValidator:
    """Return a validator that refuses shorter durations."""

    def check(seconds: float) -> float:
        if seconds < least_s:
            raise ValueError(f"a duration of at least {format_duration(least_s)}")
        return seconds

    return AfterValidator(check)


def holding_at_least(least_bytes: int, *, why: str) -> AfterValidator:
    """Return a validator that refuses smaller sizes with a reason."""

    def check(size_bytes: int) -> int:
        if size_bytes < least_bytes:
            raise ValueError(f"a size of at least {format_size(least_bytes)}, because {why}")
        if size_bytes > MAX_SIZE_BYTES:
            raise ValueError("a size of less than 8 EiB")
        return size_bytes

    return AfterValidator(check)


def _checked_path(value: object) -> object:
    if value == "" or (isinstance(value, str | Path) and "\0" in str(value)):
        raise ValueError("the path of a folder")
    return value


def _of_known_home(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("a path without NUL")
    try:
        expanded(path)
    except FileNotFoundError as error:
        raise ValueError(f"the path of a file or folder, and {error.strerror}") from error
    return path


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
StoreSize = Annotated[Size, holding_at_least(16 * 2**20, why="a store without trials already needs some MiB")]
WorkerMemory = Annotated[Size, holding_at_least(64 * 2**20, why="Python with Gymnasium needs about 40 MiB")]
ListenAddress = Annotated[str, AfterValidator(_checked_listen)]
AllowedHost = Annotated[str, AfterValidator(_checked_host)]
JobTrigger = Annotated[InstanceOf[Trigger], BeforeValidator(parse_trigger), PlainSerializer(str)]
PractiseWindow = Annotated[InstanceOf[Window], BeforeValidator(parse_window), PlainSerializer(str)]
PractiseWindows = Annotated[tuple[PractiseWindow, ...], BeforeValidator(listed), AfterValidator(check_disjoint)]
MAX_COUNT = 2**31 - 1
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
CountOrNone = Annotated[int, Field(ge=0, le=MAX_COUNT)]
UserPath = Annotated[Path, AfterValidator(_of_known_home)]
Folder = Annotated[UserPath, BeforeValidator(_checked_path)]
TimeZone = Annotated[str, AfterValidator(checked_zone)]
ClassificationLearner = Annotated[str, AfterValidator(_classification_learner)]
RegressionLearner = Annotated[str, AfterValidator(_regression_learner)]
