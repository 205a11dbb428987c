"""The header of a version file: what a reader needs to load and use the tensors.

It is stored in the metadata of a safetensors file, whose values are strings; all values but ``learner``, ``learnd`` and
``content_sha256`` are JSON:

===================== =============================================================================================
``format``            number of the layout, 3
``learner``           the learner's name in the registry; ``rl2`` for a version that the service published
``learnd``            version of learnd that wrote the file
``config``            the learner's settings; ``null`` if the members of few-shot families hold their own
``families``          of each family of environments its ``spaces`` and ``episodes_per_trial``
``few_shot_families`` of each few-shot family its ``members``, ``images`` (``null`` without images) and ``provenance``
``provenance``        how the parameters came about
``content_sha256``    sha256 of all other values and of all tensors with their names, types and shapes
===================== =============================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from agent.learners.family_parts import part_prefix
from agent.output.typed_json import dataclass_from_json, dataclass_to_json
from agent.policies.views import ViewConfig, views_of_training
from agent.running_version import running_version
from envs.spaces import SpacePair
from memory.files.parameters import content_checksum

FORMAT = 3
"""The layout that is written. :mod:`agent.policies.earlier_formats` reads the earlier ones."""

FORMAT_KEY = "format"
CHECKSUM_KEY = "content_sha256"


@dataclass(frozen=True, kw_only=True)
class KnownFamily:
    """A family of environments on which a policy was learned.

    Attributes:
        spaces: its space pair.
        episodes_per_trial: number of episodes in one task in training.
    """

    spaces: SpacePair
    episodes_per_trial: int


@dataclass(frozen=True, kw_only=True)
class FewShotMember:
    """A few-shot learner in a version file.

    Attributes:
        prefix: start of the names of its tensors in the file.
        meta: the result of its ``to_meta()``.
    """

    prefix: str
    meta: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ImageInput:
    """The preparation of the images of an image classifier.

    Attributes:
        views: the views of each image.
        ink_extent: median extent of the training images' ink, as a share of their side.
    """

    views: ViewConfig
    ink_extent: float


@dataclass(frozen=True, kw_only=True)
class KnownFewShotFamily:
    """A few-shot family on which learners were trained.

    Attributes:
        members: the learners whose answers are averaged.
        images: how they take images; None for tasks that are not made of images.
        provenance: JSON values that describe the training data and the training.
    """

    members: tuple[FewShotMember, ...]
    images: ImageInput | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_chosen(cls, described: Mapping[str, Any]) -> KnownFewShotFamily:
        """Return the family that consolidation describes in a version's provenance."""
        images = None
        if "ink_extent" in described:
            views = views_of_training(int(described["orientations"]))
            images = ImageInput(views=views, ink_extent=float(described["ink_extent"]))
        return cls(
            members=(FewShotMember(prefix=part_prefix(described["name"]), meta=described["meta"]),),
            images=images,
            provenance={name: described[name] for name in ("entry", "kwargs", "origin")},
        )


@dataclass(frozen=True, kw_only=True)
class VersionHeader:
    """The header of a version file.

    Attributes:
        learner: the learner's name in the registry.
        config: the learner's settings as JSON values; None if the few-shot families' members hold their own.
        families: the families of environments, by name.
        few_shot_families: the few-shot families, by name.
        provenance: JSON values that describe how the parameters came about.
        learnd: version of learnd that wrote the file.
        format: number of the layout in which the header was read.
        content_sha256: the verified checksum of header and tensors; None before the file is written, and in files of
            formats that had none.
    """

    learner: str
    config: Mapping[str, Any] | None = None
    families: Mapping[str, KnownFamily] = field(default_factory=dict)
    few_shot_families: Mapping[str, KnownFewShotFamily] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    learnd: str = field(default_factory=running_version)
    format: int = FORMAT
    content_sha256: str | None = None


def header_to_metadata(header: VersionHeader, arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Return the metadata to write with these tensors, with the checksum of both."""
    metadata = {
        FORMAT_KEY: json.dumps(FORMAT),
        "learner": header.learner,
        "learnd": header.learnd,
        "config": _as_text(header.config),
        "families": _as_text({name: dataclass_to_json(family) for name, family in header.families.items()}),
        "few_shot_families": _as_text(
            {name: dataclass_to_json(family) for name, family in header.few_shot_families.items()}
        ),
        "provenance": _as_text(header.provenance),
    }
    return {**metadata, CHECKSUM_KEY: checksum_of(metadata, arrays)}


def header_from_metadata(metadata: Mapping[str, str]) -> VersionHeader:
    """Return the header that :func:`header_to_metadata` wrote.

    Raises:
        LookupError, TypeError, ValueError: the metadata is malformed.
    """
    families = json.loads(metadata["families"])
    few_shot_families = json.loads(metadata["few_shot_families"])
    return VersionHeader(
        learner=metadata["learner"],
        config=json.loads(metadata["config"]),
        families={name: dataclass_from_json(KnownFamily, values) for name, values in families.items()},
        few_shot_families={
            name: dataclass_from_json(KnownFewShotFamily, values) for name, values in few_shot_families.items()
        },
        provenance=json.loads(metadata["provenance"]),
        learnd=metadata["learnd"],
        format=int(metadata[FORMAT_KEY]),
        content_sha256=metadata[CHECKSUM_KEY],
    )


def checksum_of(metadata: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the sha256 of all metadata but the checksum itself, and of all tensors."""
    described = {name: value for name, value in metadata.items() if name != CHECKSUM_KEY}
    return content_checksum(arrays, description=_as_text(described))


def _as_text(values: Any) -> str:
    return json.dumps(values, sort_keys=True, ensure_ascii=False)
