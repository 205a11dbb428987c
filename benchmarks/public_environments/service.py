"""Admission, practice, a kill of the trainer, and its resumption, of a group of families by one running service."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.family_files import DROP_IN_FOLDER
from agent.reports.status import status_report
from memory.errors import UnknownSchemaError
from memory.folder import DataFolder

POLL_S = 1.0
SETTINGS = """
[service]
listen = "127.0.0.1:0"

[stream]
embedded_default = false

[reference]
default = "none"

[practise]
slice_s = 0.5

[jobs]
evaluate = "off"
consolidate = "off"

[learner]
nice = 0
start_timeout_s = "10m"
stall_timeout_s = "10m"

[evaluation]
trials_gymnasium = 4
max_s = 1.0

[rl2]
num_trials_gymnasium = 8

[workers]
memory_limit = "4GiB"
"""
TOTALS = ("env_steps", "trials", "episodes", "meta_updates")
Families = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Practised:
    """What became of a family in the service.

    Attributes:
        state: its state when the trainer was killed.
        reason: the reason of the state.
        strikes: its strikes at the end.
        updates_before: updates that were committed before the trainer was killed.
        updates_after: updates at the end.
        is_intact: whether no total went backwards by the kill.
    """

    state: str
    reason: str
    strikes: int
    updates_before: int
    updates_after: int
    is_intact: bool


def practised(files: Mapping[str, Path], folder: Path, *, limit_s: float) -> dict[str, Practised]:
    """Admit and practise families, kill the trainer by SIGKILL, and wait until it practises them again.

    Args:
        files: name of the family → its family file.
        folder: an empty folder.
        limit_s: time for all families until the kill, and again after it.
    """
    drop_in = folder / "store" / DROP_IN_FOLDER
    drop_in.mkdir(parents=True)
    for name, file in files.items():
        (drop_in / f"{name}.toml").write_text(file.read_text())
    with _running(folder) as families:
        _wait(families, lambda now: len(now) == len(files) and all(map(_is_settled, now.values())), limit_s)
        before = families()
        _kill_trainer(folder)
        _wait(families, lambda now: all(_has_gone_on(before[name], now[name]) for name in before), limit_s)
        after = families()
    return {name: _outcome(before[name], after[name]) for name in before if name in after}


def _is_settled(family: Mapping[str, Any]) -> bool:
    return family["meta_updates"] > 0 or family["state"] not in {"pending", "active"}


def _has_gone_on(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether a family that was practised before the kill has been practised again."""
    return not before["meta_updates"] or now["meta_updates"] > before["meta_updates"] or now["state"] != "active"


def _outcome(before: Mapping[str, Any], after: Mapping[str, Any]) -> Practised:
    # A family that was not settled when the trainer was killed may be since.
    decided = before if before["state"] != "pending" else after
    return Practised(
        state=str(decided["state"]),
        reason=str(decided["state_reason"] or ""),
        strikes=int(after["strikes"]),
        updates_before=int(before["meta_updates"]),
        updates_after=int(after["meta_updates"]),
        is_intact=all(after[total] >= before[total] for total in TOTALS),
    )


@contextmanager
def _running(folder: Path) -> Iterator[Callable[[], Families]]:
    """Run the service, and yield a function that returns the state of each family by its name."""
    (folder / "learnd.toml").write_text(SETTINGS)
    command = [sys.executable, "-m", "agent.cli", "run", "--data-dir", str(folder / "store")]
    variables = {**os.environ, "LEARND_CONFIG": str(folder / "learnd.toml")}
    with (folder / "service.log").open("wb") as log:
        service = subprocess.Popen(command, stdout=log, stderr=log, env=variables)

    def families() -> Families:
        if service.poll() is not None:
            raise RuntimeError(f"the service ended with status {service.returncode}; see {log.name}")
        with suppress(UnknownSchemaError):  # the service is creating its store
            return {family["name"]: family for family in _status(folder)["families"]}
        return {}

    try:
        yield families
    finally:
        service.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            service.wait(timeout=60)
        service.kill()
        service.wait()


def _status(folder: Path) -> dict[str, Any]:
    return status_report(DataFolder(folder / "store"))


def _kill_trainer(folder: Path) -> None:
    trainer = _status(folder)["learner"]
    with suppress(ProcessLookupError):
        os.kill(trainer["pid"], signal.SIGKILL)


def _wait(families: Callable[[], Families], holds: Callable[[Families], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not holds(families()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
