"""The form in which observations travel to the trainer: an index, a vector of float32, or bytes with images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from .faults import NonsenseError, UnsupportedError, summary
from .images import Image, image_hint, image_of, image_writer
from .spaces import (
    MAX_OBSERVATION_SIZE,
    checked_index,
    describe_observation,
    flat_size,
    flattener,
    without_parts_hint,
)

MAX_IMAGES = 4
"""Images of one observation."""


@dataclass(frozen=True)
class ObservationForm:
    """The form of the observations of a space.

    Attributes:
        described: JSON values of ``envs.spaces.ObservationSpec``.
        width: number of values of a row.
        dtype: numpy's name of their type.
        write: a function (observation, row) that checks an observation and writes it to a row of this width and type.
    """

    described: dict[str, Any]
    width: int
    dtype: str
    write: Callable[[Any, Any], None]

    @property
    def is_finite_always(self) -> bool:
        """Return whether ``write`` lets no number pass that is not finite."""
        return self.dtype == "uint8" or self.described["kind"] == "discrete"


def form_of(space: spaces.Space[Any], *, image_size: int) -> ObservationForm:
    """Return the form of a space's observations.

    Args:
        space: the observation space.
        image_size: the largest side of an image as it travels; 0 flattens images to vectors.

    Raises:
        UnsupportedError: the space, or a part of it, is not supported.
    """
    if isinstance(space, spaces.Discrete):
        described = describe_observation(space)
        return ObservationForm(described, 1, "float32", _index_writer(int(space.n), int(space.start)))
    if not _has_image(space, image_size):
        try:
            described = describe_observation(space)
        except UnsupportedError as error:
            which, part, hint = error.args
            raise UnsupportedError(which, part, (image_size and image_hint(space)) or hint) from error
        return ObservationForm(described, described["size"], "float32", flattener(space))
    return _form_with_images(space, image_size)


def _has_image(space: spaces.Space[Any], image_size: int) -> bool:
    if isinstance(space, spaces.Dict):
        return any(_has_image(part, image_size) for part in space.spaces.values())
    if isinstance(space, spaces.Tuple):
        return any(_has_image(part, image_size) for part in space.spaces)
    return image_of(space, image_size) is not None


def _index_writer(n: int, start: int) -> Callable[[Any, Any], None]:
    def write(value: Any, out: Any) -> None:
        out[0] = checked_index(value, start, n, "observation")

    return write


def _form_with_images(space: spaces.Space[Any], image_size: int) -> ObservationForm:
    try:
        parts = _parts(space, image_size, "observation", ())
    except UnsupportedError as error:
        if not isinstance(space, spaces.Dict):
            raise
        which, part, hint = error.args
        raise UnsupportedError(which, part, hint + without_parts_hint(space)) from error
    if parts.num_numbers > MAX_OBSERVATION_SIZE or len(parts.images) > MAX_IMAGES:
        hint = (
            f"It has {len(parts.images)} images and {parts.num_numbers} other values, and at most {MAX_IMAGES} and "
            f"{MAX_OBSERVATION_SIZE} are supported: wrap the environment so that it observes less."
        )
        raise UnsupportedError("observation space", repr(space), hint)
    images = [image.to_json() for image in parts.images]
    described = {"kind": "image", "size": parts.num_numbers, "images": images}
    num_bytes = 4 * parts.num_numbers
    width = num_bytes + sum(image.num_bytes for image in parts.images)

    def write(value: Any, out: Any) -> None:
        numbers = out[:num_bytes].view(np.float32)
        parts.write(value, numbers, out[num_bytes:])
        if num_bytes and not np.isfinite(numbers).all():
            raise NonsenseError(
                f"observation holds NaN or infinity, or a number beyond the range of float32: {summary(value)}."
            )

    return ObservationForm(described, width, "uint8", write)


@dataclass(frozen=True)
class _Parts:
    """The parts of a space with images.

    Attributes:
        num_numbers: number of values that are not pixels.
        images: the images, in order.
        write: a function (value, numbers float32, pixels uint8) that checks a value and writes its parts.
    """

    num_numbers: int
    images: tuple[Image, ...]
    write: Callable[[Any, Any, Any], None]

    @property
    def num_pixels(self) -> int:
        return sum(image.num_bytes for image in self.images)


def _parts(space: spaces.Space[Any], image_size: int, name: str, path: tuple[Any, ...]) -> _Parts:
    image = image_of(space, image_size)
    if image is not None:
        write_image = image_writer(space, image, name)
        return _Parts(0, (image,), lambda value, _numbers, pixels: write_image(value, pixels))
    if isinstance(space, spaces.Dict):
        return _joined(dict(space.spaces), dict, image_size, name, path)
    if isinstance(space, spaces.Tuple):
        return _joined(dict(enumerate(space.spaces)), tuple, image_size, name, path)
    count, write_numbers = flat_size(space, path), flattener(space, name)
    return _Parts(count, (), lambda value, numbers, _pixels: write_numbers(value, numbers))


def _joined(
    inner: dict[Any, spaces.Space[Any]], container: type[Any], image_size: int, name: str, path: tuple[Any, ...]
) -> _Parts:
    parts = {key: _parts(part, image_size, f"{name}[{key!r}]", (*path, key)) for key, part in inner.items()}
    num_numbers, num_pixels = 0, 0
    places: list[tuple[Any, slice, slice, Callable[[Any, Any, Any], None]]] = []
    for key, part in parts.items():
        numbers_end, pixels_end = num_numbers + part.num_numbers, num_pixels + part.num_pixels
        places.append((key, slice(num_numbers, numbers_end), slice(num_pixels, pixels_end), part.write))
        num_numbers, num_pixels = numbers_end, pixels_end

    def write(value: Any, numbers: Any, pixels: Any) -> None:
        if not isinstance(value, container) or len(value) != len(places):
            raise NonsenseError(
                f"{name} should be a {container.__name__} of {len(places)}, but it is {summary(value)}."
            )
        for key, of_numbers, of_pixels, write_part in places:
            try:
                inner_value = value[key]
            except KeyError:
                raise NonsenseError(f"{name} has no {key!r}, which its space has.") from None
            write_part(inner_value, numbers[of_numbers], pixels[of_pixels])

    images = tuple(image for part in parts.values() for image in part.images)
    return _Parts(num_numbers, images, write)
