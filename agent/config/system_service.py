"""The system service on this machine: the settings and the data folder that commands of other users work on."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.config import paths
from agent.config.paths import (
    CONFIG_VARIABLE,
    DATA_DIR_VARIABLE,
    SYSTEM_UNIT,
    has_own_installation,
    may_exist,
    system_unit,
)
from envs.user_paths import expanded

_PREFIX = "LEARND_"
_SYSTEMCTL_TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class SystemService:
    """An installed system service.

    Attributes:
        unit: its unit file.
        settings_file: its settings file; None if there is none.
        new_settings_file: the path at which it looks for a settings file.
        data_dir: its data folder, unless its settings name another one.
        variables: the variables ``LEARND_*`` of its unit and drop-ins.
        pid: the process of the daemon; None if it does not run, or systemd does not tell.
        user: the user of the unit; empty for a dynamic one.
    """

    unit: Path
    settings_file: Path | None
    data_dir: Path
    new_settings_file: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    user: str = ""


def service_for(*, data_dir: Path | None, config: Path | None) -> SystemService | None:
    """Return the system service that a command works on; None if it works on a folder of its user.

    The service is meant if its data folder is named, or if nothing is named and the user has neither settings nor a
    store.

    Args:
        data_dir: the data folder that the command line names.
        config: the settings file that the command line names.
    """
    if config is not None or os.environ.get(CONFIG_VARIABLE):
        return None
    variable = os.environ.get(DATA_DIR_VARIABLE)
    named = data_dir or (Path(variable) if variable else None)
    if named is None and has_own_installation():
        return None
    service = installed_service()
    if service is None or named is None:
        return service
    return service if _is_same(named, _data_dir_of(service)) else None


def installed_service() -> SystemService | None:
    """Return the system service that is installed; None if there is none."""
    unit = system_unit()
    if unit is None:
        return None
    properties = _unit_properties()
    variables = _assignments(properties.get("Environment", ""))
    file = Path(variables.get(CONFIG_VARIABLE) or paths.SYSTEM_ROOT / "etc/learnd/learnd.toml")
    pid = properties.get("MainPID", "0")
    return SystemService(
        unit=unit,
        new_settings_file=file,
        settings_file=file if may_exist(file) else None,
        data_dir=paths.SYSTEM_ROOT / "var/lib/learnd",
        variables={name: value for name, value in variables.items() if name.startswith(_PREFIX) and value},
        pid=int(pid) if pid.isdigit() and pid != "0" else None,
        user=properties.get("User", ""),
    )


def _data_dir_of(service: SystemService) -> Path:
    return Path(service.variables.get(DATA_DIR_VARIABLE) or service.data_dir)


def _is_same(first: Path, second: Path) -> bool:
    paths_compared = [expanded(path).absolute() for path in (first, second)]
    return paths_compared[0] == paths_compared[1] or len({os.path.realpath(path) for path in paths_compared}) == 1


def _unit_properties() -> dict[str, str]:
    """Return what systemd knows of the unit; nothing if it does not run or does not answer."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return {}
    command = [systemctl, "show", SYSTEM_UNIT, "--property=Environment,MainPID,User"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SYSTEMCTL_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = (line.partition("=") for line in ended.stdout.splitlines())
    return {name: value for name, _, value in lines}


def _assignments(text: str) -> dict[str, str]:
    """Return the variables of systemd's property ``Environment``, which are quoted as in a shell."""
    try:
        pairs = [part.partition("=") for part in shlex.split(text)]
    except ValueError:
        return {}
    return {name: value for name, _, value in pairs}
