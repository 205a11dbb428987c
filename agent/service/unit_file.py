"""The text of the unit: written from ``learnd.service`` for an installation, read back, and compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from agent.service.errors import ServiceError
from agent.service.places import Scope

TEMPLATE = Path(__file__).with_name("learnd.service")
GPU_TEMPLATE = Path(__file__).with_name("gpu.conf")
SYSTEM_ONLY = "# System services only"
"""The line of the template from which the section ``[Service]`` is for system services."""

_MANUAL = "share/learnd/operating.md"
_DIGEST = "# sha256 of the lines below: "
_HEADER = """\
# Written by `learnd service install`, which writes it again at the next upgrade. Changes belong into a drop-in:
# systemctl {option}edit learnd
"""
_EXEC_START = re.compile(r'^ExecStart=(?:"((?:[^"\\]|\\.)*)"|(\S+)) run$', re.MULTILINE)
_VARIABLE = re.compile(r'^Environment="(LEARND_\w+)=((?:[^"\\]|\\.)*)"$', re.MULTILINE)


class UnitState(StrEnum):
    """The state of a unit file in comparison with the one that this version writes."""

    MISSING = "missing"
    CURRENT = "current"
    OUTDATED = "outdated"
    """Another version, or an installation with other options, has written it."""

    EDITED = "edited"
    """It was edited by hand, or copied from the source."""


@dataclass(frozen=True, kw_only=True)
class UnitOptions:
    """The parts of the unit that differ from installation to installation.

    Attributes:
        scope: the scope of the service.
        program: the program ``learnd`` that the unit runs.
        variables: variables ``LEARND_*`` of the service.
    """

    scope: Scope
    program: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def manual(self) -> Path:
        """The manual that is installed with the program."""
        return self.program.parent.parent / _MANUAL


def unit_text(options: UnitOptions) -> str:
    """Return the text of the unit."""
    lines = TEMPLATE.read_text(encoding="utf-8").splitlines()
    lines = lines[lines.index("[Unit]") :]
    if options.scope is Scope.USER:
        lines = _lines_for_user(lines)
    body = "".join(f"{line}\n" for given in lines for line in _line_for(given, options))
    option = "--user " if options.scope is Scope.USER else ""
    return f"{_HEADER.format(option=option)}{_DIGEST}{_digest(body)}\n\n{body}"


def read_options(text: str, *, scope: Scope) -> UnitOptions | None:
    """Return the options that a unit was written with; None if it does not run learnd as ``unit_text`` writes it."""
    found = _EXEC_START.search(text)
    if found is None:
        return None
    program = _unquoted(found[1] or found[2]).replace("$$", "$")
    variables = {name: _unquoted(value) for name, value in _VARIABLE.findall(text)}
    return UnitOptions(scope=scope, program=Path(program), variables=variables)


def unit_state(path: Path, options: UnitOptions | None) -> UnitState:
    """Return how a unit file compares with the unit of some options; None for options that cannot be read from it.

    Raises:
        ServiceError: the file cannot be read.
    """
    text = read_unit(path)
    if text is None:
        return UnitState.MISSING
    if options is not None and text == unit_text(options):
        return UnitState.CURRENT
    return UnitState.OUTDATED if is_unedited(text) else UnitState.EDITED


def read_unit(path: Path) -> str | None:
    """Return the content of a unit file; None if there is none.

    Raises:
        ServiceError: the file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        found = f"{error.strerror or error}."
        raise ServiceError(operation="reading the unit", subject=str(path), found=found) from error


def is_unedited(text: str) -> bool:
    """Return whether a unit is as ``unit_text`` of this or of another version has written it."""
    digest, _, body = text.partition(_DIGEST)[2].partition("\n\n")
    return digest == _digest(body)


def _lines_for_user(lines: list[str]) -> list[str]:
    """Return the lines of the template for a user's service."""
    start = next(number for number, line in enumerate(lines) if line.startswith(SYSTEM_ONLY))
    rest = lines[lines.index("[Install]") :]
    return [*lines[:start], *(line.replace("multi-user.target", "default.target") for line in rest)]


def _line_for(line: str, options: UnitOptions) -> list[str]:
    """Return a line of the template as lines for an installation."""
    if line.startswith("Documentation="):
        return [f"Documentation=file://{_escaped(str(options.manual))}"] if " " not in str(options.manual) else []
    if line.startswith("ExecStart="):
        variables = [f'Environment="{name}={_escaped(value)}"' for name, value in sorted(options.variables.items())]
        return [f"ExecStart={_quoted(str(options.program))} run", *variables]
    return [line]


def _quoted(text: str) -> str:
    """Return a text as a word of a command line in a unit, in which $ begins a variable."""
    escaped = _escaped(text.replace("$", "$$"))
    return escaped if re.fullmatch(r"[\w%./@:+,=-]+", escaped) else f'"{escaped}"'


def _escaped(text: str) -> str:
    """Return a text for use between double quotes in a unit, in which % begins a specifier."""
    return text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text).replace("%%", "%")


def _digest(body: str) -> str:
    import hashlib  # Not at the top: it loads OpenSSL, and the command line imports this module.

    return hashlib.sha256(body.encode()).hexdigest()
