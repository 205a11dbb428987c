"""Images in a common form, independent of colours and of the place on the sheet.

Every image is converted to bright ink on a background of 0, with the ink's bounding box centred in a square that it
mostly fills, and one size for all images. The form therefore does not depend on the colours of strokes and background
or on the place on the sheet, and only a little on the size of the drawing.

Shapes: I images, R their side in pixels.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from envs.errors import ImageReadError

SOURCE_SIZE = 105
"""The default R: the size of Omniglot's images, three times the 35 pixels of an embedding's input."""

MAX_PIXELS = 50_000_000
"""Images with more pixels are rejected before they are decoded."""

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
