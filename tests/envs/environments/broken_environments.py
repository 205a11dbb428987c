"""Environments that misbehave, each in one way, after ``calm_steps`` good steps of one environment."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces


class Calm(gymnasium.Env[Any, Any]):
    """Behaves: observes its step number in every coordinate, ends after 10 steps."""

    observation_space: spaces.Space[Any] = spaces.Box(-100.0, 100.0, (3,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def __init__(self, calm_steps: int = 2) -> None:
        self.calm_steps = calm_steps
        self.total_steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode_steps = 0
        return np.zeros(3, np.float32), {}

    def step(self, action: Any) -> Any:
        self.episode_steps += 1
        self.total_steps += 1
        result = (np.full(3, self.episode_steps, np.float32), 1.0, self.episode_steps >= 10, False, {})
        return result if self.total_steps <= self.calm_steps else self.misbehave(result)

    def misbehave(self, result: tuple[Any, ...]) -> Any:
        return result


class Raises(Calm):
    def misbehave(self, result: tuple[Any, ...]) -> Any:
        raise ValueError("the tower fell over")


class RaisesWithATraceback(Calm):
    """Raises what another process of its own raised, with its traceback."""

    def misbehave(self, result: tuple[Any, ...]) -> Any:
        remote = 'Traceback (most recent call last):\n  File "wheel.py", line 3\nValueError: the wheel came off\n'
        raise RuntimeError(f"the simulator failed:\n{remote}")


class Prints(Calm):
    """Prints what few encodings have."""

    def step(self, action: Any) -> Any:
        sys.stdout.write("\u2713 \u540d \udc80\n")
        sys.stderr.write("\u2713 \u540d \udc80\n")
        return super().step(action)


class RaisesAtOnce(Calm):
    def step(self, action: Any) -> Any:
        raise ValueError("the tower fell over")


class RaisesWhileResetting(Calm):
    def reset(self, **_: Any) -> Any:
        raise ValueError("no tower to build")


class ResetsWhileMaking(RaisesWhileResetting):
    def __init__(self) -> None:
        super().__init__()
        self.reset()


class RaisesWhileMaking(Calm):
    def __init__(self) -> None:
        raise FileNotFoundError("blueprint.xml")


class CallsSysExit(Calm):
    def misbehave(self, result: tuple[Any, ...]) -> Any:
        sys.exit(3)


class CallsOsExit(Calm):
    def misbehave(self, result: tuple[Any, ...]) -> Any:
        os._exit(7)


class ReplacesJson(Calm):
    """Replaces functions that the worker's host program uses too."""

    def __init__(self) -> None:
        super().__init__()
        json.dumps = json.loads = lambda *_, **__: "{}"
        os.read = os.write = lambda *_: b""


class AsksAPerson(Calm):
    def misbehave(self, result: tuple[Any, ...]) -> Any:
        return input("go on? ")


class RaisesALongText(Calm):
    def misbehave(self, result: tuple[Any, ...]) -> Any:
        raise ValueError("x" * 100_000)


class KillsItself(Calm):
    def misbehave(self, result: tuple[Any, ...]) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


class Segfaults(Calm):
    def misbehave(self, result: tuple[Any, ...]) -> Any:
        ctypes.string_at(0)


class Hangs(Calm):
    def misbehave(self, result: tuple[Any, ...]) -> Any:
        time.sleep(1000)


class HangsUninterruptibly(Calm):
    """Holds the interpreter's lock and ignores SIGTERM."""

    def misbehave(self, result: tuple[Any, ...]) -> Any:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sum(10**9 for _ in iter(int, 1))


class HangsWhileMaking(Calm):
    def __init__(self) -> None:
        time.sleep(1000)


class HangsWhileClosing(Calm):
    def close(self) -> None:
        time.sleep(1000)


class Leaks(Calm):
    """Holds 20 MiB more after each step."""

    kept: ClassVar[list[Any]] = []

    def misbehave(self, result: tuple[Any, ...]) -> Any:
        self.kept.append(np.ones(20 << 17))
        time.sleep(0.01)
        return result


class AllocatesTooMuch(Calm):
    def misbehave(self, result: tuple[Any, ...]) -> Any:
        return np.ones(1 << 36)


class ChildLeaks(Calm):
    """A process that it starts takes the memory."""

    def misbehave(self, result: tuple[Any, ...]) -> Any:
        program = "import time; kept = bytearray(b'x') * (400 << 20); time.sleep(1000)"
        subprocess.Popen([sys.executable, "-S", "-c", program])
        time.sleep(1000)


