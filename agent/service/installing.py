"""The plan of an installation. The same plan upgrades: steps with nothing to do are left as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.service.environment_steps import environment_steps, installed_at
from agent.service.file_steps import write_step
from agent.service.places import UNIT, Places, Scope
from agent.service.program import Program
from agent.service.steps import Step
from agent.service.systemctl import Systemctl, not_running_error
from agent.service.unit_file import GPU_TEMPLATE, UnitOptions, UnitState, unit_state, unit_text

SETTINGS = """\
# Settings of learnd. All of them with their defaults: learnd config show
# Change one, checked first: learnd config set KEY VALUE. After an edit by hand: {reload}
"""

_NO_START = "--no-start"


@dataclass(frozen=True, kw_only=True)
class InstallOptions:
    """The choices of the user for an installation.

    Attributes:
        variables: variables ``LEARND_*`` of the service.
        has_gpu: give a system service access to GPUs.
        is_started: start the service.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    has_gpu: bool = False
    is_started: bool = True


def install_steps(places: Places, program: Program, options: InstallOptions, systemctl: Systemctl) -> list[Step]:
    """Return the steps of an installation or an upgrade.

    State and settings stay as they are: the steps write no file in the data folder, and a settings file only where
    there is none.

    Raises:
        ServiceError: the service cannot be installed as asked.
    """
    if options.is_started and not systemctl.is_running:
        raise not_running_error(places)
    before = systemctl.properties("ActiveState", "ActiveEnterTimestamp", "NeedDaemonReload")
    environment = environment_steps(program)
    stops = stop_steps(systemctl) if environment else []
    files = _file_steps(places, program, options, systemctl)
    is_unit_changed = any(step.run is not None for step in files if step.subject != str(places.settings))
    needs_reload = is_unit_changed or before.get("NeedDaemonReload") == "yes"
    has_news = needs_reload or _is_newer(program, before.get("ActiveEnterTimestamp", ""))
    return [
        *stops,
        *environment,
        *files,
        _reload_step(systemctl, is_needed=needs_reload),
        _enable_step(systemctl, is_unit_changed=is_unit_changed),
        _start_step(systemctl, options, is_active=_is_active(before) and not stops, has_news=has_news),
    ]


def stop_steps(systemctl: Systemctl) -> list[Step]:
    """Return the step that stops a running service before its environment is changed; none if it does not run."""
    is_active = _is_active(systemctl.properties("ActiveState"))
    return [_call_step(systemctl, "stop the service", "stop", UNIT)] if is_active else []


def _is_active(properties: Mapping[str, str]) -> bool:
    return properties.get("ActiveState") in {"active", "activating", "reloading"}


def _file_steps(places: Places, program: Program, options: InstallOptions, systemctl: Systemctl) -> list[Step]:
    """Return the steps that write the settings file, the unit and the drop-in for GPUs."""
    unit = UnitOptions(scope=places.scope, program=program.path, variables=options.variables)
    is_edited = unit_state(places.unit, unit) is UnitState.EDITED
    reload = systemctl.written("reload", "learnd")
    steps = [
        Step(action="write the settings file", subject=str(places.settings), run=None)
        if places.settings.exists()
        else write_step("write the settings file", places.settings, SETTINGS.format(reload=reload), scope=places.scope),
        write_step("write the unit", places.unit, unit_text(unit), scope=places.scope, keeps_old=is_edited),
    ]
    if places.scope is Scope.SYSTEM and (options.has_gpu or places.gpu_drop_in.exists()):
        text = GPU_TEMPLATE.read_text(encoding="utf-8")
        steps.append(write_step("write the drop-in for GPUs", places.gpu_drop_in, text, scope=places.scope))
    return steps


def _call_step(systemctl: Systemctl, action: str, *arguments: str, hint: str = "") -> Step:
    def run() -> None:
        systemctl.call(*arguments, hint=hint)

    return Step(action=action, subject=UNIT, run=run, detail=systemctl.written(*arguments))


def _reload_step(systemctl: Systemctl, *, is_needed: bool) -> Step:
    action = "have systemd read the unit"
    if not systemctl.is_running:
        return Step(action=action, subject=UNIT, run=None, skipped="systemd does not run")
    if not is_needed:
        return Step(action=action, subject=UNIT, run=None)
    return _call_step(systemctl, action, "daemon-reload")


def _enable_step(systemctl: Systemctl, *, is_unit_changed: bool) -> Step:
    action = "enable the service"
    if not systemctl.is_installed:
        return Step(action=action, subject=UNIT, run=None, skipped="systemctl is not installed")
    if not is_unit_changed and systemctl.enablement() == "enabled":
        return Step(action=action, subject=UNIT, run=None)
    return _call_step(systemctl, action, "enable", UNIT)


def _start_step(systemctl: Systemctl, options: InstallOptions, *, is_active: bool, has_news: bool) -> Step:
    """Return the step that starts the service, or restarts it if it runs with an older unit or version."""
    action = "restart the service" if is_active else "start the service"
    if not options.is_started:
        return Step(action=action, subject=UNIT, run=None, skipped=_NO_START)
    if is_active and not has_news:
        return Step(action="start the service", subject=UNIT, run=None)
    option = "--user " if "--user" in systemctl.written() else ""
    hint = f"Its log: journalctl {option}-u learnd -n 50"
    return _call_step(systemctl, action, "restart" if is_active else "start", UNIT, hint=hint)


def _is_newer(program: Program, started: str) -> bool:
    """Return whether learnd was installed after the service was started.

    Args:
        program: the program of the service.
        started: when the service was started, as systemd writes it: ``@SECONDS``.
    """
    at = installed_at(program.path)
    seconds = started.removeprefix("@")
    return at is not None and seconds.isdigit() and at > int(seconds)
