"""The errors of the ``agent`` package: each says what was tried, what was found and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class AgentError(Exception):
    """Root of everything that ``agent`` raises.

    Args:
        operation: what was being tried, as a gerund ("reading the settings").
        subject: what it was tried on (a file, a key, an address).
        found: what was found instead of what was expected.
        hint: what to do about it, as a full sentence.
    """

    def __init__(self, *, operation: str, subject: str, found: str, hint: str = "") -> None:
        self.operation = operation
        self.subject = subject
        self.found = found
        self.hint = hint
        super().__init__(f"{operation} {subject!r}: {found}" + (f" {hint}" if hint else ""))


@dataclass(frozen=True, kw_only=True)
class SettingsProblem:
    """One setting that cannot be used.

    Attributes:
        key: its dotted name ("practise.slice_s"), or the file's path when the file itself is at fault.
        value: what was found, as written.
        allowed: what may stand there.
        source: where it was found (an option, a variable, the settings file).
    """

    key: str
    value: str
    allowed: str
    source: str

    def __str__(self) -> str:
        """The problem as one line for people."""
        where = f" ({self.source})" if self.source else ""
        return f"{self.key} = {self.value}{where}: allowed is {self.allowed}"


class SettingsError(AgentError):
    """Settings that cannot be used; ``problems`` lists every one of them.

    Args:
        subject: the settings file, or "environment and options".
        problems: at least one.
    """

    def __init__(self, *, subject: str, problems: Sequence[SettingsProblem]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(
            operation="reading the settings",
            subject=subject,
            found=f"{len(self.problems)} {'problem' if len(self.problems) == 1 else 'problems'}:{lines}",
        )


class ListenError(AgentError):
    """The address for metrics and health cannot be listened on."""


class ChannelError(AgentError):
    """The learner said something on its channel that is not of the protocol."""
