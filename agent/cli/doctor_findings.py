"""The form of the checks of ``learnd doctor``: what a check examines, and what it yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.config.settings import Settings
    from memory.folder import DataFolder
    from memory.store import Store


class Verdict(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A result of a check, with the observation behind it.

    Attributes:
        check: name of the check.
        verdict: result of the check.
        found: the observed state.
        hint: what to do; empty if there is no problem.
        details: what was observed of each part, by its name; empty for a check without parts.
    """

    check: str
    verdict: Verdict
    found: str
    hint: str = ""
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CheckContext:
    """The objects that the checks examine.

    Attributes:
        settings: the settings in force; the defaults if those are not valid.
        folder: the data folder.
        store: the store, open for reading; None if it is missing or cannot be opened.
        tell: called with the current step of a long check.
    """

    settings: Settings
    folder: DataFolder
    store: Store | None
    tell: Callable[[str], None]


Check = Callable[[CheckContext], Iterator[Finding]]
