"""The few-shot families in a version file, loaded as learners or as image classifiers.

    policy = load_few_shot("version-3.safetensors", family="glyphs")
    adapted = policy.adapt(images, labels)
    adapted.probabilities(others)

The file is self-contained: no store and no daemon are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from agent.learners.factory import restore
from agent.learners.family_parts import starting_with
from agent.learners.protocol import FewShotLearner
from agent.policies.image_classifier import FewShotPolicy
from agent.policies.version_file import VersionFile, decode_version, read_version_file, refusal, understanding
from agent.policies.version_header import ImageInput, KnownFewShotFamily


def load_few_shot(path: Path | str, family: str | None = None, *, device: torch.device | str = "cpu") -> FewShotPolicy:
    """Load an image classifier from a version file.

    `learnd few-shot train`, `learnd learn --output` and `learnd policy export` write such files.

    Args:
        path: the file.
        family: the family to load; None if the file has only one family of images.
        device: device of its members.

    Raises:
        PolicyFileError: the file cannot be read, is damaged, or contains no such family, or several and none is named.
    """
    return _classifier(read_version_file(path), subject=str(path), family=family, device=device)


def few_shot_from_bytes(
    content: bytes, *, subject: str, family: str | None = None, device: torch.device | str = "cpu"
) -> FewShotPolicy:
    """Return the image classifier in a version file's content.

    Args:
        content: content of the file.
        subject: the name of the file in error messages.
        family: the family to load; None if the file has only one family of images.
        device: device of its members.

    Raises:
        PolicyFileError: the content is damaged, or has no such family, or several and none is named.
    """
    return _classifier(decode_version(content, subject=subject), subject=subject, family=family, device=device)


def few_shot_learners(
    file: VersionFile, family: str, *, device: torch.device | str = "cpu"
) -> tuple[FewShotLearner, ...]:
    """Restore the learners of one few-shot family, of images or not.

    Args:
        file: the version file.
        family: the family's name: a key of ``file.header.few_shot_families``.
        device: device of the learners.

    Raises:
        KeyError: the file has no few-shot family of that name.
    """
    return tuple(
        restore(starting_with(member.prefix, file.tensors), member.meta, device=device)
        for member in file.header.few_shot_families[family].members
    )


def _classifier(file: VersionFile, *, subject: str, family: str | None, device: torch.device | str) -> FewShotPolicy:
    name, images = _chosen(file.header.few_shot_families, family, subject)
    with understanding(subject):
        return FewShotPolicy(
            few_shot_learners(file, name, device=device),
            views=images.views,
            ink_extent=images.ink_extent,
            provenance=file.header.few_shot_families[name].provenance,
            device=device,
        )


def _chosen(families: Mapping[str, KnownFewShotFamily], asked: str | None, subject: str) -> tuple[str, ImageInput]:
    """Return the name of the family to load, and how it takes images.

    Raises:
        PolicyFileError: there is no family of images of that name; or no name is given and there is not exactly one.
    """
    if not families:
        hint = "`learnd few-shot train` writes one, and a version has one when a few-shot family was practised."
        raise refusal(subject, "it holds no few-shot policy.", hint)
    of_images = {name: known.images for name, known in families.items() if known.images is not None}
    listed = f"It has {', '.join(of_images)}." if of_images else "Its few-shot families are regressions."
    if asked is not None and asked not in of_images:
        raise refusal(subject, f"it has no family of images named {asked!r}.", listed)
    if asked is None and len(of_images) != 1:
        found = "it has several families of images." if of_images else "it has no family of images."
        raise refusal(subject, found, f"{listed} Name one with --family." if of_images else listed)
    name = next(iter(of_images)) if asked is None else asked
    return name, of_images[name]
