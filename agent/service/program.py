"""The program that a service runs: learnd of the interpreter at hand, or of a virtual environment of the service."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from agent.config.paths import expanded
from agent.service.errors import ServiceError
from agent.service.places import Places, Scope
from agent.service.unit_file import read_options, read_unit

MARK = ".made-by-learnd-service-install"
"""A file by which ``uninstall`` knows an environment that ``install`` has made."""

_SOURCE = Path(__file__).resolve().parents[2]
_CLOSED = ("home", "root", "run/user", "tmp", "var/tmp")
"""The folders that the unit hides from a system service (``ProtectHome``, ``PrivateTmp``)."""

_OPERATION = "installing the service"


@dataclass(frozen=True, kw_only=True)
class AtHand:
    """The installation of learnd that this process runs.

    Attributes:
        prefix: the prefix of its interpreter.
        base: the interpreter that virtual environments are made with.
        is_environment: whether the prefix is a virtual environment.
        source: learnd's source, if learnd runs from it; None if it is installed as a package.
    """

    prefix: Path
    base: Path
    is_environment: bool
    source: Path | None


@dataclass(frozen=True, kw_only=True)
class Program:
    """The program that a service runs.

    Attributes:
        path: the program ``learnd``.
        source: the source that is installed into the environment first; None if the program is used as it is.
        environment: the virtual environment that holds the program.
        interpreter: the interpreter that the environment is made with.
    """

    path: Path
    source: Path | None
    environment: Path
    interpreter: Path


def at_hand() -> AtHand:
    """Return the installation that this process runs."""
    is_source = (_SOURCE / "pyproject.toml").is_file() and (_SOURCE / "requirements.lock").is_file()
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return AtHand(
        prefix=Path(sys.prefix),
        base=base,
        is_environment=sys.prefix != sys.base_prefix,
        source=_SOURCE if is_source else None,
    )


def chosen_program(
    places: Places,
    found: AtHand,
    *,
    is_here: bool = False,
    environment: Path | None = None,
    interpreter: Path | None = None,
    root: Path = Path("/"),
) -> Program:
    """Return the program for a service.

    Without a choice of the user, the interpreter at hand is used if the service runs it already, or if learnd is
    installed in its virtual environment as a package and the service can read it. Otherwise an environment is made from
    the source, or upgraded: the one that the service has, if ``install`` made it, else the one of the default place.

    Args:
        places: where the service is installed.
        found: the installation at hand.
        is_here: use the interpreter at hand.
        environment: make this environment, or upgrade it.
        interpreter: the interpreter to make the environment with; None for the one at hand.
        root: the root of the file system.

    Raises:
        ServiceError: the service could not read the program, or there is no source to install.
    """
    here = Program(path=found.prefix / "bin/learnd", source=None, environment=found.prefix, interpreter=found.base)
    is_package = found.is_environment and found.source is None
    is_chosen = environment is not None or interpreter is not None
    is_readable = closed_folder(places.scope, found.prefix, root=root) is None
    present = installed_environment(places)
    if is_here or (not is_chosen and (present == found.prefix or (is_package and is_readable))):
        return _usable(here, places, found, root=root)
    if present is None or not is_made_by_install(present):
        present = places.environment
    folder = expanded(environment or present).absolute()
    if found.source is None:
        raise ServiceError(
            operation=_OPERATION,
            subject=str(folder),
            found=f"a new environment needs learnd's source, and this learnd ({found.prefix}) is installed without it.",
            hint="In the folder of the source, run: sudo make install. Or use this learnd: --here",
        )
    made = Program(
        path=folder / "bin/learnd",
        source=found.source,
        environment=folder,
        interpreter=interpreter or found.base,
    )
    return _usable(made, places, found, root=root)


def installed_environment(places: Places) -> Path | None:
    """Return the environment that the unit runs learnd from; None without a unit."""
    options = read_options(read_unit(places.unit) or "", scope=places.scope)
    return None if options is None else options.program.parent.parent


def is_made_by_install(folder: Path) -> bool:
    """Return whether ``install`` has made an environment."""
    return (folder / MARK).is_file()


def closed_folder(scope: Scope, path: Path, *, root: Path = Path("/")) -> Path | None:
    """Return the folder above a path that the unit hides from the service; None if the service can read the path."""
    if scope is Scope.USER:
        return None
    resolved = path.resolve()
    folders = (root.resolve() / closed for closed in _CLOSED)
    return next((folder for folder in folders if resolved.is_relative_to(folder)), None)


def _usable(program: Program, places: Places, found: AtHand, *, root: Path) -> Program:
    """Return the program if the service can read it.

    Raises:
        ServiceError: it cannot, or there is no program.
    """
    needed = [program.environment, program.interpreter]
    if program.source is None:
        needed += [] if found.source is None else [found.source]
        if not program.path.is_file():
            raise ServiceError(
                operation=_OPERATION,
                subject=str(program.path),
                found="this interpreter has no program learnd.",
                hint="Run the command with the interpreter that learnd is installed in, or name a new environment:"
                " --venv FOLDER",
            )
    for path in needed:
        if (closed := closed_folder(places.scope, path, root=root)) is not None:
            raise ServiceError(
                operation=_OPERATION,
                subject=str(path),
                found=f"the service cannot read it: the unit hides {closed} from the service.",
                hint="Use --venv FOLDER for the environment and --python FILE (/usr/bin/python3) for its interpreter,"
                " outside of home folders and /tmp, or install a service of your own user: --user",
            )
    return program
