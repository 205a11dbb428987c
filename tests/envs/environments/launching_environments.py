"""Environments that start processes, note when they are closed, and fail or take long on request."""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

SHELL_PROGRAMS = {
    "plain": "exec /bin/sleep {token}",
    "deaf": "trap '' TERM HUP INT; exec /bin/sleep {token}",
    "daemon": "setsid env -i /bin/sh -c '/bin/sleep {token} & exit' & exit",
    "grandchildren": "/bin/sh -c '/bin/sh -c \"/bin/sleep {token}; true\"; true'; true",
    "respawning": "trap '' TERM; while :; do setsid env -i /bin/sleep {token}; done",
    "stopped": "/bin/sleep {token} & sleep 0.2; kill -STOP $! $$",
    "many": "for i in 1 2 3 4 5 6 7 8; do setsid env -i /bin/sleep {token} & done",
}
"""Programs that a launcher may start. Each leaves at least one process whose last argument is the token."""


def launch(kind: str, token: str) -> subprocess.Popen[bytes]:
    """Start a process as launchers do: in a session of its own, with variables of its own."""
    program = SHELL_PROGRAMS[kind].format(token=token)
    return subprocess.Popen(["/bin/sh", "-c", program], env={"PATH": "/usr/bin:/bin"}, start_new_session=True)


class Recorded(gymnasium.Env[Any, Any]):
    """Ends after 10 steps, and adds a file to a folder when it is closed; ``fails`` says how it fails at step 3.

    Args:
        folder: where files are added.
        fails: the way to fail; none by default.
    """

    observation_space: spaces.Space[Any] = spaces.Box(-100.0, 100.0, (1,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(2)
    num_made: ClassVar[int] = 0

    def __init__(self, folder: str = "", fails: str = "") -> None:
        type(self).num_made += 1
        self.number = type(self).num_made
        self.folder = folder
        self.fails = fails

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.steps == 3 and self.fails:
            self.fail()
        return np.zeros(1, np.float32), 1.0, self.steps >= 10, False, {}

    def fail(self) -> None:
        match self.fails:
            case "raise":
                raise ValueError("the tower fell over")
            case "sys.exit":
                sys.exit(3)
            case "os._exit":
                os._exit(3)
            case "segfault":
                ctypes.string_at(0)
            case "hang":
                time.sleep(1000)
            case "hang in C":
                ctypes.PyDLL(None).sleep(1000)
            case "leak":
                self.kept = np.ones(150 << 17)
                time.sleep(1000)
            case "broken pipe":
                read_end, write_end = os.pipe()
                os.close(read_end)
                os.write(write_end, b"x")

    def close(self) -> None:
        Path(self.folder, f"closed-{self.number}").touch()


class Launches(Recorded):
    """Starts a process when it is made."""

    def __init__(self, kind: str, token: str, **recorded: Any) -> None:
        super().__init__(**recorded)
        launch(kind, token)


class LaunchesWhileClosing(Recorded):
    """Starts a process in ``close``."""

    def __init__(self, token: str, **recorded: Any) -> None:
        super().__init__(**recorded)
        self.token = token

    def close(self) -> None:
        super().close()
        launch("deaf", self.token)


class LaunchesAtExit(Recorded):
    """Starts a process in an exit handler, which also adds a file."""

    def __init__(self, token: str, **recorded: Any) -> None:
        super().__init__(**recorded)
        self.token = token
        atexit.register(self._leave)

    def _leave(self) -> None:
        Path(self.folder, "left").touch()
        launch("daemon", self.token)


class UsesMultiprocessing(Recorded):
    """Runs a child of each start method of ``multiprocessing`` in its first reset."""

    def reset(self, **named: Any) -> Any:
        for method in ("fork", "spawn"):
            process = multiprocessing.get_context(method).Process(target=os.getpid)
            process.start()
            process.join()
            assert process.exitcode == 0
        return super().reset(**named)


class TellsItsSignals(Recorded):
    """Writes the signal masks of the worker, of a program it executes, and of one that it starts, into the folder."""

    def reset(self, **named: Any) -> Any:
        status = Path("/proc/self/status").read_text()
        Path(self.folder, "worker").write_text(status)
        os.system(f"cat /proc/self/status > {self.folder}/system")
        with Path(self.folder, "popen").open("wb") as out:
            subprocess.run(["cat", "/proc/self/status"], stdout=out, check=True)
        return super().reset(**named)


class Terminating(Recorded):
    """Ends its simulator by ``terminate`` and ``wait``, once started in another session."""

    def reset(self, **named: Any) -> Any:
        simulator = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
        simulator.terminate()
        simulator.wait()
        return super().reset(**named)


class Slow(Recorded):
    """Takes its time, a number of seconds for each of making, reset and step; copy ``hangs`` hangs there instead.

    Args:
        making: seconds of making it.
        resetting: seconds of one reset.
        stepping: seconds of one step.
        hangs: the number of the copy that hangs, from 1.
    """

    def __init__(
        self, making: float = 0.0, resetting: float = 0.0, stepping: float = 0.0, hangs: int = 0, **recorded: Any
    ) -> None:
        super().__init__(**recorded)
        self.resetting, self.stepping, self.hangs = resetting, stepping, hangs
        self.wait(making)

    def wait(self, seconds: float) -> None:
        if seconds:
            time.sleep(1000 if self.number == self.hangs else seconds)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.wait(self.resetting)
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        self.wait(self.stepping)
        return super().step(action)


class FailsWhileMaking(Recorded):
    """Is made twice and not a third time."""

    def __init__(self, **recorded: Any) -> None:
        super().__init__(**recorded)
        if self.number > 2:
            raise ValueError("no licence for a third")


class UnsupportedObservation(Recorded):
    observation_space = spaces.Sequence(spaces.Discrete(3))


class RunsACommand(Recorded):
    """Runs a shell command when it is made, and steps slowly."""

    def __init__(self, command: str, **recorded: Any) -> None:
        super().__init__(**recorded)
        subprocess.run(["/bin/sh", "-c", command], check=True)

    def step(self, action: Any) -> Any:
        time.sleep(0.2)
        return super().step(action)
