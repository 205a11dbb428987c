"""Files that a person names for output: written whole or not at all, and never through a link that others planted.

=================================  ======================================================================
the name stands for                what happens
=================================  ======================================================================
nothing, or a regular file         a temporary file in the same folder takes the name (a hard link is cut)
a symbolic link                    refused: it may lead to a file of somebody else's choice
a folder, FIFO, socket, disk       refused
a character device (/dev/null)     written to
/dev/stdout, /dev/stderr,          written to: the process was given that descriptor, whatever it is
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
    """A file that cannot be written to, or must not be."""


def check_output_file(path: Path, *, operation: str = "writing") -> None:
    """Refuse a name that stands for anything but a regular file, a character device, or nothing.

    Args:
        path: the file.
        operation: what it is needed for, as a gerund.

    Raises:
        OutputFileError: the name stands for something else.
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
        hint = "Name a file in it." if stat.S_ISDIR(found.st_mode) else "Name another file."
    raise OutputFileError(operation=operation, subject=str(path), found=f"it is {kind}.", hint=hint)


def is_device(path: Path) -> bool:
    """Whether a name stands for a descriptor of this process or a character device, which no folder holds."""
    found = _status_of(path)
    return _named_descriptor(path) is not None or (found is not None and stat.S_ISCHR(found.st_mode))


def write_output_file(path: Path, content: bytes) -> None:
    """Write a file so that its name stands for all of the content, or for what it stood for before.

    New files get the permissions that the umask leaves; a file of this user's that is replaced keeps its own.

    Args:
        path: the file.
        content: all of it.

    Raises:
        OutputFileError: the name stands for a link, a folder or a pipe, or the file cannot be written.
    """
    check_output_file(path)
    try:
        descriptor = _named_descriptor(path)
        if descriptor is not None:
            _write_all(os.dup(descriptor), content)
        elif is_device(path):
            _write_to_device(path, content)
        else:
            _replace(path.absolute(), content)
    except OSError as error:
        found = f"{error.strerror or error}."
        raise OutputFileError(operation="writing", subject=str(path), found=found) from error


def _named_descriptor(path: Path) -> int | None:
    """The number of the descriptor that a name such as /dev/stdout or /dev/fd/63 stands for."""
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
        raise OSError(errno.ENXIO, "it was replaced while it was opened")
    os.set_blocking(descriptor, True)
    _write_all(descriptor, content)


def _replace(path: Path, content: bytes) -> None:
    """Write a temporary file in the same folder and give it the name; all names are taken within the open folder."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    temporary = f".{path.name[:16]}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        _write_new(temporary, content, folder=folder, mode=_mode_of(path.name, folder=folder))
        try:
            os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(temporary, dir_fd=folder)
            raise
        _fsync_folder(folder)
    finally:
        os.close(folder)


def _write_new(name: str, content: bytes, *, folder: int, mode: int | None) -> None:
    """Write a file that was not there; nothing is left of it where that fails or is interrupted."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o666, dir_fd=folder)
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
    """The permissions of a regular file of this user's; None where there is none, or it is another user's."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    is_own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
    return stat.S_IMODE(found.st_mode) & 0o777 if is_own else None


def _fsync_folder(folder: int) -> None:
    """Make the new name last, where the file system can."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
