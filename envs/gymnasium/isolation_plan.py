"""The plan by which a worker confines itself (:mod:`envs.gymnasium.isolation.confinement`), as JSON values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from envs.family import FamilySpec
from envs.gymnasium.working_folder import WorkingFolder
from envs.limits import THREADS_PER_PROCESS, WorkerLimits

MIB = 1 << 20

MAX_OPEN_FILES = 8192

CODE = ".py"


def isolation_plan(spec: FamilySpec, limits: WorkerLimits, folder: WorkingFolder) -> dict[str, Any]:
    """Return what a worker may use and reach.

    Args:
        spec: the family, which says whether it needs the network.
        limits: the limits of the worker.
        folder: the worker's own folder.

    Returns:
        JSON values: ``is_isolated``; ``folder`` and ``temporary``, the worker's own folders, "" for none; ``hidden``,
        paths that it cannot reach; ``kept``, paths of its code and files, which it can read in any case; ``writable``,
        further folders that it may change; ``network``; ``is_memory_private``; and numbers.
    """
    kept = sorted(set(_own_paths(spec)))
    return {
        "is_isolated": limits.is_isolated,
        "folder": folder.base,
        "temporary": folder.temporary,
        "hidden": sorted(_hidden_paths(limits.hidden, kept)),
        "kept": kept,
        "writable": list(limits.writable),
        "network": spec.network,
        "is_memory_private": "DISPLAY" not in os.environ,  # X servers share System V memory with their clients
        "tasks": THREADS_PER_PROCESS * limits.max_processes,
        "num_cores": limits.num_cores or max(1, len(os.sched_getaffinity(0)) // 2),
        "file_bytes": max(limits.disk_mib, limits.memory_mib) * MIB,
        "shared_memory_bytes": limits.memory_mib * MIB,
        "open_files": MAX_OPEN_FILES,
    }


def _own_paths(spec: FamilySpec) -> Iterator[str]:
    """Return the real paths that a family names, and those of learnd's own modules."""
    python = [] if spec.python is None else [Path(spec.python).parent.parent]
    named = [Path(text) for wrapped in (spec.kwargs, *(w.kwargs for w in spec.wrappers)) for text in _texts(wrapped)]
    variables = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    code = [Path(__file__).parent, *map(Path, spec.import_paths), *python, *map(Path, filter(None, variables))]
    for path in [*code, *(path for path in named if path.is_absolute())]:
        yield os.path.realpath(path)


def _texts(value: object) -> Iterator[str]:
    """Return the texts in JSON values that may be paths."""
    if isinstance(value, str):
        if value.startswith("/") and "\0" not in value:
            yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _hidden_paths(folders: Iterable[str], kept: list[str]) -> set[str]:
    """Return the paths that are hidden: folders, and the targets of symbolic links in them.

    A folder that is itself an import path is not hidden, but everything in it that is no Python code.
    """
    hidden: set[str] = set()
    for folder in {os.path.realpath(folder) for folder in folders}:
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        links = {os.path.realpath(entry.path) for entry in entries if entry.is_symlink()}
        hidden |= {path for path in links if Path(path).exists() and not _holds_any(path, kept)}
        if folder in kept:
            hidden |= {entry.path for entry in entries if not entry.is_symlink() and not _is_code(Path(entry.path))}
        else:
            hidden.add(folder)
    return hidden - set(kept)


def _holds_any(folder: str, paths: list[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for path in paths)


def _is_code(path: Path) -> bool:
    return path.suffix == CODE or (path.is_dir() and any(path.glob(f"*{CODE}")))
