"""Loading of a user's file whose name no import statement can have, or that a library has too.

``my-env.py``, ``2048.py`` and ``random.py`` get module names of their own, so they hide no library.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from .faults import StartError

FILE_ENTRY = re.compile(r"(?P<file>.+\.py):(?P<name>[^:/]*)")
"""``FILE.py:Name``; ``envs.entries`` writes such entries with an absolute path."""

PREFIX = "learnd_file_"
"""The start of the module names of files."""


def module_and_name(entry: str) -> tuple[str, str, str]:
    """Return the module or file that an entry names, the colon, and the name in it; the last two may be empty."""
    match = FILE_ENTRY.fullmatch(entry)
    return entry.partition(":") if match is None else (match["file"], ":", match["name"])


def is_file(module_name: str) -> bool:
    """Return whether a module is named by the absolute path of its file."""
    return module_name.endswith(".py") and Path(module_name).is_absolute()


def load_file(path: str) -> Any:
    """Return the module of a file, with the packages around it.

    Raises:
        StartError: there is no such file.
    """
    file = Path(path)
    if not file.is_file():
        raise StartError(f"there is no file {path}.")
    packages: list[Path] = []
    above = file.parent
    while (above / "__init__.py").is_file() and above.name.isidentifier():
        packages.insert(0, above)
        above = above.parent
    _hide(str(above), packages[0].name if packages else file.stem)
    name = PREFIX
    for package in packages:
        _execute(f"{name}{package.name}", package / "__init__.py", [str(package)])
        name = f"{name}{package.name}."
    return _execute(name + re.sub(r"\W", "_", file.stem), file, None)


def _execute(name: str, file: Path, folders: list[str] | None) -> ModuleType:
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(file):
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    if spec is None or spec.loader is None:
        raise StartError(f"{file} cannot be loaded.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class _Hiding:
    """A finder that finds a library although a user's folder, which comes first, has a file of its name."""

    folder: str
    name: str

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the library of the hidden name; None for other names, or if there is none."""
        if name != self.name or path is not None:
            return None
        return PathFinder.find_spec(name, [folder for folder in sys.path if folder != self.folder], target)


def _hide(folder: str, name: str) -> None:
    hiding = _Hiding(folder, name)
    if hiding not in sys.meta_path:
        sys.meta_path.insert(0, hiding)
