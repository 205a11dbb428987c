"""Environments that behave, each with spaces or habits of its own."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

MODULE_GENERATOR = random.Random(0)


class Counter(gymnasium.Env[Any, Any]):
    """Observes (episode, step, action); an episode terminates after ``length`` steps, or truncates itself there."""

    observation_space: spaces.Space[Any] = spaces.Box(-1000.0, 1000.0, (3,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(3, start=5)

    def __init__(self, length: int = 4, *, ends_by: str = "terminated") -> None:
        self.length = length
        self.ends_by = ends_by
        self.episode = 0
        self.kept = np.zeros(3, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode = self.episode + 1 if seed is None else 0
        self.steps = 0
        self.options = options
        return self.observe(0), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        is_over = self.steps >= self.length
        terminated, truncated = is_over and self.ends_by != "truncated", is_over and self.ends_by != "terminated"
        return self.observe(action), float(self.steps), terminated, truncated, {}

    def observe(self, action: Any) -> Any:
        # The same array every time, as fast simulators do.
        self.kept[:] = (self.episode, self.steps, action)
        return self.kept


class OfContext(Counter):
    """Says which task it plays in ``info["context"]`` of every reset; every second seed has none."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = super().reset(seed=seed, options=options)
        self.first_seed = self.first_seed if seed is None else seed
        named = {"context": f"task {self.first_seed % 97}, episode {self.episode}"} if self.first_seed % 2 else {}
        return observation, {**info, **named}

    first_seed = 0


class SharedArray(Counter):
    """All environments of the process observe through one array."""

    array = np.zeros(3, np.float32)

    def __init__(self) -> None:
        super().__init__()
        self.kept = self.array
        self.number = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        answer = super().reset(seed=seed, options=options)
        if seed is not None:
            self.number = float(seed % 997)
        return answer

    def observe(self, action: Any) -> Any:
        self.kept[:] = self.number
        return self.kept


class GlobalNoise(Counter):
    """Draws from the global generators, as environments should not."""

    def observe(self, action: Any) -> Any:
        return np.array([random.random(), np.random.random(), self.np_random.random()], np.float32)  # noqa: NPY002


