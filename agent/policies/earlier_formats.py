"""The headers of version files before format 3, which had no common layout and mostly no checksum.

=====================  ================================================================================================
the metadata has       written by
=====================  ================================================================================================
``few_shot_policy``    ``learnd few-shot train``, ``learnd learn`` on images; with ``few_shot_sha256`` of the tensors
``few_shot``           ``learnd learn`` of a few-shot learner on other tasks
``policy_learner``     ``learnd learn`` of a learner that adapts policies by gradient
``learner`` ``rl2``    the service, and ``learnd learn rl2``
=====================  ================================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from agent.errors import AgentError
from agent.learners.factory import restore_policy_learner
from agent.learners.policy_gradient.loops import episodes_to_adapt
from agent.learners.registry import RL2
from agent.learners.state import as_tensors
from agent.output.typed_json import dataclass_from_json
from agent.policies.version_header import FewShotMember, ImageInput, KnownFamily, KnownFewShotFamily, VersionHeader
from memory.files.parameters import content_checksum

FIRST_FORMAT = 1
CLASSIFIER_FORMAT = 2
"""The format of readable image classifiers. Format 1 had another common form of images."""

CLASSIFIER_KEY = "few_shot_policy"
CLASSIFIER_CHECKSUM_KEY = "few_shot_sha256"
CLASSIFIER_FAMILY = "images"
"""The family's name in files that do not name it."""


class EarlierFormatError(AgentError):
    """An error: a file of an earlier format cannot be used."""


def header_of_earlier(
    metadata: Mapping[str, str], arrays: Mapping[str, NDArray[Any]], *, subject: str
) -> VersionHeader | None:
    """Return the header of a file that was written before format 3; None if it is no version file.

    Args:
        metadata: the file's metadata.
        arrays: its tensors.
        subject: the name of the file in error messages.

    Raises:
        EarlierFormatError: the tensors do not match their checksum, or an image classifier is of format 1.
        LookupError, TypeError, ValueError: the metadata is malformed.
    """
    if CLASSIFIER_KEY in metadata:
        if metadata.get(CLASSIFIER_CHECKSUM_KEY) != content_checksum(arrays):
            raise _refusal(subject, "its tensors do not match their checksum.", "Take another copy: it is damaged.")
        return _of_classifier(json.loads(metadata[CLASSIFIER_KEY]), subject=subject)
    if "few_shot" in metadata:
        return _of_few_shot_learner(metadata, json.loads(metadata["few_shot"]))
    if "policy_learner" in metadata:
        return _of_policy_learner(metadata, json.loads(metadata["policy_learner"]), arrays)
    if metadata.get("learner") == RL2:
        return _of_rl2(metadata)
    return None


def _of_classifier(described: Mapping[str, Any], *, subject: str) -> VersionHeader:
    if described["format"] != CLASSIFIER_FORMAT:
        found = f"it is an image classifier of format {described['format']}."
        raise _refusal(subject, found, f"This learnd reads format {CLASSIFIER_FORMAT} and later: train it again.")
    members = tuple(
        FewShotMember(prefix=f"members.{number}.", meta=meta) for number, meta in enumerate(described["members"])
    )
    family = KnownFewShotFamily(
        members=members,
        images=dataclass_from_json(ImageInput, described),
        provenance=described["provenance"],
    )
    return VersionHeader(
        learner=str(members[0].meta["learner"]),
        few_shot_families={CLASSIFIER_FAMILY: family},
        learnd="",
        format=CLASSIFIER_FORMAT,
    )


def _of_few_shot_learner(metadata: Mapping[str, str], meta: Mapping[str, Any]) -> VersionHeader:
    provenance = meta["provenance"]
    family = KnownFewShotFamily(members=(FewShotMember(prefix="", meta=meta),), provenance=provenance)
    return VersionHeader(
        learner=metadata["learner"],
        few_shot_families={provenance["family"]["name"]: family},
        provenance=provenance,
        learnd=metadata["learnd"],
        format=FIRST_FORMAT,
    )


def _of_policy_learner(
    metadata: Mapping[str, str], meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> VersionHeader:
    learner, provenance = restore_policy_learner(as_tensors(arrays), meta), meta["provenance"]
    family = KnownFamily(spaces=learner.spaces, episodes_per_trial=episodes_to_adapt(learner.config))
    return VersionHeader(
        learner=metadata["learner"],
        config=meta["config"],
        families={provenance["family"]["name"]: family},
        provenance=provenance,
        learnd=metadata["learnd"],
        format=FIRST_FORMAT,
    )


def _of_rl2(metadata: Mapping[str, str]) -> VersionHeader:
    families, few_shot = json.loads(metadata["families"]), json.loads(metadata.get("few_shot_families", "{}"))
    return VersionHeader(
        learner=metadata["learner"],
        config=json.loads(metadata["config"]),
        families={name: dataclass_from_json(KnownFamily, values) for name, values in families.items()},
        few_shot_families={name: KnownFewShotFamily.of_chosen(values) for name, values in few_shot.items()},
        provenance=json.loads(metadata.get("provenance", "{}")),
        learnd=metadata["learnd"],
        format=FIRST_FORMAT,
    )


def _refusal(subject: str, found: str, hint: str) -> EarlierFormatError:
    return EarlierFormatError(operation="reading policy file", subject=subject, found=found, hint=hint)
