"""Pictures of an environment, for people who watch a policy act."""

from __future__ import annotations

import base64
from typing import Any

import gymnasium
import numpy as np

from .faults import NonsenseError, SpecError, summary

RENDER_MODE = "render_mode"
"""The keyword argument with which an environment is made that draws."""

DRAWING_HINT = "To be drawn, its class takes render_mode and lists what it takes in metadata['render_modes']."

FRAMES_PER_S = 30.0
"""The frames per second of an environment whose metadata have no ``render_fps``."""


class Rendering:
    """The render mode of a worker, and the frames that its environments have drawn and nobody has taken yet.

    Args:
        mode: ``rgb_array`` or ``ansi``; None draws nothing.
    """

    def __init__(self, mode: str | None) -> None:
        self.mode = mode
        self._frames: list[Any] = []
        self.frames_per_s = FRAMES_PER_S

    @property
    def kwargs(self) -> dict[str, str]:
        """The keyword argument with which an environment is made that draws."""
        return {} if self.mode is None else {RENDER_MODE: self.mode}

    def kept(self, env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
        """Return the environment so that it draws a frame after each reset and each step.

        Raises:
            SpecError: it does not have the render mode.
        """
        if self.mode is None:
            return env
        self.frames_per_s = float(env.metadata.get("render_fps") or FRAMES_PER_S)
        modes = [mode for mode in env.metadata.get("render_modes") or () if mode is not None]
        if env.render_mode != self.mode or (modes and self.mode not in modes):
            found = f"it has no render mode {self.mode!r}; it has {', '.join(map(repr, modes)) or 'none'}."
            is_drawn = self.mode == "ansi" and "rgb_array" in modes
            raise SpecError(found, "Write --video FILE.mp4 instead of --live." if is_drawn else DRAWING_HINT)
        return _Drawing(env, self)

    def draw(self, env: gymnasium.Env[Any, Any]) -> None:
        """Add a frame of the environment.

        Raises:
            NonsenseError: it has drawn something else than its render mode says.
        """
        frame: Any = env.render()
        if self.mode == "ansi":
            frame = frame.getvalue() if hasattr(frame, "getvalue") else frame
            if not isinstance(frame, str):
                raise NonsenseError(f"render should return a text, but it returned {summary(frame)}.")
        elif not (isinstance(frame, np.ndarray) and frame.ndim == 3 and frame.shape[2] == 3):
            raise NonsenseError(f"render should return an array [height, width, 3], but it returned {summary(frame)}.")
        self._frames.append(frame)

    def take(self) -> list[Any]:
        """Return the new frames as JSON values: texts, or arrays as their shape and their bytes."""
        frames, self._frames = self._frames, []
        return [frame if isinstance(frame, str) else _encoded(frame) for frame in frames]


class _Drawing(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that draws a frame after each reset and step."""

    def __init__(self, env: gymnasium.Env[Any, Any], rendering: Rendering) -> None:
        super().__init__(env)
        self._rendering = rendering

    def reset(self, **options: Any) -> Any:
        """Reset, and draw a frame."""
        answer = self.env.reset(**options)
        self._rendering.draw(self.env)
        return answer

    def step(self, action: Any) -> Any:
        """Step, and draw a frame."""
        answer = self.env.step(action)
        self._rendering.draw(self.env)
        return answer


def _encoded(frame: Any) -> dict[str, Any]:
    pixels = np.ascontiguousarray(frame, dtype=np.uint8)
    return {"shape": list(pixels.shape), "pixels": base64.b64encode(pixels.tobytes()).decode()}
