"""A portable few-shot image classifier: one or more learners in one safetensors file.

The policy adapts to a few images of each of several new classes, and then classifies other images. Every learner
(member) sees the task in several views. In a view all images are turned, mirrored and deformed in the same way. A
member adapts to each view as to a separate task, and the scores are averaged:

    score_n(x) = 1/(B V) Σ_members Σ_views z_n(v(x) | v(S)),      p(n | x) = softmax_n score(x).

If views are aligned, all views of an orientation o are compared with one another, and the best match counts:

    score_n(x) = 1/(B O) Σ_members Σ_o max_{u, v of o} z_n(u(x) | v(S)).

The answer for a query does not depend on other queries. This includes members that can predict a task's queries
together (MAML and similar learners normalise by the batch): here such members run each query alone with the support
set.

Shapes: S support images, Q query images, N classes, V views, O orientations, B members, E features, R the side of an
image as read, P as embedded; W is V or O.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from agent.devices import DEVICE_FAULTS
from agent.errors import AgentError
from agent.learners.factory import restore
from agent.learners.protocol import ComparingPredictor, FewShotLearner, Predictor, TransductivePredictor
from agent.learners.registry import LEARNERS, names_where
from agent.learners.state import as_arrays, as_tensors, under_prefix
from agent.output.files import write_output_file
from envs.few_shot.images.classes import ink_extents
from envs.few_shot.images.warps import WarpConfig, apply_warp, draw_warp, scaled, smooth_for
from envs.few_shot.tasks import num_ways_of
from memory.files.parameters import content_checksum, decode, encode, sha256_of

METADATA_KEY = "few_shot_policy"
CHECKSUM_KEY = "few_shot_sha256"
FORMAT = 2
"""The format of written files. Format 1 used another common form of images (as large as on their sheets)."""
QUERIES_AT_ONCE = 64

USUAL_EXTENTS = (0.85, 1.18)
"""Limits of the support images' ink extent, relative to that of the training images.

