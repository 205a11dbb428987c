"""Images by class, read from folders or zip files.

Accepted layouts, each as a folder or as a zip file: ``class/image`` and ``alphabet/class/image`` (the classes of an
alphabet form a group). Any number of folders may surround them (Omniglot has ``set/alphabet/class/image``).

Shapes: I images, R their side in pixels, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.errors import ImageReadError
from envs.few_shot.images.common_form import SOURCE_SIZE, ink_extents, read_image
from envs.few_shot.images.image_files import content_of, files_in_classes


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
        for place, read in files_in_classes(path):
            parts = place.parts
            group = parts[-3] if len(parts) > 2 else ""
            images = found.setdefault((group, parts[-2]), {})
            if parts[-1] not in images:
                images[parts[-1]] = read_image(content_of(read, f"{path}: {place}"), name=f"{path}: {place}", size=size)
                num_read += 1
                if report is not None:
                    report(num_read)
    _refuse_none(paths, len(found))
    return gather_classes((group, name, list(images.values())) for (group, name), images in found.items())


def _refuse_none(paths: Sequence[Path], num_classes: int) -> None:
    if num_classes == 0:
        programs = sorted(file for path in paths if path.is_dir() for file in path.glob("*.py"))
        hint = f" If you mean an environment, name its file: {programs[0]}." if programs else ""
        raise ImageReadError(
            operation="reading images of",
            subject=", ".join(map(str, paths)),
            found="there is no image in a folder of its class.",
            hint=f"Lay them out as CLASS/IMAGE or ALPHABET/CLASS/IMAGE.{hint}",
        )


def _refuse_too_many(paths: Sequence[Path], most_images: int) -> None:
    num_images = sum(1 for path in paths for _ in files_in_classes(path))
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
