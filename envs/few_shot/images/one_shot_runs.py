"""One-shot runs on a disk, in the layout of Omniglot's ``one-shot-classification``.

Each folder below the given one that holds ``class_labels.txt`` is a run. A line of that file names a test image and the
training image of its class. Their paths are relative to the folder that holds the runs, or to the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from envs.errors import ImageReadError
from envs.few_shot.images.common_form import SOURCE_SIZE
from envs.few_shot.images.image_files import natural_order
from envs.few_shot.images.task_folders import QueryImages, SupportImages, read_images

LABELS_FILE = "class_labels.txt"


@dataclass(frozen=True, kw_only=True)
class OneShotRun:
    """A run: one image of each class, and images whose classes are to be predicted.

    Attributes:
        name: the name of its folder.
        support: one image of each of the N classes.
        query: Q images.
        classes: [Q] int64, the class of each query image.
    """

    name: str
    support: SupportImages
    query: QueryImages
    classes: Tensor


def read_runs(path: Path, *, size: int = SOURCE_SIZE) -> list[OneShotRun]:
    """Read all runs below a folder, or the run that the folder is, ordered by name.

    Args:
        path: the folder.
        size: side of the images in the common form.

    Raises:
        ImageReadError: there is no run, a line that is no pair of paths, fewer than two classes, or an image that
            cannot be read.
    """
    folders = [file.parent for file in path.rglob(LABELS_FILE)] if path.is_dir() else []
    if not folders:
        found = f"there is no {LABELS_FILE} below it." if path.is_dir() else "it is not a folder."
        hint = "Name the unpacked folder of one-shot runs, for example all_runs of Omniglot."
        raise ImageReadError(operation="reading runs of", subject=str(path), found=found, hint=hint)
    return [_read_run(folder, size) for folder in sorted(folders, key=lambda folder: natural_order(str(folder)))]


def _read_run(folder: Path, size: int) -> OneShotRun:
    pairs = _read_pairs(folder / LABELS_FILE)
    shown = list(dict.fromkeys(shown for _, shown in pairs))
    shown.sort(key=lambda file: natural_order(str(file)))
    if len(shown) < 2:
        raise _refusal(
            folder / LABELS_FILE, f"it names {len(shown)} training images.", "A run has two classes or more."
        )
    support = SupportImages(
        images=read_images(shown, size),
        labels=torch.arange(len(shown)),
        class_names=tuple(file.stem for file in shown),
    )
    asked = [file for file, _ in pairs]
    query = QueryImages(images=read_images(asked, size), names=tuple(file.name for file in asked))
    classes = torch.tensor([shown.index(file) for _, file in pairs])
    return OneShotRun(name=folder.name, support=support, query=query, classes=classes)


def _read_pairs(labels: Path) -> list[tuple[Path, Path]]:
    """Return the test and the training image of each line."""
    try:
        lines = labels.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _refusal(labels, f"it cannot be read: {error}.", "") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            found = f"line {number} has {len(words)} words."
            raise _refusal(labels, found, "A line names a test image and the training image of its class.")
        pairs.append((_located(labels, number, words[0]), _located(labels, number, words[1])))
    return pairs


def _located(labels: Path, number: int, name: str) -> Path:
    """Return the path of an image that a line names."""
    for folder in (labels.parent.parent, labels.parent):
        if (folder / name).is_file():
            return folder / name
    raise _refusal(
        labels, f"line {number} names {name}, which does not exist.", "Keep the folders as they were packed."
    )


def _refusal(path: Path, found: str, hint: str) -> ImageReadError:
    return ImageReadError(operation="reading runs of", subject=str(path), found=found, hint=hint)
