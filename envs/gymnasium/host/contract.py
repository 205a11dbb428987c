"""The check of an environment against its contract: its spaces, its results, its seed, and its actions at the edges.

The check plays one task with one copy, some steps at a time, always with the same random actions:

1. actions at the edges of the action space,
2. twice with the same seed on one copy, and if these differ, with new copies,
3. with the same seed and other states of the global random generators, if they were used,
4. with another seed.
"""

from __future__ import annotations

import copy
import inspect
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from .attributes import fitting_attributes, set_attributes
from .check_actions import edge_actions, random_action, random_actions
from .faults import OutOfTimeError
from .inspection import BrokenResultError, Findings, Inspector
from .masks import KEY, MaskReader, sample_allowed
from .places import error_text
from .progress import Progress, Stage

SEED, OTHER_SEED = 1, 2

GLOBAL_SEED, OTHER_GLOBAL_SEED = 11, 12

MAX_DRAWS = 50
"""Actions that are drawn until an action mask allows one; then one is drawn from those that it allows."""


class ContractCheck:
    """A check of one task of a family.

    Args:
        make: makes a copy of the environment.
        close: closes a copy.
        task: the task's attributes and reset options.
        limit: steps after which an episode is truncated; None for no limit.
        progress: takes the call that is at work, for time-outs.
        max_steps: number of steps of one run.
        max_s: time after which the first run takes no further step; the other runs take as many steps.
        within_s: time after which the environment is not called any more.
    """

    def __init__(
        self,
        make: Callable[[], gymnasium.Env[Any, Any]],
        close: Callable[[gymnasium.Env[Any, Any]], None],
        *,
        task: dict[str, Any],
        limit: int | None,
        progress: Progress,
        max_steps: int,
        max_s: float,
        within_s: float,
    ) -> None:
        self._make_env, self._close_env = make, close
        self._task = task
        self._limit = limit
        self._progress = progress
        self._num_steps = max_steps
        self._max_s = max_s
        self._end = time.monotonic() + within_s
        self._is_replayed: bool | None = None
        self._findings = Findings()
        self._times = Times()
        self._has_mask = self._is_mask_read = False

    def check(self) -> dict[str, Any]:
        """Check the environment.

        Returns:
            ``findings``: the faults; ``is_replayed``: whether a seed and actions determine what happens; None if that
            is not known; ``has_mask``: whether actions are masked; ``times``: what making, resets and steps took;
            ``unchecked``: the parts for which no time was left.
        """
        self._env = self._make()
        parts = {"the actions at the edges of the action space": self._try_edges, "seeds": self._compare_seeds}
        unchecked = list(parts)
        try:
            self._check_arguments()
            for part in parts.values():
                part()
                unchecked.pop(0)
        except OutOfTimeError:
            pass
        except BrokenResultError:
            unchecked = []
        self._close(self._env)
        return {
            "findings": self._findings.to_json(),
            "is_replayed": self._is_replayed,
            "unchecked": unchecked,
            "has_mask": self._has_mask,
            "times": self._times.to_json(),
        }

    def _require_time(self) -> None:
        if time.monotonic() > self._end:
            raise OutOfTimeError

    def _make(self) -> gymnasium.Env[Any, Any]:
        self._progress.begin(Stage.MAKING, 0)
        begun = time.perf_counter()
        env = self._make_env()
        self._times.makings.append(time.perf_counter() - begun)
        self._attributes = fitting_attributes(env, self._task["attributes"])
        self._spaces = (env.observation_space, env.action_space)
        self._masks = MaskReader(*self._spaces)
        return env

    def _close(self, env: gymnasium.Env[Any, Any]) -> None:
        self._progress.begin(Stage.CHECKING, 0)
        try:
            self._close_env(env)
        except Exception as error:  # noqa: BLE001  (a user's code may raise anything)
            self._findings.note("close_failed", "close", f"{error_text(error)}.")

    def _reset(self, env: gymnasium.Env[Any, Any], seed: int | None) -> tuple[Any, Any]:
        """Reset a copy; return what was observed, as a fingerprint, and the action mask, None if there is none."""
        self._require_time()
        set_attributes(env, self._attributes)
        self._progress.begin(Stage.RESETTING, 0)
        begun = time.perf_counter()
        answer: Any = env.reset(seed=seed, options=self._task["reset_options"] or None)
        self._times.resets.append(time.perf_counter() - begun)
        inspector = Inspector(env, self._findings)
        inspector.inspect_spaces(self._spaces)
        observation, info = inspector.inspect_reset(answer)
        self._has_mask |= isinstance(info, dict) and KEY in info
        mask = self._masks.find(observation, info)
        self._is_mask_read = mask is not None
        self._inspect_mask(mask, "reset")
        return fingerprint(observation), mask

    def _step(self, env: gymnasium.Env[Any, Any], action: Any) -> tuple[Any, bool, Any]:
        """Step a copy; return the result as a fingerprint, whether the episode is over, and the action mask."""
        self._require_time()
        self._progress.begin(Stage.STEPPING, 0)
        begun, cpu_begun = time.perf_counter(), time.process_time()
        answer = env.step(action)
        self._times.add_step(time.perf_counter() - begun, time.process_time() - cpu_begun)
        observation, reward, terminated, truncated, info = Inspector(env, self._findings).inspect_step(answer)
        seen = (fingerprint(observation), repr(float(reward)), terminated, truncated)
        mask, is_over = self._masks.find(observation, info), terminated or truncated
        if not is_over:
            self._inspect_mask(mask, "step")
        return seen, is_over, mask

    def _inspect_mask(self, mask: Any, call: str) -> None:
        if mask is None:
            return
        if not self._is_mask_read:
            found = "a step gives an action mask, but the reset before it gave none: the mask is not read."
            self._findings.note("action_mask", call, found)
        elif self._masks.allows_nothing(mask):
            self._findings.note("action_mask", call, "the action mask allows no choice, so that all are allowed.")

    def _check_arguments(self) -> None:
        """Check that ``reset`` takes a seed and options.

        Raises:
            BrokenResultError: it does not.
        """
        parameters = inspect.signature(self._env.reset).parameters
        takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
        missing = [name for name in ("seed", "options") if name not in parameters and not takes_any]
        if missing:
            names = " and ".join(f"`{name}`" for name in missing)
            self._findings.note("old_interface", "reset", f"reset does not provide a {names} keyword argument.")
            raise BrokenResultError

    # Actions

    def _try_edges(self) -> None:
        """Step with each action at an edge of the action space, and note those that raise."""
        space = self._env.action_space
        is_over, mask, failed = True, None, list[tuple[str, Exception]]()
        for label, action in edge_actions(space):
            if is_over:
                _, mask = self._reset(self._env, SEED)
            if not self._masks.allows(mask, action):
                continue
            try:
                _, is_over, mask = self._step(self._env, action)
            except (BrokenResultError, OutOfTimeError):
                raise
            except Exception as error:  # noqa: BLE001  (a user's code may raise anything)
                failed.append((label, error))
                is_over = True
        if not failed:
            return
        if not self._runs_otherwise(space):
            raise failed[0][1]
        names = ", ".join(label for label, _ in failed[:8])
        found = f"{error_text(failed[0][1])} at the action {names}, which the action space {space} holds."
        self._findings.note("action_edge", "step", found)

    def _runs_otherwise(self, space: Any) -> bool:
        """Return whether other actions than those at the edges, or the edges that were good, can still be stepped."""
        generator = np.random.default_rng(0)
        for _ in range(8):
            _, mask = self._reset(self._env, SEED)
            action = random_action(space, generator)
            try:
                if self._masks.allows(mask, action):
                    self._step(self._env, action)
                    return True
            except (BrokenResultError, OutOfTimeError):
                raise
            except Exception:  # noqa: BLE001, S112  (another action may be good)
                continue
        return False

    # Seeds

    def _compare_seeds(self) -> None:
        """Compare runs of equal and of other seeds, unless actions at the edges failed."""
        if self._findings.has("action_edge"):
            return
        first, used = self._run(self._env, SEED, GLOBAL_SEED, max_s=self._max_s)
        self._num_steps = max(1, len(first) - 1)
        again, _ = self._run(self._env, SEED, GLOBAL_SEED)
        self._is_replayed = again == first
        if not self._is_replayed:
            self._explain_difference()
        elif used and self._run(self._env, SEED, OTHER_GLOBAL_SEED)[0] != first:
            found = f"its results depend on the global random generators ({', '.join(used)}), not on its seed alone."
            self._findings.note("global_random", "step", found)
            self._is_replayed = False
        elif self._run(self._env, OTHER_SEED, GLOBAL_SEED)[0] == first:
            found = f"other seeds give the same observations and rewards in {self._num_steps} steps."
            self._findings.note("seed_without_effect", "reset", found)

    def _explain_difference(self) -> None:
        """Note why two runs of one copy with the same seed and the same actions differ."""
        first, second = self._run_new(SEED), self._run_new(SEED)
        if second != first:
            where = difference_text(first, second)
            found = f"with the same seed and the same actions, two new copies behave differently, {where}."
            self._findings.note("seed_ignored", "reset", found)
        elif self._run_new(OTHER_SEED) == first:
            found = "a new copy behaves alike for every seed, and a second reset with one seed gives another result."
            self._findings.note("seed_ignored", "reset", found)
        else:
            found = "a reset with the same seed does not begin anew: something of the steps before remains."
            self._findings.note("reset_keeps_state", "reset", found)

    def _run_new(self, seed: int) -> list[Any]:
        env = self._make()
        seen, _ = self._run(env, seed, GLOBAL_SEED)
        self._close(env)
        return seen

    def _run(
        self, env: gymnasium.Env[Any, Any], seed: int, global_seed: int, *, max_s: float | None = None
    ) -> tuple[list[Any], list[str]]:
        """Play random actions; return the fingerprints, and the names of the global generators that were used.

        Episodes follow each other. The first entry is the first observation; each further one is a step, with the
        first observation of the next episode if one ended.
        """
        before = seed_globals(global_seed)
        end = None if max_s is None else time.monotonic() + max_s
        first, mask = self._reset(env, seed)
        seen, episode_steps = [first], 0
        draw = self._drawing(env.action_space)
        for _ in range(self._num_steps):
            if end is not None and len(seen) > 1 and time.monotonic() > end:
                break
            result, is_over, mask = self._step(env, draw(mask))
            episode_steps += 1
            if is_over or episode_steps == self._limit:
                begun, mask = self._reset(env, None)
                result, episode_steps = (*result, begun), 0
            seen.append(result)
        return seen, [name for name, state in global_states().items() if not same(state, before.get(name))]

    def _drawing(self, space: Any) -> Callable[[Any], Any]:
        """Return a function that draws the next random action that a mask allows, always the same ones."""
        actions = random_actions(space, 0)

        def draw(mask: Any) -> Any:
            for _ in range(MAX_DRAWS):
                if self._masks.allows(mask, action := next(actions)):
                    return action
            few = copy.deepcopy(space)
            few.seed(0)
            return sample_allowed(few, self._masks, mask)

        return draw


