"""Action masks: which choices an environment allows for its next action.

An environment gives a mask as ``info["action_mask"]`` of each reset and step, or as the part ``action_mask`` of a Dict
observation. The forms are those of ``space.sample(mask)``, and a flat array with a number per choice:

- Discrete: one number per choice, not 0 for a choice that is allowed.
- MultiDiscrete: a tuple of such arrays. MultiBinary: 0 or 1 for an element that is fixed, 2 for a free one.
- Tuple, Dict, OneOf: a tuple or dict of the masks of the parts; None, or no entry, allows everything.

Shapes: C choices, summed over the dimensions of choices.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .actions import Choice, Number, action_builder, action_values
from .faults import NonsenseError, summary
from .parts import ONE_OF, named_parts

KEY = "action_mask"


class MaskReader:
    """A reader of an environment's action masks.

    Args:
        observation_space: the environment's observation space.
        action_space: its action space.
    """

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self._space = action_space
        self.num_choices = num_choices(action_space)
        part: Any = observation_space.spaces.get(KEY) if isinstance(observation_space, spaces.Dict) else None
        is_array = isinstance(part, (spaces.Box, spaces.MultiBinary))
        self._is_observed = is_array and int(np.prod(part.shape)) == self.num_choices > 0

    def find(self, observation: Any, info: Any) -> Any:
        """Return the mask that came with an observation; None if there is none."""
        if self.num_choices == 0:
            return None
        mask = info.get(KEY) if info.__class__ is dict or isinstance(info, Mapping) else None
        if mask is None and self._is_observed and isinstance(observation, Mapping):
            mask = observation.get(KEY)
        return mask

    def write(self, mask: Any, out: Any) -> None:
        """Write a mask to ``out`` [C] bool; no mask allows everything.

        Raises:
            NonsenseError: the mask does not fit the action space.
        """
        if mask.__class__ is np.ndarray and mask.shape == out.shape and mask.dtype.kind in "biu":
            np.not_equal(mask, 0, out=out)
            return
        try:
            _write(self._space, mask, out)
        except (TypeError, ValueError, KeyError, IndexError) as error:
            found = f"the action mask does not fit the action space {self._space} ({self.num_choices} choices)"
            raise NonsenseError(f"{found}: {summary(mask)}.") from error

    def allows(self, mask: Any, action: Any) -> bool:
        """Return whether a mask allows each choice of an action; none, or one that does not fit, allows all.

        Args:
            mask: the mask that came with the last observation.
            action: an action in the structure of the action space.
        """
        if mask is None or self.num_choices == 0:
            return True
        allowed = self._allowed(mask)
        return allowed is None or bool(allowed[chosen_places(self._space, action)].all())

    def allows_nothing(self, mask: Any) -> bool:
        """Return whether a mask allows no choice at all; one that does not fit is another fault."""
        allowed = self._allowed(mask)
        return allowed is not None and not allowed.any()

    def _allowed(self, mask: Any) -> Any:
        """Return a mask as an array [C] bool; None if it does not fit."""
        allowed = np.ones(self.num_choices, np.bool_)
        try:
            self.write(mask, allowed)
        except NonsenseError:
            return None
        return allowed


def num_choices(space: Any) -> int:
    """Return C of an action space."""
    return sum(value.n for value in action_values(space) if isinstance(value, Choice))


def chosen_places(space: Any, action: Any, first: int = 0) -> list[int]:
    """Return the places in a mask [C] of the choices that an action takes.

    Args:
        space: the action space, or a part of it.
        action: the action, or that part of it.
        first: the place of the part's first choice.
    """
    if isinstance(space, ONE_OF):
        parts, (chosen, within) = named_parts(space), action
        before = sum(num_choices(part) for _key, part in parts[:chosen])
        return [first + int(chosen), *chosen_places(parts[chosen][1], within, first + len(parts) + before)]
    places: list[int] = []
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        for key, part in named_parts(space):
            places += chosen_places(part, action[key], first)
            first += num_choices(part)
        return places
    for value, number in zip(action_values(space), np.ravel(action), strict=True):
        if isinstance(value, Choice):
            places.append(first + int(number) - value.start)
            first += value.n
    return places


def _write(space: Any, mask: Any, out: Any) -> None:
    if mask is None or not len(out):
        out[:] = True
    elif isinstance(space, spaces.MultiBinary) and np.size(mask) * 2 == len(out):
        fixed = np.asarray(mask).ravel()
        out[0::2], out[1::2] = fixed != 1, fixed != 0
    elif isinstance(space, (spaces.Dict, spaces.Tuple, ONE_OF)) and isinstance(mask, (tuple, list, Mapping)):
        _write_parts(space, mask, out)
    else:
        flat = np.concatenate([np.ravel(part) for part in mask]) if isinstance(mask, (tuple, list)) else np.ravel(mask)
        if flat.shape != out.shape or flat.dtype.kind not in "biuf":
            raise ValueError("a mask has one number per choice")
        out[:] = flat != 0


def _write_parts(space: Any, masks: Any, out: Any) -> None:
    """Write the masks of the parts of a Tuple, Dict or OneOf."""
    parts = named_parts(space)
    if isinstance(masks, Mapping) != isinstance(space, spaces.Dict) or (
        isinstance(masks, (tuple, list)) and len(masks) != len(parts)
    ):
        raise ValueError("a mask has the structure of its space")
    first = 0
    if isinstance(space, ONE_OF):
        first = len(parts)
        out[:first] = True
    for key, part in parts:
        last = first + num_choices(part)
        _write(part, masks.get(key) if isinstance(masks, Mapping) else masks[key], out[first:last])
        first = last


def sample_allowed(space: Any, reader: MaskReader, mask: Any) -> Any:
    """Return a random action that a mask allows; without a mask, a sample of the space.

    Args:
        space: the action space, which is the source of random numbers.
        reader: a reader of the environment's masks.
        mask: the mask that came with the last observation; None allows everything.
    """
    if mask is None:
        return space.sample()
    allowed = np.ones(reader.num_choices, np.bool_)
    reader.write(mask, allowed)
    values = action_values(space)
    choices = [value for value in values if isinstance(value, Choice)]
    masks = np.split(allowed, np.cumsum([choice.n for choice in choices])[:-1])
    row: list[float] = [
        _random_choice(choice, of_choice, space) for choice, of_choice in zip(choices, masks, strict=True)
    ]
    row += [_random_number(value, space) for value in values if isinstance(value, Number)]
    return action_builder(space)(np.array(row, np.float64 if len(row) > len(choices) else np.int64))


def _random_choice(choice: Choice, allowed: Any, space: Any) -> int:
    places = np.flatnonzero(allowed) if allowed.any() else np.arange(choice.n)
    return choice.start + int(space.np_random.choice(places))


def _random_number(number: Number, space: Any) -> float:
    is_bounded = np.isfinite(number.high - number.low)
    drawn = space.np_random.uniform(number.low, number.high) if is_bounded else space.np_random.normal()
    return float(np.clip(drawn, number.low, number.high))


def step_as_masked(env: gymnasium.Env[Any, Any]) -> None:
    """Let ``env.step`` take an action that the last mask allows in place of the given one, if there is a mask.

    Gymnasium's checker samples its actions without regard to masks, and before it resets the environment. The action
    depends on the mask and the number of steps since the reset, so that an environment that replays still does.
    """
    reader, space = MaskReader(env.observation_space, env.action_space), copy.deepcopy(env.action_space)
    reset, step = env.reset, env.step
    last: dict[str, Any] = {"mask": None, "steps": 0}

    def take_mask(answer: Any, num_steps: int) -> Any:
        is_answer = isinstance(answer, tuple) and len(answer) >= 2
        last.update(mask=reader.find(answer[0], answer[-1]) if is_answer else None, steps=num_steps)
        return answer

    @functools.wraps(reset)
    def masked_reset(*args: Any, **kwargs: Any) -> Any:
        return take_mask(reset(*args, **kwargs), 0)

    @functools.wraps(step)
    def masked_step(action: Any) -> Any:
        if last["mask"] is not None:
            space.seed(last["steps"])
            action = sample_allowed(space, reader, last["mask"])
        return take_mask(step(action), last["steps"] + 1)

    if reader.num_choices > 0:
        with contextlib.suppress(Exception):  # a user's own __setattr__ may do anything
            env.reset, env.step = masked_reset, masked_step  # type: ignore[method-assign]
