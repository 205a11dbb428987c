"""The errors of the ``agent`` package. Each gives operation, subject, finding and a hint what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class AgentError(Exception):
    """A base class of all errors of ``agent``.

    Args:
        operation: the operation that failed, as a gerund ("reading the settings").
        subject: the object of the operation (a file, a key, an address).
        found: the finding that differs from the expected one.
        hint: what the user can do, as a full sentence.
    """

    def __init__(self, *, operation: str, subject: str, found: str, hint: str = "") -> None:
        self.operation = operation
        self.subject = subject
        self.found = found
        self.hint = hint
        super().__init__(f"{operation} {subject!r}: {found}" + (f" {hint}" if hint else ""))


@dataclass(frozen=True, kw_only=True)
class SettingsProblem:
    """An invalid setting.

    Attributes:
        key: its dotted name ("practise.slice_s"), or the path of the file if the file itself is invalid.
        value: the invalid value in its written form.
        allowed: a description of the allowed values.
        source: the source of the value (an option, a variable, the settings file).
        line: the line in the settings file; None if the value is not from a file.
        hint: a suggestion, as a full sentence ("Did you mean learner.seed?"); empty if there is none.
    """

    key: str
    value: str
    allowed: str
    source: str
    line: int | None = None
    hint: str = ""

    def __str__(self) -> str:
        """Return the problem as one line for users."""
        line = "" if self.line is None else f"line {self.line}"
        where = ", ".join(part for part in (self.source, line) if part)
        text = f"{self.key} = {self.value}{f' ({where})' if where else ''}; allowed: {self.allowed}"
        return f"{text}. {self.hint}" if self.hint else text


class SettingsError(AgentError):
    """An error: settings are invalid; ``problems`` lists every invalid setting.

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
    """An error: the server for metrics and health cannot listen on its address."""


class ChannelError(AgentError):
    """An error: a message on the channel between daemon and trainer violates the protocol."""