def difference_text(one: list[Any], other: list[Any]) -> str:
    """Return where two runs begin to differ; the first entry is the first observation, each further one a step."""
    pairs = enumerate(zip(one, other, strict=False))
    place = next((place for place, (left, right) in pairs if left != right), min(len(one), len(other)))
    return "from the first observation on" if place == 0 else f"from step {place} on"


class Times:
    """The durations of calls, in seconds."""

    def __init__(self) -> None:
        self.makings: list[float] = []
        self.resets: list[float] = []
        self._step_s = self._step_cpu_s = 0.0
        self._num_steps = 0

    def add_step(self, wall_s: float, cpu_s: float) -> None:
        """Add the time of one step."""
        self._step_s += wall_s
        self._step_cpu_s += cpu_s
        self._num_steps += 1

    def to_json(self) -> dict[str, float]:
        """Return means and extremes; without those of calls that were not made."""
        found: dict[str, float] = {}
        if self.makings:
            found["make_s"] = sum(self.makings) / len(self.makings)
        if self.resets:
            found |= {"reset_s": sum(self.resets) / len(self.resets), "slowest_reset_s": max(self.resets)}
        if self._num_steps:
            found |= {"step_s": self._step_s / self._num_steps, "step_cpu_s": self._step_cpu_s / self._num_steps}
        return found


def seed_globals(seed: int) -> dict[str, Any]:
    """Seed the global random generators and return their states."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
    return global_states()


def global_states() -> dict[str, Any]:
    """Return the states of the global random generators by the names of their packages."""
    states: dict[str, Any] = {"random": random.getstate(), "numpy.random": np.random.get_state()}  # noqa: NPY002
    if "torch" in sys.modules:
        states["torch"] = sys.modules["torch"].get_rng_state().numpy().tobytes()
    return states


def same(one: Any, other: Any) -> bool:
    """Return whether two states of generators are equal."""
    return bool(fingerprint(one) == fingerprint(other))


def fingerprint(value: Any) -> Any:
    """Return a value of an observation in a form that can be compared."""
    if isinstance(value, np.ndarray):
        return (value.shape, value.tobytes())
    if hasattr(value, "__array__"):
        return fingerprint(np.asarray(value))
    if isinstance(value, dict):
        return tuple((key, fingerprint(part)) for key, part in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(fingerprint(part) for part in value)
    return repr(value)
