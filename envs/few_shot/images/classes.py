"""Images by class, read from folders or zip files.

Every image is converted to a common form: bright ink on a background of 0, with the ink's bounding box centred in a
square that it mostly fills, and one size for all images. The form therefore does not depend on the colours of strokes
and background or on the place on the sheet, and only a little on the size of the drawing.

Accepted layouts, each as a folder or as a zip file: ``class/image`` and ``alphabet/class/image`` (the classes of an
alphabet form a group). Any number of folders may surround them (Omniglot has ``set/alphabet/class/image``).

Shapes: I images, R their side in pixels, C classes.
"""

from __future__ import annotations

import io
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from envs.errors import EnvsError

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

SOURCE_SIZE = 105
"""The default R: the size of Omniglot's images, three times the 35 pixels of an embedding's input."""

MAX_PIXELS = 50_000_000
"""Images with more pixels are rejected before they are decoded."""

MAX_FILE_BYTES = 256 * 2**20
"""Larger files are neither read nor unpacked from an archive."""

BROKEN_IMAGE = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""Exceptions that Pillow raises for files that are not images or are damaged."""

MAX_SIDE = 1024
"""Images with a longer side are reduced before conversion, which needs nine times the area of a square of that side."""

INK_THRESHOLD = 0.3
"""A pixel counts as ink for the bounding box if it has at least this share of the strongest ink."""


USUAL_EXTENT = 0.66
"""The longer side of the ink's bounding box as a share of the sheet's side: the median of Omniglot's drawings."""

COMMON_EXTENT = 0.75
"""The extent in the common form of ink that has the usual extent."""

MOST_EXTENT = 0.97
"""The largest extent in the common form."""


class ImageReadError(EnvsError):
    """An error: an image, or a folder of images, cannot be read."""


@dataclass(frozen=True, kw_only=True)
class ImageClass:
    """A class of images: its name, its group (alphabet), and the range of its images.

    Attributes:
        name: the folder's name.
        group: the alphabet's name; empty if there are no groups.
        start: index of its first image.
        count: number of its images.
    """

    name: str
    group: str
    start: int
    count: int

    @property
    def path(self) -> str:
        """The name for users: group and class."""
        return f"{self.group}/{self.name}" if self.group else self.name


