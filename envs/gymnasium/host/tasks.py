"""Copies of the environment, one for each task, stepped together."""

from __future__ import annotations

import itertools
import math
import mmap
import random
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .actions import action_rows
from .attributes import fitting_attributes, is_same, set_attributes
from .contexts import context_digest
from .faults import NonsenseError, SpecError, summary
from .generators import NOTHING_YET, OwnGenerators, SharedGenerators
from .making import Maker
from .masks import MaskReader
from .observations import form_of
from .places import value_place
from .progress import Progress, Stage
from .spaces import NUMBER_KINDS, shared_properties

REWARD_CLASSES = frozenset({float, int, bool, np.float64, np.float32, np.int64, np.int32, np.bool_})

FLAG_CLASSES = frozenset({bool, np.bool_})


class Tasks:
    """A set of B running tasks: their environments and the shared arrays of actions and results."""

    def __init__(self, maker: Maker, env: gymnasium.Env[Any, Any], configuration: dict[str, Any]) -> None:
        self._maker = maker
        self._envs = [env]
        self._shared_generators: SharedGenerators | None = None
        self.progress = Progress([0, 0, 0])
        self.limit: int | None = configuration["max_episode_steps"]
        if not self.limit:
            self.limit = maker.spec_limit
        self._observation_space = env.observation_space
        self._actions_of = action_rows(env.action_space)
        self._masks = MaskReader(env.observation_space, env.action_space)
        self.has_masks = False
        self._first_spaces = {
            "observation": (str(env.observation_space), self._properties(env, "observation")),
            "action": (str(env.action_space), self._properties(env, "action")),
        }
        form = form_of(env.observation_space, image_size=configuration.get("image_size", 0))
        self._write, self._is_finite_always = form.write, form.is_finite_always
        self._row_lengths = frozenset({form.width})

    def open(self, memory: mmap.mmap, num_tasks: int, layout: dict[str, list[Any]]) -> None:
        """Create the arrays over the shared memory.

        Args:
            memory: the shared memory.
            num_tasks: B.
            layout: name → [offset, dtype, shape] of each array.
        """
        arrays = {
            name: np.frombuffer(memory, dtype=dtype, count=math.prod(shape), offset=offset).reshape(shape)
            for name, (offset, dtype, shape) in layout.items()
        }
        self._num_tasks = num_tasks
        self.progress.cells = memoryview(memory)[layout["progress"][0] :][: 3 * 8].cast("q")
        self._action, self._active, self._allowed = arrays["action"], arrays["active"], arrays["allowed"]
        self._observation, self._final_observation = arrays["observation"], arrays["final_observation"]
        self._reward, self._terminated, self._truncated = arrays["reward"], arrays["terminated"], arrays["truncated"]
        self.has_ends = False

    def begin(self, tasks: list[dict[str, Any]], *, own_generators: bool = False) -> None:
        """Reset every environment to its task. If a task has keyword arguments, make new environments.

        Args:
            tasks: at most B tasks; the remaining rows have no task.
            own_generators: give each row its own state of the random generators that copies share, so that drawing in
                one row does not change the values drawn in another.
        """
        seeds = [task["seed"] for task in tasks]
        # With this, environments that draw from the global generators replay too.
        random.seed(seeds[0])
        np.random.seed(seeds[0])  # noqa: NPY002
        self._make_envs([task["kwargs"] for task in tasks])
        begun = self._envs[: len(tasks)]
        self._steps: list[Callable[..., Any]] = [env.step for env in begun]
        self._resets: list[Callable[..., Any]] = [env.reset for env in begun]
        if own_generators:
            self._give_own_generators(begun, seeds)
        self._options = [task["reset_options"] or None for task in tasks]
        self.contexts: list[str | None] = [None] * len(tasks)
        self._labels = [task.get("label", f"the task in row {row}") for row, task in enumerate(tasks)]
        self._checked_spaces: list[tuple[Any, Any]] = [(None, None)] * len(tasks)
        self._attributes = [fitting_attributes(env, task["attributes"]) for env, task in zip(begun, tasks, strict=True)]
        self._clock = 0
        self._ends_at = [self.limit] * self._num_tasks
        self._terminated[:] = False
        self._truncated[:] = False
        self._reward[:] = 0.0
        self._active_bytes = b""
        self._final_observation[:] = 0.0
        self._allowed[:] = True
        self.has_masks = False
        first = []
        for row, seed in enumerate(seeds):
            first.append(self._reset(row, seed))
            self._put(row, first[row], self._observation)
        self._is_joinable = self._are_vectors_apart(first)
        self._check_observations(self._observation)

    def _give_own_generators(self, envs: list[gymnasium.Env[Any, Any]], seeds: list[int]) -> None:
        """Give each row its own state of the shared random generators in its resets and steps."""
        if self._shared_generators is None:
            self._shared_generators = SharedGenerators(envs)
        generators = [OwnGenerators(seed, self._shared_generators) for seed in seeds]
        self._steps = [own.during(step) for own, step in zip(generators, self._steps, strict=True)]
        self._resets = [own.during(reset) for own, reset in zip(generators, self._resets, strict=True)]

    def begin_row(self, row: int, task: dict[str, Any]) -> None:
        """Begin another task in one row, while the other rows go on.

        The global random generators keep their states, because the other rows draw from them too.

        Args:
            row: a row in which a task was begun before.
            task: the new task. If it has keyword arguments, the row gets a new environment.
        """
        if task["kwargs"]:
            self.progress.begin(Stage.RESETTING, row)
            self._maker.close(self._envs[row])
            self.progress.begin(Stage.MAKING, row)
            self._envs[row] = self._maker(task["kwargs"])
            self._is_joinable = False  # the observations of the new environment may overlap with those of another
        env = self._envs[row]
        self._steps[row], self._resets[row] = env.step, env.reset
        self._options[row], self._labels[row] = task["reset_options"] or None, task["label"]
        self._attributes[row] = fitting_attributes(env, task["attributes"])
        self._ends_at[row] = None if self.limit is None else self._clock + self.limit
        self._put(row, self._reset(row, task["seed"]), self._observation)
        self._check_observations(self._observation)

    def _are_vectors_apart(self, observations: list[Any]) -> bool:
        """Return whether all rows can be copied in one call after all have stepped.

        This needs vectors of which no two overlap in memory.
        """
        space = self._observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            return False
        if not all(isinstance(array, np.ndarray) and array.flags.c_contiguous for array in observations):
            return False
        ranges = sorted((array.ctypes.data, array.ctypes.data + array.nbytes) for array in observations)
        return all(before[1] <= after[0] for before, after in itertools.pairwise(ranges))

    def _make_envs(self, kwargs: list[dict[str, Any]]) -> None:
        if any(kwargs):
            for row, env in enumerate(self._envs):
                self.progress.begin(Stage.RESETTING, row)
                self._maker.close(env)
            self._envs = []
        self._envs = [env for env in self._envs if self._maker.is_open(env)]
        while len(self._envs) < len(kwargs):
            row = len(self._envs)
            self.progress.begin(Stage.MAKING, row)
            self._envs.append(self._maker(kwargs[row]))

    @staticmethod
    def _properties(env: gymnasium.Env[Any, Any], name: str) -> dict[str, Any]:
        if name == "observation":
            return shared_properties(env.observation_space, "observation", with_bounds=False)
        return shared_properties(env.action_space, "action", with_bounds=True)

    def _check_spaces(self, row: int) -> None:
        """Raise if a task's spaces differ from those of the family's first task.

        Raises:
            SpecError: a property of a space differs.
        """
        env = self._envs[row]
        for name, (first, admitted) in self._first_spaces.items():
            present = self._properties(env, name)
            if present == admitted:
                continue
            differing = next(key for key in {**admitted, **present} if present.get(key) != admitted.get(key))
            found = (
                f"{self._labels[row]} has the {name} space {getattr(env, f'{name}_space')}, but the first task "
                f"has {first}: {differing} is {present.get(differing)}, and it was {admitted.get(differing)}."
            )
            hint = (
                "All tasks of a family share their spaces: vary something else, or wrap the environment so that "
                "its spaces stay equal (gymnasium.wrappers.RescaleAction does so for bounds of actions)."
            )
            raise SpecError(found[:1500], hint)
        self._checked_spaces[row] = (env.observation_space, env.action_space)

    def _reset(self, row: int, seed: int | None) -> Any:
        env = self._envs[row]
        self.progress.begin(Stage.RESETTING, row)
        if self._attributes[row]:
            set_attributes(env, self._attributes[row])
        answer: Any = self._resets[row](seed=seed, options=self._options[row])
        self.progress.begin(Stage.STEPPING, row)
        checked_observation, checked_action = self._checked_spaces[row]
        if (
            seed is not None
            or env.observation_space is not checked_observation
            or env.action_space is not checked_action
        ):
            self._check_spaces(row)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise NonsenseError(f"reset should return (observation, info), but it returned {summary(answer)}.")
        if seed is not None:
            self.contexts[row] = context_digest(answer[1])
        mask = self._masks.find(*answer)
        # A family whose tasks begin without masks has none: the trainer asks for them from the beginning or never.
        self.has_masks |= seed is not None and mask is not None
        if self.has_masks:
            self._masks.write(mask, self._allowed[row])
        return answer[0]

    def undone(self) -> dict[str, list[str]]:
        """Return the varied attributes whose value is not the task's: name → [drawn value, present value].

        A value that the environment converts to its own form when it is set counts as the task's value.
        """
        found: dict[str, list[str]] = {}
        for env, attributes in zip(self._envs, self._attributes, strict=False):
            for name, drawn in attributes.items():
                present = getattr(env.unwrapped, name)
                if is_same(present, drawn):
                    continue
                set_attributes(env, {name: drawn})
                if not is_same(present, getattr(env.unwrapped, name)):
                    found.setdefault(name, [repr(drawn)[:100], repr(present)[:100]])
        return found

    def step(self) -> None:
        """Step every active environment once."""
        if self.has_ends:
            self._terminated[:] = False
            self._truncated[:] = False
            self.has_ends = False
        self._clock = clock = self._clock + 1
        active_bytes = self._active.tobytes()
        if active_bytes != self._active_bytes:
            self._active_bytes = active_bytes
            self._rows = np.flatnonzero(self._active).tolist()
            self._reward[:] = 0.0
        observations, rewards = self._step_rows(clock, self._actions_of(self._action))
        self._put_rewards(rewards)
        self._put_observations(observations)

    def _step_rows(self, clock: int, actions: list[Any]) -> tuple[list[Any], list[Any]]:
        """Step the active rows and return their observations and rewards.

        The trainer waits for this loop, so results are checked and copied afterwards, for all rows at once.
        """
        steps, ends_at, progress = self._steps, self._ends_at, self.progress.cells
        observations: list[Any] = []
        rewards: list[Any] = []
        keep_observation = observations.append if self._is_joinable else self._putter()
        keep_reward = rewards.append
        answer: Any = NOTHING_YET
        has_masks, masks, allowed = self.has_masks, self._masks, self._allowed
        try:
            for row in self._rows:
                progress[0] = row
                answer = observation, reward, terminated, truncated, info = steps[row](actions[row])
                keep_reward(reward)
                if has_masks:
                    masks.write(masks.find(observation, info), allowed[row])
                if terminated is not False or truncated is not False or ends_at[row] == clock:
                    observation = self._end_episode(row, observation, terminated, truncated)
                keep_observation(observation)
        except (TypeError, ValueError) as error:
            if answer is NOTHING_YET or (isinstance(answer, tuple) and len(answer) == 5):
                raise
            hint = " (4 values are the old gym interface)" if isinstance(answer, tuple) and len(answer) == 4 else ""
            found = f"step should return 5 values, but it returned {summary(answer)}{hint}."
            raise NonsenseError(found) from error
        return observations, rewards

    def _putter(self) -> Callable[[Any], None]:
        """Return a function that copies each row's observation immediately, for rows that cannot be copied together."""
        rows, put, out = iter(self._rows), self._put, self._observation

        def put_next(observation: Any) -> None:
            put(next(rows), observation, out)

        return put_next

    def _put_rewards(self, rewards: list[Any]) -> None:
        if not REWARD_CLASSES.issuperset(map(type, rewards)):
            rewards = [checked_reward(reward) for reward in rewards]
        if len(rewards) == self._num_tasks:
            self._reward[:] = rewards
        else:
            self._reward[self._rows] = rewards
        if not math.isfinite(float(np.add.reduce(self._reward))):
            self._check_finite(self._reward, "reward")

    def _put_observations(self, observations: list[Any]) -> None:
        if self._is_joinable and not self._join(observations):
            for row, observation in zip(self._rows, observations, strict=True):
                self._put(row, observation, self._observation)
        if self._is_finite_always:
            return
        if not math.isfinite(float(np.add.reduce(self._observation, axis=None))):
            self._check_observations(self._observation)
        if self.has_ends:
            self._check_observations(self._final_observation)

    def _join(self, observations: list[Any]) -> bool:
        """Copy all rows' vectors in one call.

        Returns:
            False if they are not all vectors of numbers of the right length; they must then be copied one by one.
        """
        try:
            if not self._row_lengths.issuperset(map(len, observations)):
                return False
            if len(observations) == self._num_tasks:
                np.concatenate(observations, out=self._observation.reshape(-1))
            elif observations:
                self._observation[self._rows] = np.concatenate(observations).reshape(len(observations), -1)
        except (TypeError, ValueError):
            return False
        return True

    def _end_episode(self, row: int, observation: Any, terminated: Any, truncated: Any) -> Any:
        """Record how the episode ended, if it did, and return the observation for the next action."""
        if terminated.__class__ not in FLAG_CLASSES or truncated.__class__ not in FLAG_CLASSES:
            name, flag = ("truncated", truncated) if isinstance(terminated, bool) else ("terminated", terminated)
            raise NonsenseError(f"{name} should be True or False, but it is {summary(flag)}.")
        if not (terminated or truncated or self._ends_at[row] == self._clock):
            return observation
        self.has_ends = True
        self._terminated[row] = bool(terminated)
        self._truncated[row] = not terminated
        self._put(row, observation, self._final_observation)
        if self.limit is not None:
            self._ends_at[row] = self._clock + self.limit
        return self._reset(row, None)

    def _put(self, row: int, observation: Any, out: Any) -> None:
        self._write(observation, out[row])

    def _check_observations(self, values: Any) -> None:
        if not self._is_finite_always:
            self._check_finite(values, "observation")

    def _check_finite(self, values: Any, name: str) -> None:
        """Raise if a number of any copy is not finite; name the first one, [B] or [B, D]."""
        faulty = ~np.isfinite(values)
        if not faulty.any():
            return
        row, *position = (int(index) for index in np.argwhere(faulty)[0])
        place = value_place(self._observation_space, position[0], name) if position else name
        others = f" ({int(faulty[row].sum())} of its {values.shape[1]} numbers are not finite)" if position else ""
        raise NonsenseError(
            f"{name} holds NaN or infinity, or a number beyond the range of float32: {place} of copy {row + 1} "
            f"is {float(values[(row, *position)])}{others}."
        )


def checked_reward(reward: Any) -> float:
    """Return a reward of an unusual class as a number.

    Raises:
        NonsenseError: it is not a number.
    """
    array = np.asarray(reward)
    if array.ndim != 0 or array.dtype.kind not in NUMBER_KINDS:
        raise NonsenseError(f"reward should be a number, but it is {summary(reward)}.")
    return float(array)
