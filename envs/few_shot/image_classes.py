"""Images by class, read from folders.

An image is brought to one form: ink bright on a background of 0, the ink's bounding box in the middle of a square that
it fills for the greater part, one size for all. So it does not matter whether strokes were dark on white or white on
black, or where on the sheet, and little how large.

Layouts that are understood, each as a folder or as a zip file of it: ``class/image``, ``alphabet/class/image`` (classes
of one alphabet then form a group), with any number of folders around them (Omniglot has ``set/alphabet/class/image``).

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
"""Names that images have. One of them that Pillow cannot read is refused: left out, it would be missed."""

SOURCE_SIZE = 105
"""R unless asked otherwise: Omniglot's own, three times the 35 that an embedding sees."""

MAX_PIXELS = 50_000_000
"""Images of more are refused before they are decoded."""

MAX_FILE_BYTES = 256 * 2**20
"""Larger files are not read, nor unpacked from an archive."""

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
"""What Pillow's readers raise at files that are no images, or broken ones."""

MAX_SIDE = 1024
"""Longer images are made smaller before they are brought to the common form, which takes nine squares of that side."""

INK_THRESHOLD = 0.3
"""Share of the strongest ink from which a pixel counts as ink when the bounding box is taken."""


USUAL_EXTENT = 0.66
"""The longer side of the ink's bounding box as a share of the sheet's, the median of Omniglot's drawings."""

COMMON_EXTENT = 0.75
"""What the usual extent becomes in the common form."""

MOST_EXTENT = 0.97
"""What an extent becomes at most in the common form."""


class ImageReadError(EnvsError):
    """An image, or a folder of them, that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class ImageClass:
    """One class: its name, the group (alphabet) it belongs to, and where its images stand.

    Attributes:
        name: the folder's name.
        group: the alphabet's name; empty where there are no groups.
        start: index of its first image.
        count: how many images it has.
    """

    name: str
    group: str
    start: int
    count: int

    @property
    def path(self) -> str:
        """What people find it by."""
        return f"{self.group}/{self.name}" if self.group else self.name


@dataclass(frozen=True, kw_only=True)
class ImageClasses:
    """Images by class.

    Attributes:
        images: [I, R, R] uint8, ink bright on 0; the images of a class follow each other.
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
        """Median extent of the ink of the images, as a share of their side."""
        indices = torch.cat([torch.arange(found.start, found.start + found.count) for found in self.classes])
        return float(ink_extents(self.images[indices]).median())

    def only(self, is_wanted: Callable[[ImageClass], bool]) -> ImageClasses:
        """The classes for which ``is_wanted`` holds, sharing the images."""
        return ImageClasses(images=self.images, classes=tuple(filter(is_wanted, self.classes)))

    def hold_out_groups(self, groups: Sequence[str]) -> tuple[ImageClasses, ImageClasses]:
        """Part the classes into those outside and those inside the named groups.

        Raises:
            ImageReadError: there is no group of that name.
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
    """Read one image into the common form.

    Args:
        source: the file, or its content.
        name: what to call it in errors, where ``source`` is its content.
        size: R.

    Returns:
        [R, R] uint8.

    Raises:
        ImageReadError: it is not an image that Pillow can read.
    """
    subject = name or str(source)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(f"it has {opened.width} × {opened.height} pixels, more than {MAX_PIXELS:,}")
            grey = _grey(_at_most(_in_bytes(ImageOps.exif_transpose(opened)).convert("RGBA"), MAX_SIDE))
    except BROKEN_IMAGE as error:
        is_unknown = isinstance(error, UnidentifiedImageError)  # its text names an address in memory
        raise ImageReadError(
            operation="reading image",
            subject=subject,
            found="it is no image of a kind that can be identified." if is_unknown else f"{error}.",
            hint="Give PNG, JPEG or another format that Pillow reads.",
        ) from error
    return _in_common_form(_ink(grey), size)


def _in_bytes(image: Image.Image) -> Image.Image:
    """Images of 16 or 32 bits, or of floats, from their darkest to their brightest pixel; others as they are.

    Pillow's own conversion cuts such pixels off at 255: all of a scan of 16 bits but its black would be white.
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
    """What is seen on a white sheet, or on a black one where the drawing is as white as the first."""
    for colour in ("white", "black"):
        sheet = Image.new("RGBA", layers.size, colour)
        grey = np.asarray(Image.alpha_composite(sheet, layers).convert("L"), dtype=np.float32)
        if np.ptp(grey):
            break
    return grey


