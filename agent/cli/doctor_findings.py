"""The form of the checks of ``learnd doctor``: what a check examines, and what it yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.config.settings import Settings
    from agent.config.system_service import SystemService
    from memory.folder import DataFolder
    from memory.store import Store


class Verdict(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Repair:
    """A repair of what a check found.

    Attributes:
        what: what it does, in the imperative ("give the files to the folder's owner").
        command: the command that makes it.
        run: makes it; None if a person has to decide, because it removes something, restarts something or lets other
            users read something.
    """

    what: str
    command: str
    run: Callable[[], None] | None = None

    @property
    def is_safe(self) -> bool:
        """Return whether ``learnd doctor --fix`` makes it."""
        return self.run is not None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A result of a check, with the observation behind it.

    Attributes:
        check: name of the check.
        verdict: result of the check.
        found: the observed state.
        hint: what to do; empty if there is no problem.
        details: what was observed of each part, by its name; empty for a check without parts.
        repair: what repairs it; None if there is no problem, or no command repairs it.
    """

    check: str
    verdict: Verdict
    found: str
    hint: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    repair: Repair | None = None


@dataclass(frozen=True, kw_only=True)
class CheckContext:
    """The objects that the checks examine.

    Attributes:
        settings: the settings in force; the defaults if those are not valid.
        folder: the data folder.
        store: the store, open for reading; None if it is missing or cannot be opened.
        tell: called with the current step of a long check.
        service: the system service that the data folder belongs to; None if there is none.
    """

    settings: Settings
    folder: DataFolder
    store: Store | None
    tell: Callable[[str], None]
    service: SystemService | None = None


Check = Callable[[CheckContext], Iterator[Finding]]


def finding_values(finding: Finding) -> dict[str, Any]:
    """Return a finding as values for JSON."""
    repair = finding.repair
    return {
        "check": finding.check,
        "verdict": finding.verdict,
        "found": finding.found,
        "hint": finding.hint,
        "details": finding.details,
        "repair": repair and {"what": repair.what, "command": repair.command, "is_safe": repair.is_safe},
    }
