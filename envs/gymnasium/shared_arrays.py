"""The arrays in the memory that the trainer shares with a worker: observations, actions and results of B copies.

:mod:`envs.gymnasium.host` describes what each array holds.
"""

from __future__ import annotations

import numpy as np

from envs.spaces import ActionKind, ObservationKind, SpacePair

ALIGNMENT = 64
"""Bytes; each array begins at a multiple of it."""

MAX_IMAGE_BYTES = 256 << 20
"""Bytes of the observations of a trial batch with images, if every trial has its largest length."""

USUAL_STEPS = 1000
"""Steps of an episode that no limit is known of, to tell how many trials with images fit."""

FEWEST_TRIALS = 4

_ACTION_TYPES = {
    ActionKind.DISCRETE: "int64",
    ActionKind.MULTI_DISCRETE: "int64",
    ActionKind.CONTINUOUS: "float32",
    ActionKind.MIXED: "float64",
}
"""The types of the actions in shared memory. float64 holds every index that an environment may count from."""


def memory_layout(spaces: SpacePair, num_trials: int) -> tuple[dict[str, tuple[int, str, list[int]]], int]:
    """Return the layout of the arrays in the shared memory.

    Returns:
        Name → (offset in bytes, dtype, shape), and the total size in bytes.
    """
    action_dtype = _ACTION_TYPES[spaces.action.kind]
    wanted = (
        ("action", action_dtype, [num_trials, spaces.action.width]),
        ("observation", spaces.observation.dtype, [num_trials, spaces.observation.width]),
        ("final_observation", spaces.observation.dtype, [num_trials, spaces.observation.width]),
        ("allowed", "bool", [num_trials, spaces.action.num_choices]),
        ("reward", "float32", [num_trials]),
        ("active", "bool", [num_trials]),
        ("terminated", "bool", [num_trials]),
        ("truncated", "bool", [num_trials]),
        ("progress", "int64", [3]),
    )
    layout: dict[str, tuple[int, str, list[int]]] = {}
    offset = 0
    for name, dtype, shape in wanted:
        layout[name] = (offset, dtype, shape)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        offset += -(-size // ALIGNMENT) * ALIGNMENT
    return layout, offset


def most_trials(spaces: SpacePair, num_steps: int) -> int | None:
    """Return the number of trials of so many steps whose images fit into ``MAX_IMAGE_BYTES``; None without images."""
    if spaces.observation.kind is not ObservationKind.IMAGE:
        return None
    return max(FEWEST_TRIALS, MAX_IMAGE_BYTES // (num_steps * spaces.observation.width))
