"""Few-shot tasks on a disk: a folder of support images and a folder of query images.

Shapes: S support images, Q query images, N classes, R the side of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from envs.errors import ImageReadError
from envs.few_shot.images.common_form import SOURCE_SIZE, read_image
from envs.few_shot.images.image_files import image_files_under, image_folders_under, natural_order


@dataclass(frozen=True, kw_only=True)
class SupportImages:
    """A support set: images with known classes.

    Attributes:
        images: [S, R, R] uint8 in the common form.
        labels: [S] int64 indices into ``class_names``.
        class_names: the N classes.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class QueryImages:
    """A query set: images whose classes are to be predicted.

    Attributes:
        images: [Q, R, R] uint8 in the common form.
        names: each image's path within its folder.
    """

    images: Tensor
    names: tuple[str, ...]


def read_support_folder(path: Path, *, size: int = SOURCE_SIZE) -> SupportImages:
    """Read ``class/image`` files, where a class is the folder's path, or images that are named after their class.

    Args:
        path: the folder.
        size: R.

    Raises:
        ImageReadError: there are fewer than two classes, both layouts at once, a class's folder without an image, or an
            image that cannot be read or shows nothing.
    """
    files = _image_files(path)
    _refuse_empty_classes(path)
    is_flat = [file.parent == path for file in files]
    if any(is_flat) and not all(is_flat):
        raise _refusal(path, "some images are in folders and some are not.", "Use one layout for all classes.")
    names = [
        file.stem if flat else file.parent.relative_to(path).as_posix()
        for file, flat in zip(files, is_flat, strict=True)
    ]
    class_names = tuple(dict.fromkeys(names))
    if len(class_names) < 2:
        found = f"there is only the class {class_names[0]!r}." if class_names else "there is no image."
        raise _refusal(path, found, "Put in CLASS/IMAGE files, or one image per class named by its class.")
    if all(is_flat) and len(class_names) < len(names):
        raise _refusal(path, "two images have the same name.", "Put images of one class into a folder of its name.")
    labels = torch.tensor([class_names.index(name) for name in names])
    images = read_images(files, size)
    blank = [str(file) for file, is_blank in zip(files, are_blank(images).tolist(), strict=True) if is_blank]
    if blank:
        raise _refusal(Path(blank[0]), "it shows nothing: all of it has one shade.", "Take it out, or replace it.")
    return SupportImages(images=images, labels=labels, class_names=class_names)


def are_blank(images: Tensor) -> Tensor:
    """Return whether each image is blank.

    Args:
        images: [I, R, R] uint8 in the common form.

    Returns:
        [I] bool.
    """
    return (images == 0).flatten(1).all(1)


def _refuse_empty_classes(path: Path) -> None:
    """Raise an error for folders without any image below them: their classes could never be predicted."""
    found = list(image_folders_under(path))
    with_images = {above for folder, files in found if files for above in (folder, *folder.parents)}
    for folder, _ in found[1:]:
        if folder not in with_images:
            raise _refusal(folder, "there is no image.", "Put in its class's images, or take the folder out.")


def read_query_folder(path: Path, *, size: int = SOURCE_SIZE) -> QueryImages:
    """Read all images of a folder and its subfolders, or a single image.

    Args:
        path: the folder or image.
        size: R.

    Raises:
        ImageReadError: there is no image, or one that cannot be read.
    """
    if path.is_file():
        return QueryImages(images=read_images([path], size), names=(path.name,))
    files = _image_files(path)
    if not files:
        raise _refusal(path, "there is no image.", "Put in the images to be told apart.")
    return QueryImages(
        images=read_images(files, size), names=tuple(file.relative_to(path).as_posix() for file in files)
    )


def _image_files(path: Path) -> list[Path]:
    if not path.is_dir():
        found = "it is not a folder." if path.exists() else "there is nothing there."
        raise _refusal(path, found, "Name a folder of images.")
    return sorted(image_files_under(path), key=lambda file: natural_order(file.relative_to(path).as_posix()))


def read_images(files: Sequence[Path], size: int) -> Tensor:
    """Return images in the common form.

    Args:
        files: I image files.
        size: R.

    Returns:
        [I, R, R] uint8.
    """
    return torch.from_numpy(np.stack([read_image(file, size=size) for file in files]))


def _refusal(path: Path, found: str, hint: str) -> ImageReadError:
    return ImageReadError(operation="reading images of", subject=str(path), found=found, hint=hint)
