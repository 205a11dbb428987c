"""Search for intact copies of parameter files: files of the same sha256 in backups and set-aside stores."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from memory.errors import CorruptFileError
from memory.files.parameters import ParameterFolder, sha256_of, write_durably
from memory.folder import DataFolder
from memory.records import ParameterFile

log = logging.getLogger(__name__)


def intact_copy(folder: DataFolder, sha256: str) -> bytes | None:
    """Return a file's content from the first backup or set-aside store that has an intact copy; None without one."""
    for path in _copies(folder, sha256):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if sha256_of(content) == sha256:
            return content
    return None


def _copies(folder: DataFolder, sha256: str) -> Iterator[Path]:
    for place in (*sorted(folder.backups_path.glob("[0-9]*Z"), reverse=True), *folder.path.glob("replaced-*")):
        yield ParameterFolder(DataFolder(place).parameters_path).file_path(sha256)


def read_or_mend(parameters: ParameterFolder, folder: DataFolder, file: ParameterFile) -> tuple[bytes, bool]:
    """Read a file, and replace it by an intact copy from a backup if it is damaged.

    Args:
        parameters: the folder of the file.
        folder: the data folder, whose backups are searched.
        file: the file.

    Returns:
        The file's content, and whether the file was replaced.

    Raises:
        CorruptFileError: the file is missing or damaged, and there is no intact copy.
    """
    try:
        return parameters.read(file), False
    except CorruptFileError as error:
        content = intact_copy(folder, file.sha256)
        if content is None:
            raise
        write_durably(parameters.file_path(file.sha256), content)
        log.warning("a damaged parameter file was replaced by the same file of a backup: %s", error)
        return content, True
