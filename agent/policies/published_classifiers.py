"""The few-shot families of a published version, loaded as policies.

    policy = load_few_shot("version-3.safetensors", family="glyphs")
    adapted = policy.adapt(images, labels)
    adapted.probabilities(others)

The file is self-contained: no store and no daemon are needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agent.learners.factory import restore
from agent.policies.image_classifier import FewShotPolicy, ViewConfig, read_tensors, refusal, understanding
from agent.trainer.practice.few_shot_learners import VERSION_KEY, part_of

VIEWS_AN_ORIENTATION = 2
"""Each training orientation is viewed twice: unchanged, and mildly warped."""


def load_few_shot(path: Path | str, family: str | None = None, *, device: torch.device | str = "cpu") -> FewShotPolicy:
    """Load a few-shot policy, written by `learnd few-shot train` or exported from a version (`learnd policy export`).

    Args:
        path: the safetensors file.
        family: the family to load from a version; None if the version has only one family of images.
        device: device of its members.

    Raises:
        FewShotPolicyError: the file contains none, or several and no family is named.
        OSError: it cannot be read.
    """
    return few_shot_from_bytes(Path(path).read_bytes(), subject=str(path), family=family, device=device)


def few_shot_from_bytes(
    content: bytes, *, subject: str, family: str | None = None, device: torch.device | str = "cpu"
) -> FewShotPolicy:
    """Return the few-shot policy in a file's content.

    Args:
        content: content of the file.
        subject: the name of the file in error messages.
        family: the family to load from a version; None if the version has only one family of images.
        device: device of its members.

    Raises:
        FewShotPolicyError: the content has none, or several and no family is named.
    """
    tensors, metadata = read_tensors(content, subject)
    if VERSION_KEY not in metadata:
        if family is not None:
            raise refusal(subject, "it is no published version, so it has no families.", "Leave --family out.")
        return FewShotPolicy.from_bytes(content, subject=subject, device=device)
    with understanding(subject):
        families = json.loads(metadata[VERSION_KEY])
        return _policy_of(families[_chosen(families, family, subject)], tensors, device)


def _chosen(families: Mapping[str, Any], asked: str | None, subject: str) -> str:
    of_images = [name for name, described in families.items() if "ink_extent" in described]
    listed = f"It has {', '.join(of_images)}." if of_images else "Its few-shot families are regressions."
    if asked is not None and asked not in of_images:
        raise refusal(subject, f"it has no family of images named {asked!r}.", listed)
    if asked is not None:
        return asked
    if len(of_images) != 1:
        found = "it has several families of images." if of_images else "it has no family of images."
        raise refusal(subject, found, f"{listed} Name one with --family." if of_images else listed)
    return of_images[0]


def _policy_of(
    described: Mapping[str, Any], tensors: Mapping[str, Tensor], device: torch.device | str
) -> FewShotPolicy:
    orientations = int(described["orientations"])
    return FewShotPolicy(
        [restore(part_of(tensors, described["name"]), described["meta"], device=device)],
        views=ViewConfig(count=VIEWS_AN_ORIENTATION * orientations, orientations=orientations),
        ink_extent=float(described["ink_extent"]),
        provenance={"entry": described["entry"], "kwargs": described["kwargs"], "origin": described["origin"]},
        device=device,
    )
