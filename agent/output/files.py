"""Output files that users name. They are written completely or not at all, and never through a symbolic link.

Another user may have created the link.

=================================  ======================================================================
the path is                        action
=================================  ======================================================================
unused, or a regular file          a temporary file in the same folder is renamed to it; a hard link is
                                   replaced, and its other names keep the old content
a symbolic link                    refused: another user may have chosen its target
a folder, FIFO, socket, disk       refused
a character device (/dev/null)     written to
/dev/stdout, /dev/stderr,          written to, whatever the type of that descriptor
/dev/fd/N, /proc/self/fd/N
=================================  ======================================================================
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from agent.errors import AgentError

STANDARD_DESCRIPTORS = {"/dev/stdout": 1, "/dev/stderr": 2}
DESCRIPTOR_FOLDERS = ("/dev/fd/", "/proc/self/fd/")
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
}


class OutputFileError(AgentError):
    """An error: a file cannot or must not be written."""


def check_output_file(path: Path, *, operation: str = "writing") -> None:
    """Raise unless the path is unused, a regular file or a character device.

    Args:
        path: the file.
        operation: the purpose of the file, as a gerund, for the error message.

    Raises:
        OutputFileError: the path is something else.
    """
    if _named_descriptor(path) is not None:
        return
    found = _status_of(path)
    if found is None or stat.S_ISREG(found.st_mode) or stat.S_ISCHR(found.st_mode):
        return
    kind = KINDS.get(stat.S_IFMT(found.st_mode), "not a regular file")
    if stat.S_ISLNK(found.st_mode):
        hint = "learnd does not write through links: name the file itself, or remove the link."
    else:
        hint = "Name a file in this folder." if stat.S_ISDIR(found.st_mode) else "Name another file."
    raise OutputFileError(operation=operation, subject=str(path), found=f"it is {kind}.", hint=hint)


def is_device(path: Path) -> bool:
    """Return whether a path is a descriptor of this process or a character device."""
    found = _status_of(path)
    return _named_descriptor(path) is not None or (found is not None and stat.S_ISCHR(found.st_mode))


def write_output_file(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Write a file completely or not at all: if this fails, the path keeps its old content.

    Without a mode, new files get the permissions that the umask allows, and a replaced file of this user keeps its own.

    Args:
        path: the file.
        content: its whole content.
        mode: the permissions of the file, which no moment of the writing exceeds; None for those above.

    Raises:
        OutputFileError: the path is a link, a folder or a pipe, or the file cannot be written.
    """
    check_output_file(path)
    try:
        descriptor = _named_descriptor(path)
        if descriptor is not None:
            _write_all(os.dup(descriptor), content)
        elif is_device(path):
            _write_to_device(path, content)
        else:
            replace_file(path.absolute(), content, mode=mode)
    except OSError as error:
        found = f"{error.strerror or error}."
        raise OutputFileError(operation="writing", subject=str(path), found=found) from error


def replace_file(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Write a temporary file in the same folder and rename it; all names are relative to the open folder.

    A link at the path is replaced, not followed. The permissions are those of :func:`write_output_file`.

    Raises:
        OSError: the file cannot be written.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    temporary = f".{path.name[:16]}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        kept = _mode_of(path.name, folder=folder) if mode is None else mode
        _write_new(temporary, content, folder=folder, mode=kept)
        try:
            os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(temporary, dir_fd=folder)
            raise
        _fsync_folder(folder)
    finally:
        os.close(folder)


def _named_descriptor(path: Path) -> int | None:
    """Return the descriptor of a path such as /dev/stdout or /dev/fd/63; None for other paths."""
    name = str(path)
    for folder in DESCRIPTOR_FOLDERS:
        number = name.removeprefix(folder)
        if number != name and number.isascii() and number.isdigit():
            return int(number)
    return STANDARD_DESCRIPTORS.get(name)


def _status_of(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def _write_all(descriptor: int, content: bytes) -> None:
    """Write all of the content, and close the descriptor."""
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)


def _write_to_device(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISCHR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ENXIO, "the file was replaced while it was being opened")
    os.set_blocking(descriptor, True)
    _write_all(descriptor, content)


def _write_new(name: str, content: bytes, *, folder: int, mode: int | None) -> None:
    """Write a new file; remove it if this fails or is interrupted."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o666 if mode is None else 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            if mode is not None:
                os.fchmod(descriptor, mode)
            os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise


def _mode_of(name: str, *, folder: int) -> int | None:
    """Return the permissions of a regular file of this user; None if it does not exist or is another user's."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    is_own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
    return stat.S_IMODE(found.st_mode) & 0o777 if is_own else None


def _fsync_folder(folder: int) -> None:
    """Make the new name durable, if the file system supports it."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
