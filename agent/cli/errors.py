"""Errors of commands, and their report as JSON values."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Protocol, runtime_checkable

from agent.errors import AgentError


class CommandError(AgentError):
    """An error for a command that cannot do what the user requested."""


@runtime_checkable
class ExplainedError(Protocol):
    """A protocol that the errors of every package satisfy."""

    operation: str
    subject: str
    found: str
    hint: str


def error_report(error: BaseException, *, command: str) -> dict[str, Any]:
    """Return an error as JSON values: the operation, its subject, the fault that was found, and a hint what to do."""
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
        return "Run the command as the user that the daemon runs as, or name another folder with --data-dir."
    return ""


def unknown_name_error(*, operation: str, subject: str, kind: str, known: Iterable[str]) -> CommandError:
    """Return an error for an unknown name. The hint lists the most similar known names, or else all known names.

    Args:
        operation: the failed operation, as a gerund.
        subject: the unknown name.
        kind: kind of the thing that the name should refer to ("family", "job").
        known: all known names of that kind.
    """
    names = sorted(known)
    near = get_close_matches(subject, names, n=3, cutoff=0.5)
    if near:
        hint = f"Did you mean {' or '.join(near)}?"
    elif names:
        hint = f"Known names: {', '.join(names)}."
    else:
        hint = f"There is no {kind} yet."
    return CommandError(operation=operation, subject=subject, found=f"there is no {kind} of that name.", hint=hint)
