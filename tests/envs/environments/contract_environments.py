"""Environments that break Gymnasium's contract, each in one way, from the first call on."""

from __future__ import annotations

import random
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Walk(gymnasium.Env[Any, Any]):
    """Keeps the contract: walks on a line from a random place, and is truncated after 15 steps."""

    observation_space: spaces.Space[Any] = spaces.Box(-100.0, 100.0, (2,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.num_steps = 0
        self.place = self.draw()
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.num_steps += 1
        self.place += self.move(action)
        return self.observe(), float(self.place), False, self.num_steps >= 15, {}

    def draw(self) -> float:
        return float(self.np_random.uniform(-1, 1))

    def move(self, action: Any) -> float:
        return float(action) - 1.0

    def observe(self) -> Any:
        return np.array([self.place, self.num_steps], np.float32)


class SeedIgnored(Walk):
    def draw(self) -> float:
        return float(np.random.default_rng().uniform(-1, 1))


class SeedIgnoredByItsOwnGenerator(Walk):
    """Has a generator of its own, which no reset seeds."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)

    def draw(self) -> float:
        return float(self.generator.uniform(-1, 1))


class UnseededLater(Walk):
    """Follows its seed in the first episode only: a reset without a seed makes a new generator."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.generator = np.random.default_rng(seed)
        return super().reset(seed=seed)

    def draw(self) -> float:
        return float(self.generator.uniform(-1, 1))


class KeepsItsPlace(Walk):
    """Begins each episode where the last one ended."""

    place = 0.0

    def draw(self) -> float:
        return self.place + float(self.np_random.uniform(-1, 1))


class DrawsFromGlobals(Walk):
    def move(self, action: Any) -> float:
        return random.random()


class SameForEverySeed(Walk):
    def draw(self) -> float:
        return 0.0


class OutsideItsSpace(Walk):
    def observe(self) -> Any:
        return np.array([self.place, 1000 * self.num_steps], np.float32)


class WrongDtype(Walk):
    def observe(self) -> Any:
        return super().observe().astype(np.float64)


class ReturnsAList(Walk):
    def observe(self) -> Any:
        return super().observe().tolist()


class NotFinite(Walk):
    def observe(self) -> Any:
        return np.array([self.place, np.nan if self.num_steps > 3 else 0.0], np.float32)


class WrongShape(Walk):
    def observe(self) -> Any:
        return np.zeros(3, np.float32)


class ChoicesOutside(Walk):
    observation_space = spaces.MultiDiscrete([3, 4])

    def observe(self) -> Any:
        return np.array([0, 4], np.int64)


class OneActionTooMany(Walk):
    """Declares three actions and knows two."""

    def move(self, action: Any) -> float:
        return (-1.0, 1.0)[action]


class ExclusiveBound(Walk):
    """Refuses the upper bound of its Box."""

    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def move(self, action: Any) -> float:
        assert (action < 1.0).all(), "the motor burns"
        return float(action[0])


class ExclusiveChoices(Walk):
    """Refuses the last choice of its second lever."""

    action_space = spaces.MultiDiscrete([2, 3])

    def move(self, action: Any) -> float:
        return float([1, 2][action[1]])


class RewardOnReset(Walk):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        observation, info = super().reset(seed=seed)
        return observation, 0.0, info


class RewardForInfo(Walk):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed)[0], 0.0


class OldReset(Walk):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed)[0]


class TakesNoSeed(Walk):
    def reset(self) -> Any:
        return super().reset()


class FourValues(Walk):
    def step(self, action: Any) -> Any:
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, truncated, info


class TerminatesByTime(Walk):
    def step(self, action: Any) -> Any:
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, truncated, False, info


class TerminatesByTimeLimit(Walk):
    def step(self, action: Any) -> Any:
        observation, reward, _, truncated, _ = super().step(action)
        return observation, reward, truncated, False, {"TimeLimit.truncated": truncated}


class InfoIsNone(Walk):
    def step(self, action: Any) -> Any:
        return (*super().step(action)[:4], None)


class InfoOfResetIsAList(Walk):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed)[0], []