Within the limits images are not rescaled. Outside, all images are brought to the training extent by one common factor.
"""


class FewShotPolicyError(AgentError):
    """An error: a few-shot policy, or its input, cannot be used."""


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """The views that a policy takes of a task; the first view always shows the images unchanged.

    Attributes:
        count: V.
        orientations: number of ways in which successive views turn and mirror images; as many as the members learned
            with.
        warp: the deformation of images from the second round of orientations on.
        seed: seed of the deformations.
        is_aligned: compare all views of an orientation with one another instead of each view with itself. This applies
            to learners that compare features; others use each view alone.

    Raises:
        ValueError: there is no view, or aligned views do not contain every orientation equally often.
    """

    count: int = 16
    orientations: int = 8
    warp: WarpConfig = field(
        default_factory=lambda: WarpConfig(rotation_degrees=12.0, log_scale=0.16, shear=0.16, shift=0.04, bend=0.025)
    )
    seed: int = 5
    is_aligned: bool = False

    def __post_init__(self) -> None:
        if min(self.count, self.orientations) < 1:
            raise ValueError(f"{self.count} views in {self.orientations} orientations: there is at least one of each.")
        if self.is_aligned and self.count % self.orientations:
            raise ValueError(
                f"aligning {self.count} views: they do not show each of {self.orientations} orientations equally often."
            )


class FewShotPolicy:
    """A few-shot classifier made of members and views (see the module docstring).

    Args:
        members: learners for images of one size.
        views: the views of each image.
        ink_extent: median extent of the training images' ink, as a share of their side.
        provenance: JSON values that describe the training data and the training.
        device: device of the members. Images are copied to it, and answers are returned on the CPU.

    Raises:
        FewShotPolicyError: the members do not take grey images of one size.
    """

    def __init__(
        self,
        members: Sequence[FewShotLearner],
        *,
        views: ViewConfig | None = None,
        ink_extent: float = 0.5,
        provenance: Mapping[str, Any] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        shapes = {member.shapes.input_shape for member in members}
        if len(shapes) != 1 or len(shape := shapes.pop()) != 3 or shape[0] != 1 or shape[1] != shape[2]:
            raise FewShotPolicyError(
                operation="building a few-shot policy from",
                subject=f"{len(members)} learners",
                found="they do not all look at square grey images of one size.",
            )
        self.members = tuple(members)
        self.views = views or ViewConfig()
        self.ink_extent = ink_extent
        self.provenance = dict(provenance or {})
        self.size = shape[1]
        self.device = torch.device(device)

    def adapt(self, images: UInt8[Tensor, "S R R"], labels: Int64[Tensor, "S"]) -> AdaptedPolicy:
        """Learn the classes from their support images.

        Args:
            images: images in the common form of ``envs.few_shot.images.classes``.
            labels: 0 … N - 1, each at least once.

        Raises:
            FewShotPolicyError: a member was built for another number of classes.
        """
        num_ways = num_ways_of(labels)
        self._check_ways(num_ways)
        factor = self._zoom(images)
        support = self.look(images, factor)
        of_views = labels.to(self.device).expand(len(support), -1)
        predictors = (member.adapt(support, of_views) for member in self.members)
        return AdaptedPolicy(policy=self, predictors=tuple(map(_each_alone, predictors)), zoom=factor)

    def look(self, images: UInt8[Tensor, "I R R"], zoom: float) -> Float[Tensor, "V I 1 P P"]:
        """Return every view of the images, on the policy's device.

        Args:
            images: images in the common form.
            zoom: the size of their ink relative to that of the training images.
        """
        generator = np.random.default_rng(self.views.seed)
        smooth = smooth_for(images.to(self.device), self.size)
        seen = []
        for view in range(self.views.count):
            turn = np.array([view % self.views.orientations])
            warp = draw_warp(self.views.warp if view >= self.views.orientations else None, turn, generator=generator)
            seen.append(apply_warp(smooth, scaled(warp, zoom, num_images=len(images)), size=self.size))
        return torch.stack(seen)

    def save(self, path: Path) -> str:
        """Write the policy to a safetensors file, durably; return the file's sha256."""
        content = self.to_bytes()
        write_output_file(path, content)
        return sha256_of(content)

    def to_bytes(self) -> bytes:
        """Return the policy as the content of a safetensors file; equal policies give equal bytes."""
        tensors = as_arrays(
            {
                f"members.{number}.{name}": tensor
                for number, member in enumerate(self.members)
                for name, tensor in member.initialization().items()
            }
        )
        described = {
            "format": FORMAT,
            "members": [member.to_meta() for member in self.members],
            "views": asdict(self.views),
            "ink_extent": self.ink_extent,
            "provenance": self.provenance,
        }
        return encode(
            tensors,
            metadata={
                METADATA_KEY: json.dumps(described, sort_keys=True, ensure_ascii=False),
                CHECKSUM_KEY: content_checksum(tensors),
            },
        )

    @classmethod
    def load(cls, path: Path, *, device: torch.device | str = "cpu") -> FewShotPolicy:
        """Read a policy from a file.

        Args:
            path: path of the file.
            device: device of its members.

        Raises:
            FewShotPolicyError: the file contains no few-shot policy, or it is damaged.
            OSError: it cannot be read.
        """
        return cls.from_bytes(path.read_bytes(), subject=str(path), device=device)

    @classmethod
    def from_bytes(cls, content: bytes, *, subject: str, device: torch.device | str = "cpu") -> FewShotPolicy:
        """Read the policy that :meth:`to_bytes` wrote.

        Args:
            content: content of the file.
            subject: the name of the file in error messages.
            device: device of its members.

        Raises:
            FewShotPolicyError: the file contains no few-shot policy, or it is damaged.
        """
        tensors, metadata = read_tensors(content, subject)
        if METADATA_KEY not in metadata:
            raise refusal(subject, "it holds no few-shot policy.", "`learnd few-shot train` writes one.")
        if metadata.get(CHECKSUM_KEY) != content_checksum(as_arrays(tensors)):
            raise refusal(subject, "its tensors do not match their checksum.", "Take another copy: it is damaged.")
        with understanding(subject):
            return cls._from_description(json.loads(metadata[METADATA_KEY]), tensors, subject=subject, device=device)

    @classmethod
    def _from_description(
        cls, described: Mapping[str, Any], tensors: Mapping[str, Tensor], *, subject: str, device: torch.device | str
    ) -> FewShotPolicy:
        if described["format"] != FORMAT:
            raise refusal(subject, f"its format is {described['format']}.", f"This learnd reads format {FORMAT}.")
        members = []
        for number, meta in enumerate(described["members"]):
            members.append(restore(under_prefix(f"members.{number}", tensors), meta, device=device))
        warp = WarpConfig(**described["views"]["warp"])
        return cls(
            members,
            views=ViewConfig(**{**described["views"], "warp": warp}),
            ink_extent=described["ink_extent"],
            provenance=described["provenance"],
            device=device,
        )

    def _check_ways(self, num_ways: int) -> None:
        for member in self.members:
            name = member.to_meta()["learner"]
            if not LEARNERS[name].takes_any_ways and member.shapes.output_size != num_ways:
                able = sorted(names_where(lambda entry: entry.takes_any_ways))
                raise FewShotPolicyError(
                    operation="telling classes apart",
                    subject=f"{num_ways} classes",
                    found=f"the policy's learner {name} was made for {member.shapes.output_size}.",
                    hint=f"Policies of {', '.join(able)} learners take any number.",
                )

    def _zoom(self, images: UInt8[Tensor, "S R R"]) -> float:
        extent = float(ink_extents(images).median())
        factor = extent / self.ink_extent if extent else 1.0
        return 1.0 if USUAL_EXTENTS[0] < factor < USUAL_EXTENTS[1] else factor


