"""The state of an installed service: where, which version, whether it runs, and whether its unit is the current one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.config.paths import CONFIG_VARIABLE, DATA_DIR_VARIABLE
from agent.service.environment_steps import installed_version
from agent.service.places import Places, Scope
from agent.service.systemctl import Systemctl
from agent.service.unit_file import UnitState, read_options, read_unit, unit_state


@dataclass(frozen=True, kw_only=True)
class ServiceStanding:
    """The state of a service.

    Attributes:
        scope: the manager of systemd that it is installed for.
        is_installed: whether its unit file is there.
        unit: its unit file.
        unit_state: how the unit file compares with the one that this version writes.
        program: the program that it runs; None if it is not installed or the unit runs something else.
        version: the version of learnd in the environment of the program.
        is_systemd_running: whether the manager runs.
        active: the state of the unit ("active", "failed"); empty if the manager does not run.
        enabled: whether it starts with the machine or the session ("enabled", "disabled"); empty if unknown.
        since: when it came into its state, in seconds since the epoch.
        pid: the process of the daemon.
        restarts: how often systemd restarted it since it was started.
        needs_daemon_reload: whether systemd has read an older unit.
        settings: its settings file.
        data_dir: its data folder, unless its settings name another one.
    """

    scope: Scope
    is_installed: bool
    unit: Path
    unit_state: UnitState
    program: Path | None
    version: str | None
    is_systemd_running: bool
    active: str
    enabled: str
    since: float | None
    pid: int | None
    restarts: int | None
    needs_daemon_reload: bool
    settings: Path
    data_dir: Path


def standing_of(places: Places, systemctl: Systemctl) -> ServiceStanding:
    """Return the state of the service in a scope.

    Raises:
        ServiceError: its unit file cannot be read.
    """
    text = read_unit(places.unit)
    options = None if text is None else read_options(text, scope=places.scope)
    found: dict[str, str] = {}
    if text is not None:
        names = ("ActiveState", "StateChangeTimestamp", "MainPID", "NRestarts", "NeedDaemonReload")
        found = systemctl.properties(*names)
    settings, data_dir = settings_and_data(places)
    return ServiceStanding(
        scope=places.scope,
        is_installed=text is not None,
        unit=places.unit,
        unit_state=unit_state(places.unit, options),
        program=None if options is None else options.program,
        version=None if options is None else installed_version(options.program),
        is_systemd_running=systemctl.is_running,
        active=found.get("ActiveState", ""),
        enabled=systemctl.enablement() if text is not None else "",
        since=_number(found.get("StateChangeTimestamp", "").removeprefix("@")),
        pid=_number(found.get("MainPID", "")) or None,
        restarts=_number(found.get("NRestarts", "")),
        needs_daemon_reload=found.get("NeedDaemonReload") == "yes",
        settings=settings,
        data_dir=data_dir,
    )


def installed_variables(places: Places) -> dict[str, str]:
    """Return the variables ``LEARND_*`` of the unit; none without a unit.

    Raises:
        ServiceError: its unit file cannot be read.
    """
    options = read_options(read_unit(places.unit) or "", scope=places.scope)
    return {} if options is None else dict(options.variables)


def settings_and_data(places: Places) -> tuple[Path, Path]:
    """Return the settings file of a service, and its data folder unless its settings name another one.

    Raises:
        ServiceError: its unit file cannot be read.
    """
    variables = installed_variables(places)
    settings, data = variables.get(CONFIG_VARIABLE), variables.get(DATA_DIR_VARIABLE)
    return Path(settings) if settings else places.settings, Path(data) if data else places.data


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None