def _at_most(image: Image.Image, side: int) -> Image.Image:
    """The image, made smaller where it is longer than ``side`` either way."""
    factor = side / max(image.size)
    if factor >= 1.0:
        return image
    width, height = (max(1, round(length * factor)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def _ink(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far each pixel is from the background, which is the median of the border, in units of the farthest."""
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
    # The sheet lies in an empty one three times as large, so that the square that is seen never leaves it.
    room = np.zeros((3 * side, 3 * side), dtype=np.uint8)
    room[side : side + height, side : side + width] = ink * 255.0 + 0.5
    seen = side * _share_seen(max(bottom - top, right - left) / side)
    centre_x, centre_y = side + (left + right) / 2, side + (top + bottom) / 2
    square = (centre_x - seen / 2, centre_y - seen / 2, centre_x + seen / 2, centre_y + seen / 2)
    return np.asarray(Image.fromarray(room).resize((size, size), Image.Resampling.BILINEAR, box=square), dtype=np.uint8)


def _share_seen(extent: float) -> float:
    """The side of the square that is seen of a sheet, for ink of this extent, both as shares of the sheet's side.

    Ink of the usual extent comes to fill ``COMMON_EXTENT`` of the square. Larger and smaller ink comes half way there
    (in the logarithm): some of a character's size is the hand's, some of it is the character's.
    """
    return max(USUAL_EXTENT / COMMON_EXTENT * math.sqrt(extent / USUAL_EXTENT), extent / MOST_EXTENT)


def ink_extents(images: Tensor) -> Tensor:
    """The longer side of each image's bounding box of ink, as a share of the image's side.

    Args:
        images: [I, R, R] uint8.

    Returns:
        [I] float32; 0 where there is no ink.
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
    """Read the classes of one or more folders or zip files of them; a folder of zip files counts as all of them.

    A class that stands in several of them (same group, same name) is one class; an image that stands in several (same
    file name besides) is read once.

    Args:
        paths: folders or zip files.
        size: R.
        most_images: more than these are refused before any is read; None sets no limit.
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
    """Put classes together from (group, name, images of [R, R])."""
    described: list[ImageClass] = []
    images: list[NDArray[np.uint8]] = []
    for group, name, own in classes:
        described.append(ImageClass(name=name, group=group, start=len(images), count=len(own)))
        images.extend(own)
    return ImageClasses(images=torch.from_numpy(np.stack(images)), classes=tuple(described))


def natural_order(text: str) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts ``item2`` before ``item10``."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", text) if part)


def is_image(path: PurePosixPath | Path) -> bool:
    """Whether a file's name is an image's; hidden files and macOS's ``__MACOSX`` copies are not."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not any(map(_is_hidden, path.parts))


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def image_files_under(path: Path) -> Iterator[Path]:
    """The image files of a folder and of the folders in it, hidden ones left out.

    Links to folders are followed, save to one that the link itself stands in. A link to nothing counts as a file:
    whoever reads it says what is wrong.

    Raises:
        ImageReadError: a folder cannot be looked into, or a name is not UTF-8.
    """
    return (file for _, files in image_folders_under(path) for file in files)


def image_folders_under(path: Path) -> Iterator[tuple[Path, list[Path]]]:
    """A folder and those in it that are looked into, each with the image files that stand in it.

    Raises:
        ImageReadError: as :func:`image_files_under`.
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
    """Refuse a name that answers, policies and the store, which are UTF-8, could not tell."""
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
    """The image files under a path that stand in a class's folder, in natural order, each with what reads it."""
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for place in _in_order(PurePosixPath(name) for name in archive.namelist()):
                yield place, lambda place=place: _unpacked(archive, place)  # type: ignore[misc]
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


def _unpacked(archive: zipfile.ZipFile, place: PurePosixPath) -> bytes:
    _check_size(archive.getinfo(str(place)).file_size)
    return archive.read(str(place))


def _read_bytes(path: Path) -> bytes:
    _check_size(path.stat().st_size)
    return path.read_bytes()


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_FILE_BYTES:
        raise ValueError(f"the file has {size_bytes:,} bytes, more than {MAX_FILE_BYTES:,}")


def _in_order(places: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    in_classes = (place for place in places if len(place.parts) > 1 and is_image(place))
    return sorted(in_classes, key=lambda place: tuple(natural_order(part) for part in place.parts))
