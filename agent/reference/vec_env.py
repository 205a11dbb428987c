"""A family's tasks as a vectorised environment of stable-baselines3, in which each episode is a new training task.

Shapes: B environments, D observation width, n action width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from envs.family import Split
from envs.gymnasium.batch import WorkerTaskBatch
from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair


def observation_space(observation: ObservationSpec) -> spaces.Space[Any]:
    """Return the space of the observations that a worker sends: indices, vectors of unbounded numbers, or bytes."""
    if observation.kind is ObservationKind.DISCRETE:
        return spaces.Discrete(observation.size)
    if observation.kind is ObservationKind.IMAGE:
        return spaces.Box(0, 255, (observation.width,), np.uint8)
    return spaces.Box(-np.inf, np.inf, (observation.size,), np.float32)


def action_space(action: ActionSpec) -> spaces.Space[Any]:
    """Return the space of the agent's actions: indices, or numbers in [-1, 1], which the worker scales.

    The agent has no actions of choices and numbers. It gives a number per choice, of which the largest wins, and a
    number per number.
    """
    match action.kind:
        case ActionKind.DISCRETE:
            return spaces.Discrete(action.choices[0])
        case ActionKind.MULTI_DISCRETE:
            return spaces.MultiDiscrete(list(action.choices))
        case ActionKind.CONTINUOUS:
            return spaces.Box(-1.0, 1.0, (action.width,), np.float32)
        case ActionKind.MIXED:
            return spaces.Box(-1.0, 1.0, (action.num_choices + action.num_numbers,), np.float32)


def observations_of(observation: Tensor, described: ObservationSpec) -> NDArray[Any]:
    """Return observations [B, D] in the form of :func:`observation_space`: [B] int64 indices or [B, D]."""
    values: NDArray[Any] = observation.numpy()
    return values[:, 0].astype(np.int64) if described.kind is ObservationKind.DISCRETE else values


def actions_of(action: NDArray[Any], described: ActionSpec) -> Tensor:
    """Return the agent's actions as a worker takes them: int64 indices, or float32 in [-1, 1]."""
    if described.kind is ActionKind.MIXED:
        return _with_largest(np.asarray(action, np.float32), described)
    if described.kind is ActionKind.CONTINUOUS:
        return torch.from_numpy(np.clip(action, -1.0, 1.0).astype(np.float32))
    return torch.from_numpy(np.asarray(action, dtype=np.int64))


def _with_largest(action: NDArray[np.float32], described: ActionSpec) -> Tensor:
    """Return mixed actions [B, n]: the index of the largest number of each dimension of choices, then the numbers."""
    scores, numbers = np.split(action, [described.num_choices], axis=-1)
    dimensions = np.split(scores, np.cumsum(described.choices)[:-1], axis=-1)
    chosen = [dimension.argmax(-1).astype(np.float32) for dimension in dimensions]
    return torch.from_numpy(np.concatenate([np.stack(chosen, -1), np.clip(numbers, -1.0, 1.0)], axis=-1))


class TrainingTasks(VecEnv):
    """B environments of one family, stepped by one worker. An episode that ends is followed by a new training task.

    Args:
        tasks: the tasks, open in a worker.
        on_step: called after each step with the number of environment steps, B.
        first_task: index of the first training task.
    """

    def __init__(self, tasks: WorkerTaskBatch, *, on_step: Callable[[int], None], first_task: int = 0) -> None:
        self._tasks = tasks
        self._spaces: SpacePair = tasks.spaces
        self._on_step = on_step
        self._next_task = first_task
        self._active = torch.ones(tasks.num_trials, dtype=torch.bool)
        super().__init__(
            tasks.num_trials, observation_space(self._spaces.observation), action_space(self._spaces.action)
        )

    @property
    def next_task(self) -> int:
        """The index of the next training task."""
        return self._next_task

    def reset(self) -> NDArray[Any]:
        """Begin B new training tasks and return their first observations."""
        observation = self._tasks.begin(self._next_task, split=Split.TRAINING)
        self._next_task += self.num_envs
        return observations_of(observation, self._spaces.observation)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Send the actions to the worker."""
        self._tasks.step_begin(actions_of(actions, self._spaces.action), self._active)

    def step_wait(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], list[dict[str, Any]]]:
        """Return the results of the step; begin a new task in each row whose episode has ended."""
        transition = self._tasks.step_end()
        has_ended = (transition.terminated | transition.truncated).numpy()
        observation = transition.observation
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if has_ended.any():
            final = observations_of(transition.final_observation, self._spaces.observation)
            for row in np.flatnonzero(has_ended).tolist():
                # PPO of stable-baselines3 bootstraps a truncated episode from these two entries.
                infos[row] = {
                    "terminal_observation": final[row],
                    "TimeLimit.truncated": bool(transition.truncated[row]),
                }
                observation[row] = self._tasks.begin_row(row, self._next_task, split=Split.TRAINING)
                self._next_task += 1
        self._on_step(self.num_envs)
        reward: NDArray[Any] = transition.reward.numpy()
        return observations_of(observation, self._spaces.observation), reward, has_ended, infos

    def close(self) -> None:
        """Do nothing: the worker belongs to the caller."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return the attribute ``render_mode`` of the given environments, None; others do not exist.

        Raises:
            AttributeError: another attribute was asked for; the environments are in another process.
        """
        if attr_name != "render_mode":
            raise AttributeError(f"the environments of a worker have no attribute {attr_name!r} here")
        return [None for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raise: the environments are in another process.

        Raises:
            AttributeError: always.
        """
        del value, indices
        raise AttributeError(f"the attribute {attr_name!r} of a worker's environments cannot be set here")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Raise: the environments are in another process.

        Raises:
            AttributeError: always.
        """
        del args, indices, kwargs
        raise AttributeError(f"the method {method_name!r} of a worker's environments cannot be called here")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Return False for each environment, so that stable-baselines3 looks for no Monitor wrapper."""
        del wrapper_class
        return [False for _ in self._get_indices(indices)]

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Do nothing: the seed of each task is a part of the task."""
        del seed
        return [None] * self.num_envs
