"""The scope of a service, and the files and folders that an installation has in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from agent.config.paths import SYSTEM_UNIT, home_folder
from agent.service.errors import ServiceError

UNIT = SYSTEM_UNIT


class Scope(StrEnum):
    """The manager of systemd that runs the service."""

    SYSTEM = "system"
    USER = "user"


@dataclass(frozen=True, kw_only=True)
class Places:
    """The files and folders of an installation.

    Attributes:
        scope: the manager of systemd that runs the service.
        unit: the unit file.
        environment: the virtual environment that ``install`` makes.
        settings: the settings file.
        data: the data folder; for a system service a link to ``data_parts[0]``, once systemd has made it.
        data_parts: what has to be removed to remove the data.
        cache_parts: what has to be removed to remove the cache; empty for a service of a user, which shares it.
        runtime: a path that exists while this manager of systemd runs.
    """

    scope: Scope
    unit: Path
    environment: Path
    settings: Path
    data: Path
    data_parts: tuple[Path, ...]
    cache_parts: tuple[Path, ...]
    runtime: Path

    @property
    def drop_ins(self) -> Path:
        """The folder of the unit's drop-ins."""
        return self.unit.with_name(f"{UNIT}.d")

    @property
    def gpu_drop_in(self) -> Path:
        """The drop-in that gives a system service access to GPUs."""
        return self.drop_ins / "gpu.conf"


def default_scope() -> Scope:
    """Return the scope for the user of this process: root installs for the system."""
    return Scope.SYSTEM if os.geteuid() == 0 else Scope.USER


def require_root(places: Places, *, operation: str) -> None:
    """Check that this process may change a service of the machine.

    Raises:
        ServiceError: only root may.
    """
    if places.scope is Scope.SYSTEM and os.geteuid() != 0 and places.unit.is_relative_to("/etc"):
        raise ServiceError(
            operation=operation,
            subject=UNIT,
            found="only root may change a service of the machine.",
            hint="Run the command with sudo, or for a service of your own user with --user.",
        )


def places_of(scope: Scope, *, root: Path = Path("/"), variables: Mapping[str, str] | None = None) -> Places:
    """Return where an installation lies.

    Args:
        scope: the scope of the service.
        root: the folder that a system service takes for the root of the file system.
        variables: the environment variables that name the folders of a user; None for those of this process.
    """
    if scope is Scope.USER:
        return _places_of_user(os.environ if variables is None else variables)
    state, cache = root / "var/lib", root / "var/cache"
    return Places(
        scope=scope,
        unit=root / "etc/systemd/system" / UNIT,
        environment=root / "opt/learnd",
        settings=root / "etc/learnd/learnd.toml",
        data=state / "learnd",
        data_parts=(state / "private/learnd", state / "learnd"),
        cache_parts=(cache / "private/learnd", cache / "learnd"),
        runtime=root / "run/systemd/system",
    )


def _places_of_user(variables: Mapping[str, str]) -> Places:
    home = Path(variables.get("HOME") or home_folder())
    config = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    data = Path(variables.get("XDG_STATE_HOME") or home / ".local/state") / "learnd"
    return Places(
        scope=Scope.USER,
        unit=config / "systemd/user" / UNIT,
        environment=Path(variables.get("XDG_DATA_HOME") or home / ".local/share") / "learnd" / "venv",
        settings=config / "learnd/learnd.toml",
        data=data,
        data_parts=(data,),
        cache_parts=(),
        runtime=Path(variables.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}") / "systemd/private",
    )
