"""Frames that a worker draws, as it sends them (:mod:`envs.gymnasium.host.rendering`)."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frame = str | NDArray[np.uint8]
"""A text, or an array [height, width, 3]."""


def decoded(frame: str | dict[str, Any]) -> Frame:
    """Return the frame of a worker's answer."""
    if isinstance(frame, str):
        return frame
    return np.frombuffer(base64.b64decode(frame["pixels"]), dtype=np.uint8).reshape(frame["shape"])
