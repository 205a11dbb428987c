"""The checks of ``learnd doctor`` of the machine: Python, packages, SQLite and the device."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from agent.cli.doctor_findings import CheckContext, Finding, Repair, Verdict
from memory.errors import MemoryStoreError

PACKAGES = ("learnd", "torch", "numpy", "gymnasium", "stable-baselines3", "apscheduler", "sqlite-utils", "pysqlite3")
SOUND_SQLITE = (3, 51, 3)
"""First release without the WAL-reset bug of 3.7.0 to 3.51.2. It was also fixed in releases of two older lines."""
SOUND_SQLITE_LINES: dict[tuple[int, ...], int] = {(3, 44): 6, (3, 50): 7}
"""First fixed patch release of each older release line."""


def python_version(_: CheckContext) -> Iterator[Finding]:
    """Check that learnd supports this Python version, and that every required package is installed."""
    found = f"Python {platform.python_version()} at {sys.executable}"
    if tuple(int(part) for part in platform.python_version_tuple()[:2]) < (3, 11):
        yield Finding(check="python", verdict=Verdict.FAIL, found=found, hint="learnd needs Python 3.11 or newer.")
    else:
        yield Finding(check="python", verdict=Verdict.OK, found=found)
    versions, missing = [], []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        found, hint = f"missing: {', '.join(missing)}", "Install them: make setup, or pip install learnd."
        repair = Repair(what="install them", command=f"{sys.executable} -m pip install {' '.join(missing)}")
        yield Finding(check="packages", verdict=Verdict.FAIL, found=found, hint=hint, repair=repair)
    else:
        yield Finding(check="packages", verdict=Verdict.OK, found=", ".join(versions))


def sqlite_library(_: CheckContext) -> Iterator[Finding]:
    """Check that one SQLite library is loaded, and that it lacks the bug that can corrupt a database in WAL mode."""
    from memory.sqlite_library import require_one_library, sqlite3

    numbers = tuple(int(part) for part in sqlite3.sqlite_version.split("."))
    found = f"SQLite {sqlite3.sqlite_version} from {sqlite3.__name__.split('.')[0]}"
    try:
        require_one_library()
    except MemoryStoreError as error:
        yield Finding(check="sqlite", verdict=Verdict.FAIL, found=error.found, hint=error.hint)
        return
    is_sound = numbers >= SOUND_SQLITE or numbers[2] >= SOUND_SQLITE_LINES.get(numbers[:2], 1000)
    if is_sound:
        yield Finding(check="sqlite", verdict=Verdict.OK, found=found)
    else:
        hint = "This release can corrupt a WAL database (fixed in 3.51.3): upgrade pysqlite3 to 0.6.1 or newer."
        command = f"{sys.executable} -m pip install --upgrade 'pysqlite3>=0.6.1'"
        repair = Repair(what="upgrade SQLite", command=command)
        yield Finding(check="sqlite", verdict=Verdict.FAIL, found=found, hint=hint, repair=repair)


def device(context: CheckContext) -> Iterator[Finding]:
    """Check that the device named in the settings is available."""
    context.tell("loading torch")
    try:
        import torch
    except (ImportError, OSError) as error:
        found, hint = f"torch does not load: {error}", "Reinstall it: make setup."
        yield Finding(check="device", verdict=Verdict.FAIL, found=found, hint=hint)
        return
    from agent.devices import DeviceError, choose_device, describe_device

    choice = context.settings.learner.device
    try:
        chosen = choose_device(choice)
    except DeviceError as error:
        found = f"learner.device is {choice}: {error.found}"
        repair = Repair(what="use the device that is there", command="learnd config set learner.device auto")
        yield Finding(check="device", verdict=Verdict.FAIL, found=found, hint=error.hint, repair=repair)
        return
    more = f"{os.cpu_count()} cores" if chosen.type == "cpu" else str(chosen)
    found = f"{describe_device(chosen)}, {more}, torch {torch.__version__}; setting: {choice}"
    yield Finding(check="device", verdict=Verdict.OK, found=found)