class FlagIsNumber(Walk):
    def step(self, action: Any) -> Any:
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, 0, truncated, info


class RewardIsArray(Walk):
    def step(self, action: Any) -> Any:
        observation, _, *rest = super().step(action)
        return (observation, np.zeros(2), *rest)


class RewardOfNoDimension(Walk):
    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return (observation, np.array(reward), *rest)


class RewardIsHuge(Walk):
    def step(self, action: Any) -> Any:
        observation, _, *rest = super().step(action)
        return (observation, 1e300, *rest)


class RewardIsAHugeInteger(Walk):
    def step(self, action: Any) -> Any:
        observation, _, *rest = super().step(action)
        return (observation, 10**5000, *rest)


class Ambiguous:
    """An observation that has no truth value when it is compared, like a tensor of another library."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self.values, dtype)

    def __eq__(self, other: object) -> Any:
        return np.array([True, True])

    __hash__ = None  # type: ignore[assignment]


class ReturnsAnotherArray(Walk):
    def observe(self) -> Any:
        return Ambiguous(super().observe())


class MaskAllowsNothing(Walk):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed)[0], {"action_mask": np.ones(3, np.int8)}

    def step(self, action: Any) -> Any:
        return (*super().step(action)[:4], {"action_mask": np.zeros(3, np.int8)})


class MaskComesLate(Walk):
    def step(self, action: Any) -> Any:
        return (*super().step(action)[:4], {"action_mask": np.array([1, 1, 0], np.int8)})


class RewardIsNaN(Walk):
    def step(self, action: Any) -> Any:
        observation, _, *rest = super().step(action)
        return (observation, float("nan"), *rest)


class ChangesItsSpace(Walk):
    """Has more actions after its first reset."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        answer = super().reset(seed=seed)
        self.action_space = spaces.Discrete(4)
        return answer


class CloseRaises(Walk):
    def close(self) -> None:
        raise RuntimeError("the window is gone")


class OneClassState(Walk):
    """Keeps its place in its class, which all copies share."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        gymnasium.Env.reset(self, seed=seed)
        type(self).place = self.draw()
        self.num_steps = 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.num_steps += 1
        type(self).place += self.move(action)
        return self.observe(), float(self.place), False, self.num_steps >= 15, {}


class MaskedActions(Walk):
    """Forbids its first and its last action by a mask, and raises if they are taken."""

    action_space = spaces.Discrete(5)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed)[0], {"action_mask": np.array([0, 1, 1, 1, 0], np.int8)}

    def step(self, action: Any) -> Any:
        assert action in (1, 2, 3)
        return (*super().step(action)[:4], {"action_mask": np.array([0, 1, 1, 1, 0], np.int8)})


class MaskedPairs(Walk):
    """Forbids the first and the last choice of each of two dimensions by a mask, and raises if they are taken."""

    action_space = spaces.MultiDiscrete([3, 4])
    mask = (np.array([0, 1, 0], np.int8), np.array([0, 1, 1, 0], np.int8))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed)[0], {"action_mask": self.mask}

    def step(self, action: Any) -> Any:
        assert action[0] == 1
        assert action[1] in (1, 2)
        return (*super().step(action[1])[:4], {"action_mask": self.mask})


class ObservedMask(Walk):
    """Observes a mask that forbids its first and its last action, and raises if they are taken."""

    observation_space = spaces.Dict({"place": Walk.observation_space, "action_mask": spaces.MultiBinary(5)})
    action_space = spaces.Discrete(5)

    def observe(self) -> Any:
        return {"place": super().observe(), "action_mask": np.array([0, 1, 1, 1, 0], np.int8)}

    def step(self, action: Any) -> Any:
        assert action in (1, 2, 3)
        return super().step(action)


class TruncatedAtOnce(Walk):
    """Has episodes of one step."""

    def step(self, action: Any) -> Any:
        observation, reward, *_ = super().step(action)
        return observation, reward, False, True, {}


class ManyFaults(Walk):
    """Has numbers of another dtype, outside of their bounds and not finite, and no info."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed)[0], None

    def observe(self) -> Any:
        return np.array([1000.0, np.inf])
