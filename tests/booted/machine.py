"""A machine that systemd-nspawn boots: the files of this one under a layer of its own, and a systemd of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.repository import ROOT

SOURCE = Path("/usr/src/learnd")
"""Folder of learnd's source in the machine, which cannot write to it."""

BOOT_S = 120.0
COMMAND_S = 180.0


class NoMachineError(Exception):
    """An error: this computer cannot boot a machine, for the reason in the message."""


class Machine:
    """A booted machine; a context manager. It shares the network, and nothing that it writes stays.

    Raises:
        NoMachineError: it cannot be booted here.
    """

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise NoMachineError("only root can boot a machine with systemd-nspawn: sudo make systemd")
        if shutil.which("systemd-nspawn") is None:
            raise NoMachineError("systemd-nspawn is not installed (apt install systemd-container)")
        self._folder = Path(tempfile.mkdtemp(prefix="learnd-machine-", dir="/var/tmp"))
        self._root = self._folder / "root"
        self._log = self._folder / "boot.log"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def __enter__(self) -> Machine:
        try:
            self._mount()
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, *command: str, code: int | None = 0, timeout_s: float = COMMAND_S) -> str:
        """Run a command as root in the machine, and return its output.

        Args:
            command: the program with its arguments.
            code: the exit status that it must have; None for any.
            timeout_s: the time limit.
        """
        ended = subprocess.run(
            [*self._into(), "/usr/bin/env", "-i", *_variables(), *command],
            capture_output=True, text=True, errors="replace", check=False, timeout=timeout_s, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        told = f"{' '.join(command)}: exit status {ended.returncode}\n{ended.stdout}{ended.stderr}"
        assert code is None or ended.returncode == code, told
        return ended.stdout if code == 0 else ended.stdout + ended.stderr

    def json(self, *command: str, timeout_s: float = COMMAND_S) -> Any:
        """Run a command with --json, and return its answer."""
        return json.loads(self.run(*command, "--json", timeout_s=timeout_s))

    def unit(self, name: str) -> str:
        """Return a property of the unit."""
        return self.run("systemctl", "show", "learnd", f"--property={name}", "--value").strip()

    def journal(self) -> str:
        """Return the log of the unit, with what systemd says of it."""
        return self.run("journalctl", "--unit=learnd", "--no-pager", "--output=cat")

    def path(self, path: str) -> Path:
        """Return a path of the machine as one of this computer."""
        return Path(f"/proc/{self._leader}/root{path}")

    def close(self) -> None:
        """Shut the machine down, and remove what it has written."""
        if self._nspawn is not None:
            self._nspawn.terminate()
            try:
                self._nspawn.wait(60)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
        if self._root.is_mount():
            subprocess.run(["umount", "--lazy", str(self._root)], check=True)
        shutil.rmtree(self._folder)

    def _mount(self) -> None:
        for name in ("upper", "work", "root"):
            (self._folder / name).mkdir()
        layers = f"lowerdir=/,upperdir={self._folder}/upper,workdir={self._folder}/work"
        mounted = subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o", layers, str(self._root)],
            capture_output=True,
            text=True,
            check=False,
        )
        if mounted.returncode != 0:
            raise NoMachineError(f"the kernel mounts no overlay: {mounted.stderr.strip()}")
        (self._root / "etc/machine-id").unlink(missing_ok=True)
        for folder in ("opt/learnd", "etc/learnd", "var/lib/learnd", "var/lib/private/learnd"):
            shutil.rmtree(self._root / folder, ignore_errors=True)  # of a service of this computer: in the layer only

    def _boot(self) -> None:
        """Boot, and wait until systemd has started everything; only basic.target, without services of this computer."""
        command = ["nice", "-n", "10", "systemd-nspawn", "--quiet", f"--directory={self._root}", "--boot"]
        options = ["--register=no", "--keep-unit", f"--bind-ro={ROOT}:{SOURCE}", "systemd.unit=basic.target"]
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                [*command, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_until(self._is_booted, timeout_s=BOOT_S, what="systemd")
        except AssertionError as error:
            raise NoMachineError(f"systemd does not boot in systemd-nspawn:\n{self._tail()}") from error

    def _is_booted(self) -> bool:
        nspawn = self._nspawn
        assert nspawn is not None
        if nspawn.poll() is not None:
            raise NoMachineError(f"systemd-nspawn ended with status {nspawn.returncode}:\n{self._tail()}")
        children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
        if not children:
            return False
        self._leader = int(children[0])
        state = subprocess.run(
            [*self._into(), "systemctl", "is-system-running"], capture_output=True, text=True, check=False, timeout=30
        )
        return state.stdout.strip() in {"running", "degraded"}

    def _into(self) -> list[str]:
        return ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--"]

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])


class User:
    """A user of a machine, whose own systemd runs without a session.

    Args:
        machine: the booted machine.
        name: the name of the user, who is made.

    Attributes:
        home: the user's home folder in the machine.
    """

    def __init__(self, machine: Machine, name: str) -> None:
        self._machine = machine
        self.home = f"/home/{name}"
        machine.run("useradd", "--create-home", name)
        runtime = f"/run/user/{machine.run('id', '--user', name).strip()}"
        variables = (f"--chdir={self.home}", f"HOME={self.home}", f"XDG_RUNTIME_DIR={runtime}")
        self._as_user = ("runuser", f"--user={name}", "--", "env", *variables)
        machine.run("systemctl", "start", "dbus", "systemd-logind")
        machine.run("loginctl", "enable-linger", name)
        wait_until(machine.path(f"{runtime}/systemd/private").exists, what="the user's systemd")

    def run(self, *command: str, code: int | None = 0, timeout_s: float = COMMAND_S) -> str:
        """Run a command as the user, and return its output; the arguments are those of ``Machine.run``."""
        return self._machine.run(*self._as_user, *command, code=code, timeout_s=timeout_s)

    def json(self, *command: str, timeout_s: float = COMMAND_S) -> Any:
        """Run a command with --json, and return its answer."""
        return json.loads(self.run(*command, "--json", timeout_s=timeout_s))

    def unit(self, name: str) -> str:
        """Return a property of the user's unit."""
        return self.run("systemctl", "--user", "show", "learnd", f"--property={name}", "--value").strip()

    def journal(self) -> str:
        """Return the log of the user's unit."""
        return self.run("journalctl", "--user", "--unit=learnd", "--no-pager", "--output=cat")


def wait_until(holds: Callable[[], bool], *, what: str, timeout_s: float = 60.0) -> None:
    """Wait until something holds, and fail if it does not hold in time."""
    ends_at = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < ends_at, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.5)


def _variables() -> list[str]:
    """Return the variables of commands in the machine, with the settings of pip of this computer."""
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    of_pip = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("PIP_")]
    return [path, "HOME=/root", "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1", *of_pip]
