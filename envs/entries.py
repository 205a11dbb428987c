"""Entries that name files: a Python file with an environment, and a virtual environment's interpreter.

A worker imports modules by name. So ``./mazes/maze.py:Maze`` becomes the entry ``maze:Maze`` with the import path
``./mazes``, and a file in a package becomes ``package.maze:Maze`` with the folder above the package. A file that has no
importable name, or that of a library, stays a file: ``my-env.py:Maze`` becomes ``/absolute/my-env.py:Maze``.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from envs.errors import FamilySpecError
from envs.user_paths import expanded

ONLY_CLASS = "*"
"""The name after ``module:`` that stands for the only environment class of the module."""

TAKEN_NAMES = frozenset(sys.stdlib_module_names) | {"gymnasium", "numpy", "__main__"}
"""Names of modules that a worker has imported before a user's file, so that the file would not be imported."""

OWN_PACKAGES = frozenset({"agent", "envs", "memory"})
"""learnd's packages, which no environment needs to import."""

_FILE = re.compile(r"(?P<file>.+\.py)(?::(?P<name>[^:/]*))?")
_INTERPRETERS = ("bin/python", "bin/python3")


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """The entry and the import path that a Python file stands for.

    Attributes:
        entry: ``module:Class`` or ``/FILE.py:Class``; ``*`` in the place of the class for the only environment class.
        import_path: the folder from which the worker imports the module.
        default_name: the text from which the name of a family is made.
    """

    entry: str
    import_path: str
    default_name: str


def is_python_file(entry: str) -> bool:
    """Return whether an entry names a Python file: ``maze.py``, ``./mazes/maze.py:Maze``."""
    return _FILE.fullmatch(entry) is not None


def file_entry(entry: str, *, folder: Path | None = None) -> FileEntry:
    """Return what a Python file as entry stands for.

    Args:
        entry: ``FILE.py`` or ``FILE.py:Class``.
        folder: the folder from which a relative path starts; None for the working folder.

    Raises:
        FamilySpecError: there is no such file.
    """
    match = _FILE.fullmatch(entry)
    if match is None:
        _refuse(entry, "it is not a Python file.", "Write my_env.py:MyEnv.")
    path = expanded(Path(match["file"]))
    path = Path(os.path.normpath((folder or Path.cwd()) / path))
    if not path.is_file():
        found = "it is a folder." if path.is_dir() else f"there is no file {path}."
        start = "the folder in which you are" if folder is None else folder
        _refuse(entry, found, f"Write the path of a Python file, from {start}.")
    above = path.parent
    parts = [path.stem]
    while (above / "__init__.py").is_file() and above.name.isidentifier():
        parts.insert(0, above.name)
        above = above.parent
    module = ".".join(parts) if path.stem.isidentifier() and not _is_taken(parts, path) else str(path)
    name = match["name"] or ONLY_CLASS
    default = path.stem if name == ONLY_CLASS else name.rpartition(".")[2]
    return FileEntry(entry=f"{module}:{name}", import_path=str(above), default_name=default)


def _is_taken(parts: list[str], path: Path) -> bool:
    """Return whether a library has the name by which a file would be imported."""
    if parts[0] in TAKEN_NAMES:
        return True
    if len(parts) > 1 or parts[0] in OWN_PACKAGES:
        return False
    found = importlib.util.find_spec(parts[0])
    return found is not None and found.origin is not None and Path(found.origin).resolve() != path.resolve()


def shown_entry(entry: str) -> str:
    """Return an entry as a user writes it: the file in place of ``module:*``."""
    module = entry.removesuffix(f":{ONLY_CLASS}")
    return entry if module == entry else module if is_python_file(module) else f"{module.replace('.', '/')}.py"


def portable_entry(entry: str) -> str:
    """Return an entry without the folder of its file, so that it is the same wherever the file lies."""
    return Path(entry).name if is_python_file(entry) else entry


def interpreter_of(path: Path) -> Path:
    """Return the interpreter that a path names: the interpreter itself, or that of a virtual environment's folder.

    A symbolic link is not followed, because a virtual environment is found by the link's place.

    Raises:
        FamilySpecError: there is no interpreter.
    """
    absolute = expanded(path).absolute()
    candidates = [absolute / name for name in _INTERPRETERS] if absolute.is_dir() else [absolute]
    for candidate in candidates:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    if absolute.is_dir():
        found, hint = f"it has no {_INTERPRETERS[0]}.", "Name the folder of a virtual environment, or its interpreter."
    elif absolute.exists():
        found, hint = "it is not a program that can be run.", "Name a Python interpreter."
    else:
        found, hint = "there is no such file.", "Name a Python interpreter or the folder of a virtual environment."
    raise FamilySpecError(operation="looking for the interpreter", subject=str(path), found=found, hint=hint)


def _refuse(entry: str, found: str, hint: str) -> NoReturn:
    raise FamilySpecError(operation="describing family", subject=entry, found=found, hint=hint)