@dataclass(frozen=True, kw_only=True)
class ImageClasses:
    """Images with their classes.

    Attributes:
        images: [I, R, R] uint8, bright ink on 0; the images of a class are consecutive.
        classes: the C classes.
    """

    images: Tensor
    classes: tuple[ImageClass, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups' names, in the order of their first class."""
        return tuple(dict.fromkeys(found.group for found in self.classes))

    @cached_property
    def ink_extent(self) -> float:
        """The median extent of the images' ink, as a share of their side."""
        indices = torch.cat([torch.arange(found.start, found.start + found.count) for found in self.classes])
        return float(ink_extents(self.images[indices]).median())

    def only(self, is_wanted: Callable[[ImageClass], bool]) -> ImageClasses:
        """Return the classes for which ``is_wanted`` is true; the images are shared."""
        return ImageClasses(images=self.images, classes=tuple(filter(is_wanted, self.classes)))

    def hold_out_groups(self, groups: Sequence[str]) -> tuple[ImageClasses, ImageClasses]:
        """Split the classes into those outside and those inside the named groups.

        Raises:
            ImageReadError: no group has that name.
        """
        for group in groups:
            if group not in self.groups:
                raise ImageReadError(
                    operation="holding out group",
                    subject=group,
                    found="there is no group of that name.",
                    hint=f"There is {', '.join(self.groups)}.",
                )
        return self.only(lambda found: found.group not in groups), self.only(lambda found: found.group in groups)


def read_image(source: Path | bytes, *, name: str = "", size: int = SOURCE_SIZE) -> NDArray[np.uint8]:
    """Read one image and convert it to the common form.

    Args:
        source: the file, or its content.
        name: its name in error messages, if ``source`` is its content.
        size: R.

    Returns:
        [R, R] uint8.

    Raises:
        ImageReadError: Pillow cannot read it as an image.
    """
    subject = name or str(source)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(f"it has {opened.width} × {opened.height} pixels, more than {MAX_PIXELS:,}")
            grey = _grey(_at_most(_in_bytes(ImageOps.exif_transpose(opened)).convert("RGBA"), MAX_SIDE))
    except BROKEN_IMAGE as error:
        is_unknown = isinstance(error, UnidentifiedImageError)  # its message contains a memory address
        raise ImageReadError(
            operation="reading image",
            subject=subject,
            found="it is no image of a kind that can be identified." if is_unknown else f"{error}.",
            hint="Give PNG, JPEG or another format that Pillow reads.",
        ) from error
    return _in_common_form(_ink(grey), size)


def _in_bytes(image: Image.Image) -> Image.Image:
    """Scale images of 16 or 32 bits, or of floats, from darkest to brightest pixel; return others unchanged.

    Pillow's own conversion clips such pixels at 255, so everything except black would be white in a 16-bit scan.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    pixels = np.array(image, dtype=np.float64)
    is_number = np.isfinite(pixels)
    numbers = pixels if is_number.all() else pixels[is_number]
    if not numbers.size:
        raise ValueError("none of its pixels is a number")
    low, high = float(numbers.min()), float(numbers.max())
    if numbers is not pixels:
        pixels[~is_number] = np.median(numbers)
    pixels -= low
    pixels *= 255.0 / max(high - low, 1e-300)
    pixels += 0.5
    return Image.fromarray(pixels.astype(np.uint8))


def _grey(layers: Image.Image) -> NDArray[np.float32]:
    """Return the image on a white background, or on a black one if the drawing is as white as the first background."""
    for colour in ("white", "black"):
        sheet = Image.new("RGBA", layers.size, colour)
        grey = np.asarray(Image.alpha_composite(sheet, layers).convert("L"), dtype=np.float32)
        if np.ptp(grey):
            break
    return grey


def _at_most(image: Image.Image, side: int) -> Image.Image:
    """Reduce the image if a side is longer than ``side``."""
    factor = side / max(image.size)
    if factor >= 1.0:
        return image
    width, height = (max(1, round(length * factor)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def _ink(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each pixel's distance from the background (the median of the border), relative to the largest distance."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ink: NDArray[np.float32] = np.abs(grey - np.median(border))
    ink /= max(float(ink.max()), 1.0)
    return ink


def _in_common_form(ink: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    height, width = ink.shape
    side = max(height, width)
    rows, columns = np.nonzero(ink > INK_THRESHOLD)
    if not len(rows):
        return np.zeros((size, size), dtype=np.uint8)
    top, bottom, left, right = int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1
    # The sheet is placed in an empty one three times as large, so that the visible square always lies within it.
    room = np.zeros((3 * side, 3 * side), dtype=np.uint8)
    room[side : side + height, side : side + width] = ink * 255.0 + 0.5
    seen = side * _share_seen(max(bottom - top, right - left) / side)
    centre_x, centre_y = side + (left + right) / 2, side + (top + bottom) / 2
    square = (centre_x - seen / 2, centre_y - seen / 2, centre_x + seen / 2, centre_y + seen / 2)
    return np.asarray(Image.fromarray(room).resize((size, size), Image.Resampling.BILINEAR, box=square), dtype=np.uint8)


def _share_seen(extent: float) -> float:
    """Return the side of the visible square for ink of this extent, both as shares of the sheet's side.

    Ink of the usual extent fills ``COMMON_EXTENT`` of the square. Larger and smaller ink is moved half way to that (in
    the logarithm), because the size of a character depends partly on the writer and partly on the character.
    """
    return max(USUAL_EXTENT / COMMON_EXTENT * math.sqrt(extent / USUAL_EXTENT), extent / MOST_EXTENT)


def ink_extents(images: Tensor) -> Tensor:
    """Return the longer side of each image's bounding box of ink, as a share of the image's side.

    Args:
        images: [I, R, R] uint8.

    Returns:
        [I] float32; 0 if there is no ink.
    """
    is_ink = images > round(INK_THRESHOLD * 255)
    sides = []
    for line in (is_ink.any(1), is_ink.any(2)):
        first = line.to(torch.uint8).argmax(1)
        last = line.flip(1).to(torch.uint8).argmax(1)
        sides.append((line.shape[1] - first - last) * line.any(1))
    return torch.maximum(sides[0], sides[1]).to(torch.float32) / images.shape[1]


def read_image_folder(
    *paths: Path,
    size: int = SOURCE_SIZE,
    most_images: int | None = None,
    report: Callable[[int], None] | None = None,
) -> ImageClasses:
    """Read the classes of one or more folders or zip files. For a folder of zip files, all of them are read.

    Classes with the same group and name in several paths are one class. Images of a class with the same file name are
    read once.

    Args:
        paths: folders or zip files.
        size: R.
        most_images: with more images than this, none is read and an error is raised; None sets no limit.
        report: called with the number of images read so far.

    Raises:
        ImageReadError: a path is missing, an image cannot be read, there is no ``class/image`` in them, or too many.
    """
    if most_images is not None:
        _refuse_too_many(paths, most_images)
    num_read = 0
    found: dict[tuple[str, str], dict[str, NDArray[np.uint8]]] = {}
    for path in paths:
        for place, read in _image_files(path):
            parts = place.parts
            group = parts[-3] if len(parts) > 2 else ""
            images = found.setdefault((group, parts[-2]), {})
            if parts[-1] not in images:
                images[parts[-1]] = read_image(_content(read, f"{path}: {place}"), name=f"{path}: {place}", size=size)
                num_read += 1
                if report is not None:
                    report(num_read)
    if not found:
        raise ImageReadError(
            operation="reading images of",
            subject=", ".join(map(str, paths)),
            found="there is no image in a folder of its class.",
            hint="Lay them out as CLASS/IMAGE or ALPHABET/CLASS/IMAGE.",
        )
    return gather_classes((group, name, list(images.values())) for (group, name), images in found.items())


def _content(read: Callable[[], bytes], name: str) -> bytes:
    try:
        return read()
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ImageReadError(
            operation="reading image", subject=name, found=f"{error}.", hint="Take the file out, or replace it."
        ) from error


def _refuse_too_many(paths: Sequence[Path], most_images: int) -> None:
    num_images = sum(1 for path in paths for _ in _image_files(path))
    if num_images > most_images:
        raise ImageReadError(
            operation="reading images of",
            subject=", ".join(map(str, paths)),
            found=f"there are {num_images} images, and {most_images} of this size fit in memory.",
            hint="Give a part of them, or ask for a smaller size.",
        )


def gather_classes(classes: Iterable[tuple[str, str, Sequence[NDArray[np.uint8]]]]) -> ImageClasses:
    """Combine classes from (group, name, images of [R, R])."""
    described: list[ImageClass] = []
    images: list[NDArray[np.uint8]] = []
    for group, name, own in classes:
        described.append(ImageClass(name=name, group=group, start=len(images), count=len(own)))
        images.extend(own)
    return ImageClasses(images=torch.from_numpy(np.stack(images)), classes=tuple(described))


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


def _image_files(path: Path) -> Iterator[tuple[PurePosixPath, Callable[[], bytes]]]:
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
        yield from _image_files(archive_path)
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
