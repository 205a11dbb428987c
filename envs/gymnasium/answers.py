"""The answers of a worker's host program: lines of JSON, and single bytes for steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

STEP_ANSWERS = {b"s": False, b"e": True}
"""The two answers to a step → whether the step ended an episode."""

_KEYS = {
    "configure": ("pid", "entry", "spaces", "max_episode_steps", "reward_threshold", "frames_per_s"),
    "begin": (),
    "begin_row": ("context",),
    "undone": ("undone",),
    "frames": ("frames",),
    "check": ("warnings", "failure", "is_whole"),
    "contract": ("findings", "has_mask", "is_replayed", "times", "unchecked"),
    "numbers": ("numbers", "is_replayed", "is_whole"),
}
"""The keys of the answer to each request; others are optional."""


def json_object(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a line; None if the line is anything else."""
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", values) if isinstance(values, dict) else None


def missing_key(request: str, answer: Mapping[str, Any]) -> str | None:
    """Return a key that the answer to a kind of request lacks; None if it has all, or reports a fault.

    An environment that changes the worker's modules, such as ``json``, may make it answer anything.
    """
    if "fault" in answer:
        return None if answer.get("found") else "found"
    return next((key for key in _KEYS.get(request, ()) if key not in answer), None)
