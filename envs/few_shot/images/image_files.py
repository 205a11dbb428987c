"""The image files of folders and zip files, in the order of their names, without hidden ones."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from envs.errors import ImageReadError

IMAGE_SUFFIXES = frozenset(
    {
        ".png",
        ".apng",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".jp2",
        ".bmp",
        ".dib",
        ".gif",
        ".webp",
        ".avif",
        ".heic",
        ".heif",
        ".tif",
        ".tiff",
        ".tga",
        ".pcx",
        ".pbm",
        ".pgm",
        ".ppm",
        ".pnm",
    }
)
"""Name suffixes of images.

A file with such a name that Pillow cannot read is an error, so that no image is lost silently.
"""

MAX_FILE_BYTES = 256 * 2**20
"""Larger files are neither read nor unpacked from an archive."""


def content_of(read: Callable[[], bytes], name: str) -> bytes:
    """Return the content of an image file that is read by ``read``.

    Args:
        read: one of the functions that :func:`files_in_classes` yields.
        name: the name of the file in an error message.

    Raises:
        ImageReadError: the file cannot be read.
    """
    try:
        return read()
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ImageReadError(
            operation="reading image", subject=name, found=f"{error}.", hint="Take the file out, or replace it."
        ) from error


def natural_order(text: str) -> tuple[tuple[int, int | str], ...]:
    """Return a sort key that puts ``item2`` before ``item10``."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", text) if part)


def is_image(path: PurePosixPath | Path) -> bool:
    """Return whether a file has an image's name; hidden files and macOS's ``__MACOSX`` copies do not count."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not any(map(_is_hidden, path.parts))


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def image_files_under(path: Path) -> Iterator[Path]:
    """Yield the image files of a folder and its subfolders, except hidden ones.

    Links to folders are followed, except a link to a folder that contains the link. A broken link counts as a file, so
    that reading it reports the error.

    Raises:
        ImageReadError: a folder cannot be listed, or a name is not UTF-8.
    """
    return (file for _, files in image_folders_under(path) for file in files)


def image_folders_under(path: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield a folder and its subfolders, each with the image files directly in it.

    Raises:
        ImageReadError: as in :func:`image_files_under`.
    """
    return _folders_within(path, (path.resolve(),))


def _folders_within(folder: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, list[Path]]]:
    _refuse_unreadable_name(folder)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise ImageReadError(
            operation="reading images of",
            subject=str(folder),
            found=f"{error.strerror}.",
            hint="Let the user that reads it look into it, or take it out.",
        ) from error
    files, folders = [], []
    for entry in entries:
        if _is_hidden(entry.name):
            continue
        if entry.is_dir():
            folders.append(entry)
        elif is_image(PurePosixPath(entry.name)) and (entry.is_file() or not entry.exists()):
            _refuse_unreadable_name(entry)
            files.append(entry)
    yield folder, files
    for inner in folders:
        real = inner.resolve()
        if real not in above:
            yield from _folders_within(inner, (*above, real))


def _refuse_unreadable_name(path: Path) -> None:
    """Raise an error for a name that is not UTF-8, because answers, policies and the store are UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise ImageReadError(
            operation="reading images of",
            subject=os.fsencode(path).decode(errors="replace"),
            found="its name is not UTF-8.",
            hint="Rename it.",
        ) from error


def files_in_classes(path: Path) -> Iterator[tuple[PurePosixPath, Callable[[], bytes]]]:
    """Yield the image files in class folders under a path, in natural order, each with a function to read it."""
    if path.is_file() and zipfile.is_zipfile(path):
        with _open_archive(path) as archive:
            members = _members(archive, path)
            for place in _in_order(members):
                yield place, lambda place=place: _unpacked(archive, members[place])  # type: ignore[misc]
        return
    if not path.is_dir():
        raise ImageReadError(
            operation="reading images of",
            subject=str(path),
            found="it is a file and no zip file." if path.exists() else "there is nothing there.",
            hint="Name a folder of CLASS/IMAGE, or a zip file of one.",
        )
    for archive_path in sorted(path.glob("*.zip")):
        yield from files_in_classes(archive_path)
    files = (PurePosixPath(file.relative_to(path).as_posix()) for file in image_files_under(path))
    for place in _in_order(files):
        yield place, lambda place=place: _read_bytes(path / place)  # type: ignore[misc]


def _open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ImageReadError(
            operation="reading images of",
            subject=str(path),
            found=f"the zip file cannot be opened: {error}.",
            hint="Make the archive again.",
        ) from error


def _members(archive: zipfile.ZipFile, path: Path) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Return the files of an archive by their normalised place: ``./class/image.png`` stands at ``class/image.png``.

    Raises:
        ImageReadError: a name is absolute or leads out of the archive, or two image files stand at one place.
    """
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        place = PurePosixPath(member.filename)
        if place.is_absolute() or ".." in place.parts:
            raise _refused_member(path, member.filename, "is absolute or leads out of the archive")
        if member.is_dir() or not is_image(place):
            continue
        if place in members:
            raise _refused_member(path, member.filename, f"stands at the same place as {members[place].filename!r}")
        members[place] = member
    return members


def _refused_member(path: Path, name: str, found: str) -> ImageReadError:
    return ImageReadError(
        operation="reading images of",
        subject=str(path),
        found=f"its member {name!r} {found}.",
        hint="Make the archive again, with names such as CLASS/IMAGE.",
    )


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    _check_size(member.file_size)
    return archive.read(member)


def _read_bytes(path: Path) -> bytes:
    _check_size(path.stat().st_size)
    return path.read_bytes()


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_FILE_BYTES:
        raise ValueError(f"the file has {size_bytes:,} bytes, more than {MAX_FILE_BYTES:,}")


def _in_order(places: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    in_classes = (place for place in places if len(place.parts) > 1 and is_image(place))
    return sorted(in_classes, key=lambda place: tuple(natural_order(part) for part in place.parts))
