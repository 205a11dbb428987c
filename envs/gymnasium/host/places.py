"""Texts that say where something is: a value within an observation, and a line of a user's code."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from .faults import in_words
from .spaces import flat_size

HOST_FOLDER = str(Path(__file__).resolve().parent) + os.sep

LIBRARIES = frozenset({"gymnasium", "numpy", "scipy", "torch", "importlib", "runpy"})
"""Packages whose lines are not shown as a user's code."""

MAKING, IMPORTING = "making it", "importing the module"

CALLS = {"reset": "reset", "step": "step", "close": "close", "__init__": MAKING}
"""The functions of a user's class that the worker calls, with their names in messages."""


def value_place(space: spaces.Space[Any], position: int, name: str = "observation") -> str:
    """Return the place of a value within an observation, such as ``observation['image'][0, 3]``.

    Args:
        space: the observation space.
        position: the position of the value in the flattened observation.
        name: the name of the observation.
    """
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        keys: list[Any] = list(space.spaces) if isinstance(space, spaces.Dict) else list(range(len(space.spaces)))
        for key in keys:
            part = space[key]
            size = flat_size(part)
            if position < size:
                return value_place(part, position, f"{name}[{key!r}]")
            position -= size
    shape = getattr(space, "shape", None)
    if isinstance(space, (spaces.Box, spaces.MultiBinary)) and shape and position < np.prod(shape):
        return f"{name}[{index_text(np.unravel_index(position, shape))}]"
    return f"{name}[{position}]"


def index_text(index: Any) -> str:
    """Return an index of an array as text, such as ``0, 3``."""
    return ", ".join(str(int(number)) for number in index)


def failed_call(error: BaseException) -> str:
    """Return the call of a user's code that raised an error: reset, step, close, importing or making."""
    frames = _frames(error)
    if any(name == "import_user_module" and file.startswith(HOST_FOLDER) for file, name, _ in frames):
        return IMPORTING
    names = (name for file, name, _ in frames if not file.startswith(HOST_FOLDER))
    return next((CALLS[name] for name in names if name in CALLS), MAKING)


def running_code(error: BaseException) -> str:
    """Return the call and the line of a user's code that an error interrupted, such as ``step (maze.py, line 4)``."""
    place = code_place(error)
    return failed_call(error) + (f" ({place})" if place else "")


def raised_text(error: BaseException) -> str:
    """Return which call raised an error, the error, and the line of a user's code."""
    return f"{failed_call(error)} raised {error_text(error)}"


def error_text(error: BaseException) -> str:
    """Return an error with the line of a user's code that raised it."""
    place = code_place(error)
    return in_words(error) + (f" ({place})" if place else "")


def code_place(error: BaseException) -> str:
    """Return the file and line of a user's code at which an error was raised; empty if no such code took part."""
    is_shown = functools.cache(_is_shown)  # a recursion without end has a thousand frames
    places = (f"{_short_path(file)}, line {line}" for file, _, line in reversed(_frames(error)) if is_shown(file))
    return next(places, "")


def _frames(error: BaseException) -> list[tuple[str, str, int]]:
    """Return the file, the function and the line of each frame of a traceback, the outermost first."""
    walked = traceback.walk_tb(error.__traceback__)
    return [(frame.f_code.co_filename, frame.f_code.co_name, line) for frame, line in walked]


def _is_shown(file: str) -> bool:
    path = Path(file)
    if file.startswith(HOST_FOLDER) or not path.is_absolute():  # "<string>", and "numpy/random/mtrand.pyx" of Cython
        return False
    for folder in _installed_folders():
        if path.is_relative_to(folder):
            return path.relative_to(folder).parts[0] not in LIBRARIES
    return not any(path.is_relative_to(folder) for folder in _standard_folders())


def _installed_folders() -> list[Path]:
    """Return the folders of installed packages."""
    return [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")] + [
        Path(folder) for folder in sys.path if folder.endswith(("site-packages", "dist-packages"))
    ]


def _standard_folders() -> list[Path]:
    return [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]


def _short_path(file: str) -> str:
    """Return a file's path relative to the longest folder of the import path that holds it."""
    path = Path(file)
    folders = [Path(folder) for folder in sys.path if folder and path.is_relative_to(folder)]
    deepest = max(folders, key=lambda folder: len(folder.parts), default=None)
    return file if deepest is None else str(path.relative_to(deepest))
