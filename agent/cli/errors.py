"""What a command refuses with, and what it reports of an error; the nearest known names to an unknown one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Protocol, runtime_checkable

from agent.errors import AgentError


class CommandError(AgentError):
    """A command cannot do what was asked."""


@runtime_checkable
class ExplainedError(Protocol):
    """The form that every package's errors share."""

    operation: str
    subject: str
    found: str
    hint: str


def error_report(error: BaseException, *, command: str) -> dict[str, Any]:
    """An error as JSON values: what was tried, on what, what was found, what to do."""
    if isinstance(error, ExplainedError):
        return {
            "operation": error.operation,
            "subject": error.subject,
            "found": error.found,
            "hint": error.hint,
        }
    if isinstance(error, OSError):
        return {
            "operation": command,
            "subject": str(error.filename or ""),
            "found": f"{error.strerror or error}.",
            "hint": _os_error_hint(error),
        }
    return {"operation": command, "subject": "", "found": f"{type(error).__name__}: {error}", "hint": ""}


def _os_error_hint(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "Run it as the user that the service runs as, or name another folder with --data-dir."
    return ""


def unknown_name_error(*, operation: str, subject: str, kind: str, known: Iterable[str]) -> CommandError:
    """The error for a name that nothing has, with the nearest names that something does have.

    Args:
        operation: what was being tried, as a gerund.
        subject: the unknown name.
        kind: what it should have named ("family", "job").
        known: the names there are.
    """
    names = sorted(known)
    near = get_close_matches(subject, names, n=3, cutoff=0.5)
    if near:
        hint = f"Did you mean {' or '.join(near)}?"
    elif names:
        hint = f"There is {', '.join(names)}."
    else:
        hint = f"There is no {kind} yet."
    return CommandError(operation=operation, subject=subject, found=f"there is no {kind} of that name.", hint=hint)
