"""The plan of a removal, and what it leaves."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agent.service.file_steps import REPLACED, remove_step
from agent.service.places import UNIT, Places, Scope
from agent.service.program import installed_environment, is_made_by_install
from agent.service.steps import Step
from agent.service.systemctl import Systemctl


@dataclass(frozen=True, kw_only=True)
class Left:
    """Something that a removal leaves.

    Attributes:
        what: what it is ("data").
        paths: where it is.
        command: the command that removes it for ever.
    """

    what: str
    paths: tuple[Path, ...]
    command: str


def removal_steps(places: Places, systemctl: Systemctl, *, is_purging: bool) -> list[Step]:
    """Return the steps of a removal: what ``install`` has made, and with ``is_purging`` data, settings and drop-ins."""
    environment = installed_environment(places) or places.environment
    is_own = is_made_by_install(environment)
    old = places.unit.with_name(UNIT + REPLACED)
    steps = [
        _disable_step(places, systemctl),
        remove_step("remove the unit", [places.unit, *([old] if old.exists() else [])]),
        _drop_in_step(places, is_purging=is_purging),
        _reload_step(places, systemctl),
        *([remove_step("remove the cache", places.cache_parts)] if places.cache_parts else []),
    ]
    if is_purging:
        steps.append(remove_step("remove the data", places.data_parts))
        steps.append(remove_step("remove the settings", [_settings_part(places)]))
    if is_own or not os.path.lexists(environment):
        steps.append(remove_step("remove the environment", [_environment_part(places, environment)]))
    return steps


def left_behind(places: Places, *, data_dir: Path, is_purging: bool) -> list[Left]:
    """Return what a removal leaves, with the command that removes it; to be called before the removal.

    Args:
        places: where the service is installed.
        data_dir: its data folder, which its settings may have put elsewhere.
        is_purging: whether data, settings and drop-ins are removed.
    """
    environment = installed_environment(places) or places.environment
    listed: list[tuple[str, Iterable[Path]]] = []
    if not is_made_by_install(environment):
        listed.append(("environment", [environment]))
    if data_dir != places.data:
        listed.append(("data", [data_dir]))
    if not is_purging:
        listed += [("data", places.data_parts), ("settings", [_settings_part(places)])]
        listed += [("drop-ins", [places.drop_ins])] if _other_drop_ins(places) else []
    return [_left(what, paths, places.scope) for what, paths in listed if any(map(os.path.lexists, paths))]


def _left(what: str, paths: Iterable[Path], scope: Scope) -> Left:
    present = tuple(path for path in paths if os.path.lexists(path))
    root = "sudo " if scope is Scope.SYSTEM else ""
    command = f"{root}rm -r {' '.join(shlex.quote(str(path)) for path in present)}"
    return Left(what=what, paths=present, command=command)


def _settings_part(places: Places) -> Path:
    """Return what holds the settings: their folder."""
    return places.settings.parent


def _environment_part(places: Places, environment: Path) -> Path:
    """Return what holds the environment: of a user's service, also the folder that was made for it."""
    folder = environment.parent
    is_alone = places.scope is Scope.USER and environment == places.environment and folder.is_dir()
    return folder if is_alone and list(folder.iterdir()) == [environment] else environment


def _disable_step(places: Places, systemctl: Systemctl) -> Step:
    """Return the step that stops the service and no longer starts it; the unit file must still be there."""
    action = "stop and disable the service"
    if not places.unit.exists():
        return Step(action=action, subject=UNIT, run=None)
    if not systemctl.is_installed:
        return Step(action=action, subject=UNIT, run=None, skipped="systemctl is not installed")
    arguments = ["disable", *(["--now"] if systemctl.is_running else []), UNIT]
    written = systemctl.written(*arguments)
    return Step(action=action, subject=UNIT, run=lambda: systemctl.call(*arguments), detail=written)


def _drop_in_step(places: Places, *, is_purging: bool) -> Step:
    """Return the step that removes the drop-in that ``install`` writes, or all of them."""
    whole = is_purging or not _other_drop_ins(places)
    return remove_step("remove the drop-ins", [places.drop_ins if whole else places.gpu_drop_in])


def _other_drop_ins(places: Places) -> list[Path]:
    if not places.drop_ins.is_dir():
        return []
    return [path for path in places.drop_ins.iterdir() if path != places.gpu_drop_in]


def _reload_step(places: Places, systemctl: Systemctl) -> Step:
    action = "have systemd forget the unit"
    if not places.unit.exists():
        return Step(action=action, subject=UNIT, run=None)
    if not systemctl.is_running:
        return Step(action=action, subject=UNIT, run=None, skipped="systemd does not run")
    written = systemctl.written("daemon-reload")
    return Step(action=action, subject=UNIT, run=lambda: systemctl.call("daemon-reload"), detail=written)
