"""Family files with the settings of this service: where they are, and the families that they declare.

:mod:`envs.family_file` describes their form.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.learners.registry import canonical_name, few_shot_learners, public_names
from envs.errors import FamilySpecError
from envs.family import FamilySource, FamilySpec
from envs.family_file import FileDefaults, read_family_file
from envs.few_shot.options import is_regression
from envs.foreign_text import parse_toml
from envs.user_paths import expanded

if TYPE_CHECKING:
    from agent.config.settings import Settings

DROP_IN_FOLDER = "env.d"
"""Name of the watched folder in the data folder."""

MOST_BYTES = 1 << 20


def watched_folders(settings: Settings) -> tuple[Path, ...]:
    """Return the folders whose family files the daemon watches; they need not exist."""
    named = () if settings.stream.folder is None else (expanded(settings.stream.folder).absolute(),)
    return (settings.data_dir / DROP_IN_FOLDER, *named)


def family_files(folder: Path) -> list[Path]:
    """Return the family files of a folder, sorted; an empty list if it does not exist.

    Hidden files and files with another ending than .toml are left out.

    Raises:
        OSError: the folder exists, but cannot be read.
    """
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            return []
    except FileNotFoundError:
        return []
    return sorted(path for path in folder.iterdir() if path.suffix == ".toml" and not path.name.startswith("."))


@dataclass(frozen=True, kw_only=True)
class FileDeclaration:
    """The declaration in a family file.

    Attributes:
        spec: the family. What the file leaves open is as the settings and this version of learnd have it.
        content: the keys and values of the file.
    """

    spec: FamilySpec
    content: Mapping[str, Any]


def declaration_in(path: Path, settings: Settings) -> FileDeclaration:
    """Return what a family file declares.

    Raises:
        FamilySpecError: the file cannot be read, or declares no valid family; the error has the line.
    """
    text = _text_of(path)
    spec = read_family_file(text, path=path, defaults=_defaults(settings))
    if spec.source is FamilySource.FEW_SHOT:
        _check_learner(path, spec)
    return FileDeclaration(spec=spec, content=parse_toml(text))


def _text_of(path: Path) -> str:
    try:
        content = _first_bytes(path)
    except OSError as error:
        target = f" It is a link to {path.readlink()}." if path.is_symlink() else ""
        raise _unreadable(path, f"{error.strerror or error}.{target}") from error
    if len(content) > MOST_BYTES:
        raise _unreadable(path, f"it is larger than {MOST_BYTES} bytes, the most that a family file may have.")
    try:
        return content.decode("utf-8-sig")  # some editors begin a file with a mark of its byte order
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(path, f"line {line}: it is not UTF-8.") from error


def _first_bytes(path: Path) -> bytes:
    """Return what a file holds, up to one byte more than a family file may have; never wait for a pipe or a device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MOST_BYTES + 1)
    finally:
        os.close(descriptor)


def _defaults(settings: Settings) -> FileDefaults:
    reference, few_shot = settings.reference, settings.few_shot
    return FileDefaults(
        reference_steps=reference.steps if reference.default == "ppo" else 0,
        ppo_steps=reference.steps,
        classification_learner=few_shot.learner,
        regression_learner=few_shot.regression_learner,
    )


def _check_learner(path: Path, spec: FamilySpec) -> None:
    able = [entry for entry in few_shot_learners() if entry.does_regression or not is_regression(spec.entry)]
    if canonical_name(spec.learner) not in {entry.name for entry in able}:
        listed = ", ".join(sorted(public_names(able)))
        raise _unreadable(path, f"no learner {spec.learner!r} learns such tasks. Learners that do: {listed}.")


def _unreadable(path: Path, found: str) -> FamilySpecError:
    return FamilySpecError(operation="reading family file", subject=str(path), found=found)
