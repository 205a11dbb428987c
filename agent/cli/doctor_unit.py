"""The check of ``learnd doctor`` that the unit of the service is current, and that systemd runs it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from agent.cli.doctor_findings import CheckContext, Finding, Repair, Verdict
from agent.config import paths
from agent.service.errors import ServiceError
from agent.service.places import Places, Scope, places_of
from agent.service.standing import ServiceStanding, standing_of
from agent.service.systemctl import Systemctl
from agent.service.unit_file import UnitState

CHECK = "unit"
_INSTALL = Repair(what="write the unit anew, and restart the service", command="learnd service install")


def unit(context: CheckContext) -> Iterator[Finding]:
    """Check the unit of the service that the data folder belongs to; without a unit there is nothing to check."""
    places = _places_of(context)
    systemctl = Systemctl(places)
    try:
        standing = standing_of(places, systemctl)
    except ServiceError as error:
        yield Finding(check=CHECK, verdict=Verdict.WARN, found=f"{error.subject}: {error.found}")
        return
    if not standing.is_installed or not _is_meant(context, standing):
        return
    problems = [*_file_problems(standing, systemctl), *_state_problems(standing, systemctl)]
    yield from problems
    if not problems:
        state = standing.active or "systemd does not run"
        yield Finding(check=CHECK, verdict=Verdict.OK, found=f"{standing.unit} is current; {state}")


def _places_of(context: CheckContext) -> Places:
    if context.service is None:
        return places_of(Scope.USER)
    return replace(places_of(Scope.SYSTEM, root=paths.SYSTEM_ROOT), unit=context.service.unit)


def _is_meant(context: CheckContext, standing: ServiceStanding) -> bool:
    """Return whether the unit runs learnd on the data folder that is examined."""
    is_of_system = context.service is not None
    settings = context.settings
    return is_of_system or settings.data_dir == standing.data_dir or settings.file == standing.settings


def _file_problems(standing: ServiceStanding, systemctl: Systemctl) -> Iterator[Finding]:
    if standing.unit_state is UnitState.OUTDATED:
        found = f"{standing.unit} is of another version of learnd"
        hint = "learnd service install writes it anew."
        yield Finding(check=CHECK, verdict=Verdict.WARN, found=found, hint=hint, repair=_INSTALL)
    elif standing.unit_state is UnitState.EDITED:
        found = f"{standing.unit} was edited by hand, or copied"
        edit = systemctl.written("edit", "learnd")
        hint = f"Move your changes into a drop-in ({edit}); learnd service install writes the unit anew."
        yield Finding(check=CHECK, verdict=Verdict.WARN, found=found, hint=hint, repair=_INSTALL)
    if standing.needs_daemon_reload:
        command = systemctl.written("daemon-reload")
        repair = Repair(what="have systemd read the unit", command=command, run=lambda: systemctl.call("daemon-reload"))
        found = "systemd has read an older unit or drop-in"
        yield Finding(check=CHECK, verdict=Verdict.WARN, found=found, hint=command, repair=repair)


def _state_problems(standing: ServiceStanding, systemctl: Systemctl) -> Iterator[Finding]:
    if standing.active == "failed":
        option = "--user " if standing.scope is Scope.USER else ""
        hint = f"Its log says why: journalctl {option}-u learnd -n 50"
        repair = Repair(what="start it again", command=systemctl.written("restart", "learnd"))
        yield Finding(check=CHECK, verdict=Verdict.FAIL, found="the service has failed", hint=hint, repair=repair)
    if standing.enabled == "disabled":
        starts = "machine" if standing.scope is Scope.SYSTEM else "session"
        command = systemctl.written("enable", "learnd")
        repair = Repair(what=f"start it with the {starts}", command=command)
        found = f"the service does not start with the {starts}"
        yield Finding(check=CHECK, verdict=Verdict.WARN, found=found, hint=command, repair=repair)