@dataclass(frozen=True, kw_only=True)
class AdaptedPolicy:
    """A policy that has adapted to N classes.

    Attributes:
        policy: the policy.
        predictors: one predictor per member.
        zoom: the size of the images' ink relative to that of the training images.
    """

    policy: FewShotPolicy
    predictors: tuple[Predictor, ...]
    zoom: float

    def scores(self, images: UInt8[Tensor, "Q R R"]) -> Float[Tensor, "Q N"]:
        """Return the mean logits of each query over members and views."""
        return torch.cat([self._scores(part).cpu() for part in torch.split(images, QUERIES_AT_ONCE)])

    def probabilities(self, images: UInt8[Tensor, "Q R R"]) -> Float[Tensor, "Q N"]:
        """Return the probability of each class, for each query."""
        return self.scores(images).softmax(1)

    def _scores(self, images: UInt8[Tensor, "Q R R"]) -> Float[Tensor, "Q N"]:
        views = self.policy.look(images, self.zoom)
        return torch.stack([self._by_view(predictor, views).mean(0) for predictor in self.predictors]).mean(0)

    def _by_view(self, predictor: Predictor, views: Float[Tensor, "V Q 1 P P"]) -> Float[Tensor, "W Q N"]:
        """Return the logits of each view, or of each orientation's best match."""
        taken = self.policy.views
        if taken.is_aligned and isinstance(predictor, ComparingPredictor):
            return best_matches(predictor, predictor.embed(views), orientations=taken.orientations)
        return predictor(views)


def _each_alone(predictor: Predictor) -> Predictor:
    """Return a predictor that answers each query independently of the others."""
    return predictor.each_alone() if isinstance(predictor, TransductivePredictor) else predictor


def best_matches(
    predictor: ComparingPredictor, features: Float[Tensor, "V Q E"], *, orientations: int
) -> Float[Tensor, "O Q N"]:
    """Return max_{u, v of o} z_n(u(x) | v(S)) for every orientation o.

    Args:
        predictor: adapted to the support set in V views: all O orientations, repeated in R rounds.
        features: features of the queries in the same views.
        orientations: O, of which V is a multiple.
    """
    rounds, best = len(features) // orientations, []
    for own in (slice(orientation, None, orientations) for orientation in range(orientations)):
        # The predictor has the classes of all support views, so one product compares every query view with each of
        # them.
        logits = predictor.side_by_side(own).logits(features[own].flatten(0, 1).unsqueeze(0))
        best.append(logits.view(rounds, features.shape[1], rounds, -1).amax((0, 2)))
    return torch.stack(best)


def read_tensors(content: bytes, subject: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the header's metadata of a safetensors file.

    Raises:
        FewShotPolicyError: it is not a safetensors file.
    """
    try:
        arrays, metadata = decode(content)
    except ValueError as error:
        raise refusal(subject, f"it is not a safetensors file: {error}.", "Name a file or a version.") from error
    return as_tensors(arrays), metadata


@contextmanager
def understanding(subject: str) -> Iterator[None]:
    """Convert exceptions from a malformed description to an error about the file.

    Raises:
        FewShotPolicyError: the description cannot be read.
    """
    try:
        yield
    except DEVICE_FAULTS:  # not caused by the description
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        found = f"what it says of itself cannot be read ({type(error).__name__}: {error})."
        raise refusal(subject, found, "Take another copy: it is damaged, or of another learnd.") from error


def refusal(subject: str, found: str, hint: str) -> FewShotPolicyError:
    """Return the error for a file or version that contains no usable policy."""
    return FewShotPolicyError(operation="reading few-shot policy", subject=subject, found=found, hint=hint)