class LeavesChild(Calm):
    """Starts a process that outlives it, and exits."""

    def misbehave(self, result: tuple[Any, ...]) -> Any:
        subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1000)"], close_fds=False)
        os._exit(0)


class PrintsMegabytes(Calm):
    def step(self, action: Any) -> Any:
        print("out" * 100_000, flush=True)  # noqa: T201
        print("err" * 100_000, file=sys.stderr, flush=True)  # noqa: T201
        os.write(1, b"raw\n" * 10_000)
        return super().step(action)


class Returns(Calm):
    """Replaces one part of what ``step`` returns."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def misbehave(self, result: tuple[Any, ...]) -> Any:
        observation, reward, terminated, truncated, info = result
        changed: dict[str, Any] = {
            "nan observation": (np.array([0, np.nan, 0], np.float32), reward, terminated, truncated, info),
            "infinite observation": (np.array([0, np.inf, 0], np.float32), reward, terminated, truncated, info),
            "observation beyond float32": (np.full(3, 1e300), reward, terminated, truncated, info),
            "shape": (np.zeros(4, np.float32), reward, terminated, truncated, info),
            "scalar observation": (1.0, reward, terminated, truncated, info),
            "text observation": (np.array(["a", "b", "c"]), reward, terminated, truncated, info),
            "no observation": (None, reward, terminated, truncated, info),
            "nan reward": (observation, float("nan"), terminated, truncated, info),
            "reward array": (observation, np.zeros(1), terminated, truncated, info),
            "no reward": (observation, None, terminated, truncated, info),
            "text reward": (observation, "1.0", terminated, truncated, info),
            "terminated number": (observation, reward, 0.5, truncated, info),
            "truncated array": (observation, reward, terminated, np.zeros(2, bool), info),
            "four values": (observation, reward, terminated, info),
            "nothing": None,
        }
        return changed[self.kind]


class IndexOutOfRange(Calm):
    observation_space = spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return 0, {}

    def step(self, action: Any) -> Any:
        self.total_steps += 1
        return (4 if self.total_steps > 2 else 3), 0.0, False, False, {}


class ResetsWithoutInfo(Calm):
    def reset(self, **_: Any) -> Any:
        return np.zeros(3, np.float32)


class EndsLate(Calm):
    """Ends an episode after some seconds, however many steps they hold."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.begun = time.monotonic()
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        return np.zeros(3, np.float32), 0.0, time.monotonic() - self.begun > self.seconds, False, {}


class EndsAtTimes(Calm):
    """Ends one episode of the first copy, and no other episode."""

    copies = 0

    def __init__(self) -> None:
        super().__init__()
        EndsAtTimes.copies += 1
        self.number = self.copies

    def step(self, action: Any) -> Any:
        time.sleep(0.001)
        self.episode_steps += 1
        return np.zeros(3, np.float32), 0.0, self.number == 1 and self.episode_steps >= 5, False, {}


class NoMetadata(Calm):
    """Passes every check of learnd's own, and Gymnasium's checker refuses it."""

    metadata = None


class OutOfBounds(Calm):
    """Begins far outside of the bounds of its observations."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        _, info = super().reset(seed=seed)
        return np.full(3, 1000.0, np.float32), info


class SequenceObservation(Calm):
    observation_space = spaces.Sequence(spaces.Discrete(3))


class UnboundedPart(Calm):
    observation_space = spaces.Dict({"image": spaces.Box(0, 1, (2,)), "mission": spaces.Sequence(spaces.Discrete(3))})


class NestedUnboundedPart(Calm):
    observation_space = spaces.Dict(
        {"image": spaces.Box(0, 1, (2,)), "told": spaces.Tuple((spaces.Sequence(spaces.Discrete(3)),))}
    )


def make_vectorised() -> Any:
    return gymnasium.make_vec("CartPole-v1", num_envs=2)


class LargeObservation(Calm):
    observation_space = spaces.Box(0, 255, (210, 160, 13), np.uint8)


class TextAction(Calm):
    action_space = spaces.Text(5)


class NotAnEnvironment:
    """Has the methods of the old gym package."""

    def reset(self) -> Any:
        return np.zeros(3)


class Endless(Calm):
    def step(self, action: Any) -> Any:
        time.sleep(0.001)
        return np.zeros(3, np.float32), 0.0, False, False, {}


class LeavesAChildInASessionOfItsOwn(Calm):
    """Starts a process that leaves session and group, writes its pid to a file, and then raises."""

    def __init__(self, pid_file: str) -> None:
        super().__init__()
        self._pid_file = pid_file

    def misbehave(self, result: tuple[Any, ...]) -> Any:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        Path(self._pid_file).write_text(str(child.pid))
        raise ValueError("left a child behind")
