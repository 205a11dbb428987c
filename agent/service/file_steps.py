"""The steps that write and remove files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from agent.output.files import replace_file
from agent.service.places import Scope
from agent.service.steps import Step

REPLACED = ".replaced"
"""Suffix of the copy of an edited unit; systemd does not read such a file."""


def write_step(action: str, path: Path, text: str, *, scope: Scope, keeps_old: bool = False) -> Step:
    """Return the step that writes a file, unless it has that content.

    Args:
        action: what it does, in the imperative.
        path: the file; its folder is made.
        text: the content.
        scope: the scope of the service. Files of a system service are readable by every user, whatever the umask is,
            because the service reads them as a user of its own.
        keeps_old: keep the old content in a file with the suffix ``.replaced``.
    """
    old = _content(path)
    if old == text.encode():
        return Step(action=action, subject=str(path), run=None)

    def run() -> None:
        if keeps_old and old is not None:
            _write(path.with_name(path.name + REPLACED), old, scope=scope)
        _write(path, text.encode(), scope=scope)

    detail = f"the old one is kept as {path.name}{REPLACED}" if keeps_old and old is not None else ""
    return Step(action=action, subject=str(path), run=run, detail=detail)


def remove_step(action: str, paths: Iterable[Path]) -> Step:
    """Return the step that removes files and folders with their content, as far as they exist; links are not followed.

    Args:
        action: what it does, in the imperative.
        paths: the files and folders.
    """
    listed = list(paths)
    present = [path for path in listed if os.path.lexists(path)]
    subject = ", ".join(map(str, present or listed))

    def run() -> None:
        for path in present:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    return Step(action=action, subject=subject, run=run if present else None)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write(path: Path, content: bytes, *, scope: Scope) -> None:
    """Write a file completely or not at all, and make its folder."""
    _make_folder(path.parent, scope=scope)
    replace_file(path, content, mode=0o644 if scope is Scope.SYSTEM else None)


def _make_folder(folder: Path, *, scope: Scope) -> None:
    """Make a folder and the missing ones above it."""
    if not folder.is_dir():
        _make_folder(folder.parent, scope=scope)
        folder.mkdir(exist_ok=True)
        if scope is Scope.SYSTEM:
            folder.chmod(0o755)
