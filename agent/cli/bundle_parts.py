"""The parts of a support bundle. Each is read by itself, so that the others can be written if it fails."""

from __future__ import annotations

import contextlib
import http.client
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import distributions
from typing import TYPE_CHECKING, Any

from agent.cli.errors import CommandError
from agent.cli.running_service import ask, authorization
from agent.config import paths
from agent.errors import AgentError
from agent.service.places import UNIT, Places, Scope, places_of
from agent.service.standing import standing_of
from agent.service.systemctl import Systemctl
from memory.errors import MemoryStoreError

if TYPE_CHECKING:
    from agent.cli.invocation import Invocation
    from memory.store import Store

LOG_LINES = 5_000
EVENTS = 500
RUNS = 200
POINTS_PER_CURVE = 500
"""Largest number of points of a curve in a bundle, spread over its whole length."""

_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a bundle.

    Attributes:
        name: its file in the bundle.
        read: returns its content: a text, or values for JSON.
    """

    name: str
    read: Callable[[], Any]


def parts_of(invocation: Invocation, report: dict[str, Any]) -> Iterator[Part]:
    """Yield the parts of a bundle.

    Args:
        invocation: the call of the command line; its settings are the defaults if those of the service are wrong.
        report: doctor's report.
    """
    places = _places(invocation)
    yield Part(name="doctor.json", read=lambda: report)
    yield Part(name="versions.json", read=_versions)
    yield Part(name="settings.json", read=lambda: _settings(invocation, report))
    yield Part(name="settings.toml", read=lambda: _settings_file(invocation))
    yield Part(name="status.json", read=lambda: _status(invocation))
    yield Part(name="health.json", read=lambda: _answer(invocation, "/healthz"))
    yield Part(name="metrics.txt", read=lambda: _answer(invocation, "/metrics"))
    yield Part(name="events.json", read=lambda: _of_store(invocation, _events))
    yield Part(name="schedule.json", read=lambda: _of_store(invocation, lambda store: _schedule(invocation, store)))
    yield Part(name="versions_published.json", read=lambda: _of_store(invocation, _published))
    yield Part(name="memory.json", read=lambda: _of_store(invocation, _memory))
    yield Part(name="backups.json", read=lambda: _backups(invocation))
    yield Part(name="service.json", read=lambda: _service(places))
    yield Part(name="unit.txt", read=lambda: _unit(places))
    yield Part(name="log.txt", read=lambda: _log(places))
    yield from _curves(invocation)


def _places(invocation: Invocation) -> Places:
    if invocation.system_service is None:
        return places_of(Scope.USER)
    return places_of(Scope.SYSTEM, root=paths.SYSTEM_ROOT)


def _versions() -> dict[str, Any]:
    from memory.sqlite_library import sqlite3

    packages = {str(found.metadata["Name"]): found.version for found in distributions()}
    return {
        "learnd": packages.get("learnd"),
        "python": sys.version,
        "executable": sys.executable,
        "sqlite": sqlite3.sqlite_version,
        "platform": platform.platform(),
        "kernel": platform.version(),
        "libc": " ".join(platform.libc_ver()),
        "os": platform.freedesktop_os_release(),
        "systemd": _output(["systemctl", "--version"]).splitlines()[0] if shutil.which("systemctl") else None,
        "packages": dict(sorted(packages.items(), key=lambda package: package[0].lower())),
    }


def _settings(invocation: Invocation, report: dict[str, Any]) -> dict[str, Any]:
    """Return the settings in force; if they are wrong, why, and the defaults that the other parts were read with."""
    from agent.config.description import describe_settings

    settings = invocation.settings
    rows = {row.key: row.value for row in describe_settings(settings)}
    changed = [row.key for row in describe_settings(settings) if row.value != row.default]
    wrong = [
        check["found"] for check in report["checks"] if check["check"] == "settings" and check["verdict"] == "fail"
    ]
    return {"problems": wrong, "file": settings.file, "changed": changed, "settings": rows}


def _settings_file(invocation: Invocation) -> str:
    service = invocation.system_service
    file = paths.settings_file(invocation.config) if service is None else service.settings_file
    return "" if file is None else file.read_text(encoding="utf-8", errors="replace")


def _status(invocation: Invocation) -> dict[str, Any]:
    from agent.reports.status import status_report

    return status_report(invocation.folder)


def _answer(invocation: Invocation, path: str) -> str:
    """Return what the running service answers at a path."""
    if invocation.folder.holder_pid() is None:
        raise CommandError(operation="asking the service", subject=path, found="it does not run.")
    settings = invocation.settings.service
    listen = settings.listen
    with contextlib.suppress(AgentError, MemoryStoreError, OSError):  # another part tells why
        listen = str(_of_store(invocation, lambda store: store.daemon_status.get() or {}).get("listen") or listen)
    headers = {} if settings.token_file is None else authorization(settings.token_file)
    return ask(listen, path, headers=headers)[1]


def _of_store(invocation: Invocation, read: Callable[[Store], Any]) -> Any:
    with invocation.reading() as store:
        return read(store)


def _events(store: Store) -> dict[str, Any]:
    from agent.reports.events import event_values

    return event_values(store, limit=EVENTS)


def _schedule(invocation: Invocation, store: Store) -> dict[str, Any]:
    from agent.config.local_time import zone_name
    from agent.config.time_shares import time_shares
    from agent.reports.schedule_values import read_schedule, schedule_values

    settings = invocation.settings
    zone = zone_name(settings.service.time_zone)
    budgets = time_shares(settings)
    return schedule_values(read_schedule(store, budgets=budgets, num_runs=RUNS, now=time.time(), time_zone=zone))


def _published(store: Store) -> list[dict[str, Any]]:
    from agent.reports.version_values import version_values

    return [version_values(version) for version in store.initializations.newest(RUNS)]


def _memory(store: Store) -> dict[str, Any]:
    from agent.reports.memory_values import memory_values

    return memory_values(store.stats.memory_stats())


def _backups(invocation: Invocation) -> list[dict[str, Any]]:
    from memory.files.backup_record import listed_backups

    return [
        {"name": backup.path.name, "is_clean": backup.is_clean, "sequence": backup.sequence}
        for backup in listed_backups(invocation.folder)
    ]


def _service(places: Places) -> Any:
    return standing_of(places, Systemctl(places))


def _unit(places: Places) -> str:
    """Return the unit with its drop-ins."""
    files = [places.unit, *sorted(places.drop_ins.glob("*.conf"))]
    return "\n".join(f"# {file}\n{file.read_text(encoding='utf-8', errors='replace')}" for file in files)


def _log(places: Places) -> str:
    """Return the last lines of the log in the journal."""
    if shutil.which("journalctl") is None:
        found = "there is no journalctl. The log is where the service's stderr goes."
        raise CommandError(operation="reading", subject="the journal", found=found)
    unit = ["--user-unit", UNIT] if places.scope is Scope.USER else ["--unit", UNIT]
    return _output(["journalctl", *unit, "--no-pager", "--output=short-iso-precise", f"--lines={LOG_LINES}"])


def _curves(invocation: Invocation) -> Iterator[Part]:
    """Yield a part for the curves of each family; one part that fails if the families cannot be read."""
    try:
        names = _of_store(invocation, lambda store: [family.name for family in store.families.all()])
    except (AgentError, MemoryStoreError, OSError):
        yield Part(name="curves.json", read=lambda: _of_store(invocation, lambda store: store.families.all()))
        return
    for name in names:
        yield Part(name=f"curves/{name}.json", read=partial(_curves_of, invocation, name))


def _curves_of(invocation: Invocation, family: str) -> dict[str, Any]:
    """Return the curves of a family by metric and label, thinned."""
    from agent.reports.curve_values import point_values
    from memory.records import CurveMetric

    curves: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with invocation.reading() as store:
        for metric in CurveMetric:
            for point in store.curves.points(family, metric):
                curves.setdefault(metric, {}).setdefault(point.point.label, []).append(point_values(point))
    return {
        "family": family,
        "curves": {metric: {name: _thinned(line) for name, line in lines.items()} for metric, lines in curves.items()},
    }


def _thinned(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return at most ``POINTS_PER_CURVE`` points, with the first and the last one."""
    if len(points) <= POINTS_PER_CURVE:
        return points
    last = len(points) - 1
    return [points[round(number * last / (POINTS_PER_CURVE - 1))] for number in range(POINTS_PER_CURVE)]


def _output(command: list[str]) -> str:
    """Return the output of a program.

    Raises:
        CommandError: it fails.
    """
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=_TIMEOUT_S)
    if ended.returncode != 0:
        found = ended.stderr.strip() or f"exit status {ended.returncode}"
        raise CommandError(operation="running", subject=" ".join(command), found=found)
    return ended.stdout


FAILURES = (OSError, ValueError, LookupError, http.client.HTTPException, subprocess.SubprocessError)
"""The failures of a part besides those of the packages."""