class SeedsGlobalNoise(GlobalNoise):
    """Seeds the global generators at each reset, which disturbs what other copies draw from them."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        return super().reset(seed=seed, options=options)


class IgnoresSeeds(Counter):
    """Is as noisy as it can be."""

    def observe(self, action: Any) -> Any:
        return np.random.default_rng().uniform(size=3).astype(np.float32)


class SeldomNoisy(Counter):
    """Replays but for a little noise that comes seldom."""

    def observe(self, action: Any) -> Any:
        return np.full(3, float(np.random.default_rng().uniform() < 0.02), np.float32)


class SamplesItsClassSpace(Counter):
    """Draws what it observes from the space of its class, which each reset seeds for all copies."""

    observation_space: spaces.Space[Any] = spaces.Dict({"a": spaces.Box(-1, 1, (3,)), "b": spaces.Discrete(3)})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.observation_space.seed(seed)
        return super().reset(seed=seed, options=options)

    def observe(self, action: Any) -> Any:
        return self.observation_space.sample()


class SharesGenerators(Counter):
    """Draws from generators of its class and of its module, which each reset makes anew for all copies."""

    class_generator = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        global MODULE_GENERATOR  # noqa: PLW0603
        MODULE_GENERATOR = random.Random(seed)
        type(self).class_generator = np.random.default_rng(seed)
        return super().reset(seed=seed, options=options)

    def observe(self, action: Any) -> Any:
        return np.float32([self.steps, self.class_generator.random(), MODULE_GENERATOR.random()])


class CountsItsCopies(Counter):
    """Numbers its copies, keeps a table that all of them fill, and observes neither."""

    count = 0
    table: ClassVar[dict[int, float]] = {}

    def __init__(self) -> None:
        super().__init__()
        CountsItsCopies.count += 1

    def observe(self, action: Any) -> Any:
        observed = self.table.setdefault(self.steps, float(np.sin(self.steps)))
        return np.full(3, observed, np.float32)


class HoldsInItsOwnForm(Counter):
    """Keeps a varied angle in radians, and an array that it is given as a list."""

    def __init__(self) -> None:
        super().__init__()
        self._radians = 0.0
        self.offsets = np.zeros(3)

    @property
    def angle(self) -> float:
        return self._radians

    @angle.setter
    def angle(self, degrees: float) -> None:
        self._radians = degrees * np.pi / 180

    def observe(self, action: Any) -> Any:
        return np.float32([self.steps, self._radians, self.offsets.sum()])


class ManySpaces(gymnasium.Env[Any, Any]):
    """Every supported part in one observation."""

    observation_space: spaces.Space[Any] = spaces.Dict(
        {
            "box": spaces.Box(-1, 1, (2, 2), np.float64),
            "index": spaces.Discrete(3, start=1),
            "pair": spaces.Tuple((spaces.MultiBinary(2), spaces.MultiDiscrete([2, 3]))),
        }
    )
    action_space: spaces.Space[Any] = spaces.MultiDiscrete([2, 4])

    def __init__(self, *, is_wrong: bool = False, nan_after: int | None = None) -> None:
        self.is_wrong = is_wrong
        self.nan_after = nan_after
        self.num_observed = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        assert action.shape == (2,)
        assert self.action_space.contains(action)
        return self.observe(is_wrong=self.is_wrong), float(action[0] * 10 + action[1]), False, False, {}

    def observe(self, *, is_wrong: bool = False) -> Any:
        is_nan = self.nan_after is not None and self.num_observed >= self.nan_after
        self.num_observed += 1
        return {
            "box": np.array([[0.5, -0.5], [np.nan if is_nan else 0.25, 1.0]]),
            "index": np.int64(0 if is_wrong else 2),
            "pair": (np.array([1, 0], np.int8), np.array([1, 2])),
        }


class BoxActions(Counter):
    """Rewards the sum of what it is given; checks that it lies within its space."""

    action_space: spaces.Space[Any] = spaces.Box(
        np.array([[0.0, -1.0]], np.float32), np.array([[10.0, np.inf]], np.float32), (1, 2), np.float32
    )

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        _, _, terminated, truncated, info = super().step(0)
        return self.observe(0), np.float64(action.sum()), terminated, truncated, info


class HugeActions(BoxActions):
    """Has the bounds of an action that is not bounded in fact."""

    def __init__(self, bound: str = "float32") -> None:
        super().__init__()
        number, dtype = {
            "float32": (np.finfo(np.float32).max, np.float32),
            "float64": (1e308, np.float64),
        }[bound]
        self.action_space = spaces.Box(-number, number, (1,), dtype)


class UnsignedObservation(Counter):
    """Observes 64-bit integers without a sign, which are small, or as large as they can be."""

    def __init__(self, kind: str = "box") -> None:
        super().__init__()
        self.kind = kind
        self.observation_space = {
            "box": spaces.Box(0, 2**64 - 1, (2,), np.uint64),
            "choices": spaces.MultiDiscrete(np.array([5, 6], np.uint64), dtype=np.uint64),
            "index": spaces.Discrete(6),
            "part": spaces.Dict({"choices": spaces.MultiDiscrete(np.array([5, 6], np.uint64), dtype=np.uint64)}),
        }[kind]

    def observe(self, action: Any) -> Any:
        numbers = np.array([self.steps, 2**64 - 1 if self.kind == "box" else self.steps + 1], np.uint64)
        return {"index": numbers[0], "part": {"choices": numbers}}.get(self.kind, numbers)


class ReadsFile(Counter):
    """Observes the numbers of a file when it is reset, or when it is made."""

    def __init__(self, file: str, *, when: str = "reset") -> None:
        super().__init__()
        self.file = file
        if when == "made":
            np.loadtxt(file)

    def observe(self, action: Any) -> Any:
        return np.loadtxt(self.file, dtype=np.float32)


class WritesFile(Counter):
    """Writes a file by a relative path, and observes how many files its folder holds."""

    def observe(self, action: Any) -> Any:
        Path("log.txt").write_text("begun")
        return np.full(3, len(list(Path.cwd().iterdir())), np.float32)


class ImageObservation(Counter):
    observation_space: spaces.Space[Any] = spaces.Box(0, 255, (4, 4, 1), np.uint8)

    def observe(self, action: Any) -> Any:
        return np.full((4, 4, 1), 7 * self.steps, np.uint8)


def short_mountain_car() -> gymnasium.Env[Any, Any]:
    """A function that makes a wrapped environment."""
    return gymnasium.wrappers.RescaleObservation(
        gymnasium.make("MountainCar-v0", max_episode_steps=7), np.float32(-1), np.float32(1)
    )


class ArrayReward(Counter):
    """Gives rewards as arrays of no dimension, which Gymnasium's interface does not allow."""

    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return (observation, np.array(reward), *rest)

    def observe(self, action: Any) -> Any:
        return super().observe(action).copy()


class AgedLibrary(Counter):
    """Observes through a library that is deprecated."""

    def observe(self, action: Any) -> Any:
        warnings.warn("old_library is deprecated; use new_library", DeprecationWarning, stacklevel=1)
        return super().observe(action).copy()


def wrapped_pendulum() -> gymnasium.Env[Any, Any]:
    """Return an environment with all wrappers of ``gymnasium.make``, the passive checker among them."""
    return gymnasium.make("Pendulum-v1")


def wrapped_array_reward() -> gymnasium.Env[Any, Any]:
    """Return an environment with a fault in a wrapper."""
    return TimeLimit(ArrayReward(), 10)


def wrapped_aged_library() -> gymnasium.Env[Any, Any]:
    """Return an environment with a deprecated library in a wrapper."""
    return TimeLimit(AgedLibrary(), 10)


class ManyNumbers(gymnasium.Env[Any, Any]):
    """Has float attributes of every kind: with and without an effect, overwritten by a reset, changed by play."""

    observation_space: spaces.Space[Any] = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(2)
    of_the_class = 2.0
    fixed = property(lambda self: 3.0)

    def __init__(self) -> None:
        self.push = -1.5
        self.unused = 4.0
        self.zero = 0.0
        self.whole = 2
        self.overwritten = 1.0
        self.brittle = 7.0
        self._private = 1.0
        self.place = 0.5

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.overwritten = 1.0
        self.place = 0.5
        self.num_steps = 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        if self.brittle != 7.0:
            raise ValueError("brittle must be 7")
        self.num_steps += 1
        self.place += self.push * self.overwritten + self.of_the_class * action + self._private + self.zero + self.whole
        return self.observe(), 0.0, False, self.num_steps >= 30, {}

    def observe(self) -> Any:
        return np.array([self.place], np.float32)
